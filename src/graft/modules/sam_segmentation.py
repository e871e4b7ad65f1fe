"""Segmentation with SAM: without prompts, or with a box or a point for each image."""

from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torchmetrics import MeanMetric

from graft.backbones import Sam, build_sam
from graft.losses import SegmentationLoss
from graft.modules.adapted import AdaptedModule, adamw
from graft.modules.masks import original_masks, original_probabilities
from graft.modules.misfits import refuse_other_data
from graft.modules.prefix import Prefix
from graft.modules.scores import SegmentationScores

Batch = dict[str, Any]


class SamSegmentation(AdaptedModule):
    """Fine-tunes SAM for segmentation.

    Args:
        backbone: vit_b, vit_l, vit_h (Segment Anything), vit_t (LiteMedSAM), or tiny (random, for tests).
        image_size: Images are resized so that their longest side is this many pixels, then padded to a square.
        checkpoint: Weights of the backbone: auto (downloaded, or packaged), a path to a local .pth, or null (random).
        prompt: What tells SAM where to look: none, a box (jittered ground truth in training), or a point.
        num_classes: Number of classes, background not counted. 1: foreground by sigmoid; more: softmax with background.
        dice_weight: Weight of the soft Dice loss beside the cross-entropy.
        focal_gamma: Exponent of the focal factor on the cross-entropy; 0 is none.
        gradient_checkpointing: Less memory for the same gradient: the encoder's blocks run a second time for it.
        optimizer: Made over what is trained; vectors (biases, norms) get no weight decay.
        lr_scheduler: Stepped after every optimizer step. null: a linear warm-up, then a cosine down to zero.
        warmup: Share of the steps that warm up, where lr_scheduler is null.
    """

    learns_from = "SegmentationData"

    def __init__(
        self,
        backbone: str = "vit_b",
        image_size: int = 1024,
        checkpoint: str | None = "auto",
        prompt: Literal["none", "box", "point"] = "none",
        num_classes: int = 1,
        dice_weight: float = 1.0,
        focal_gamma: float = 0.0,
        gradient_checkpointing: bool = False,
        optimizer: OptimizerCallable = adamw,
        lr_scheduler: LRSchedulerCallable | None = None,
        warmup: float = 0.05,
    ) -> None:
        sam = build_sam(backbone, image_size, checkpoint, num_classes)
        super().__init__(backbone, sam, optimizer, lr_scheduler, warmup)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"])
        self.image_size = image_size
        self.prompt = prompt
        self.gradient_checkpointing = gradient_checkpointing
        sam.recompute(gradient_checkpointing)
        self.prefix = Prefix(sam)
        self.num_classes = num_classes
        self.loss = SegmentationLoss(dice_weight, focal_gamma)
        self.mean_loss = MeanMetric()  # over images; Lightning's own mean rounds counts when processes average them
        self.scores = SegmentationScores([f"class_{k + 1}" for k in range(num_classes)])

    def meet(self, data: Any) -> None:
        """Name the scores' classes as the data set does."""
        refuse_other_data(type(self), type(data))
        self.scores.classes = getattr(data, "classes", self.scores.classes)

    def on_validation_epoch_start(self) -> None:
        self.scores.reset()  # a run that was stopped amid a validation begins it again
        self.mean_loss.reset()

    @property
    def sam(self) -> Sam:
        """The backbone, under its own type."""
        assert isinstance(self.model, Sam)
        return self.model

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, 1 or num_classes + 1, S, S) of `image` (B, 3, S, S) or `feature`, `size` (B, 2) and prompts."""
        return self.decode(self.prefix.embed(batch), batch)

    def decode(self, embedding: Tensor, batch: Batch) -> Tensor:
        """Logits at the size of the padded square, from an image embedding (B, C, h, w)."""
        if self.prompt != "none" and self.prompt not in batch:
            raise ValueError(f"The model needs a {self.prompt} for each image: put a prompts.csv beside the images.")
        boxes, points = (batch[kind] if self.prompt == kind else None for kind in ("box", "point"))
        low_res = self.sam.decode(embedding, boxes, points)
        return F.interpolate(low_res, (self.image_size, self.image_size), mode="bilinear", align_corners=False)

    def masks(self, logits: Tensor, batch: Batch) -> list[Tensor]:
        """Class indices at each image's original size."""
        return original_masks(logits, batch["size"], batch["original_size"])

    def valid(self, batch: Batch) -> Tensor:
        """(B, S, S) bool: False in the padding."""
        return self.sam.valid(batch["mask"][:, None].expand(-1, 3, -1, -1), batch["size"])[:, 0]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        terms = self.loss(self(batch), batch["mask"], self.valid(batch))
        for name, term in terms.items():
            self.log(f"train/{name}", term, prog_bar=name == "loss", batch_size=len(batch["mask"]), sync_dist=True)
        return terms["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self.evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self.evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Tensor]:
        return self.masks(self(batch), batch)

    def evaluate(self, batch: Batch, stage: str) -> dict[str, Any]:
        """Score a batch; its `masks`, as of `predict_step`, and a way to its `maps` of probabilities are for others."""
        logits = self(batch)
        terms = self.loss(logits, batch["mask"], self.valid(batch))
        self.mean_loss.update(terms["loss"], weight=len(logits))
        masks = self.masks(logits, batch)
        for mask, truth in zip(masks, batch["original_mask"], strict=True):
            self.scores.update(mask, truth)
        maps = partial(original_probabilities, logits, batch["size"], batch["original_size"])
        return {"masks": masks, "maps": maps}

    def on_validation_epoch_end(self) -> None:
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        self.log_scores("test")

    def log_scores(self, stage: str) -> None:
        """Log the mean loss and the scores since the last call under `stage/`, `dice` in the progress bar too."""
        for name, score in ({"loss": self.mean_loss.compute()} | self.scores.compute()).items():
            self.log(f"{stage}/{name}", score, prog_bar=name == "dice")
        self.scores.reset()
        self.mean_loss.reset()

    def unreached(self) -> set[str]:
        """Parameters of decoder and prompt encoder that get no gradient even when all of them train."""
        middle = torch.full((1, 2), self.image_size / 2, device=self.device)
        prompts = {"none": {}, "box": {"boxes": torch.cat([0 * middle, middle], dim=1)}, "point": {"points": middle}}
        return self.sam.unreached(**prompts[self.prompt])
