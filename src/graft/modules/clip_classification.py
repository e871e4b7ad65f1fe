"""Classification with CLIP or SigLIP: by the names of the classes, or with a linear head."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from graft.backbones.clip import build_clip
from graft.modules.adapted import KEY, AdaptedModule, adamw
from graft.modules.class_names import ClassNames
from graft.modules.class_scores import ClassScores
from graft.modules.image_tower import ImageTower
from graft.modules.misfits import refuse_another_head, refuse_classes, refuse_other_data

Batch = dict[str, Any]

LARGEST_SCALE = math.log(100)  # where CLIP's own training clamps the learned logarithm


class ClipClassification(AdaptedModule):
    """Fine-tunes CLIP or SigLIP for classification. The logit scale is fixed, unless adapt.train names `logit_scale`.

    Args:
        backbone: A CLIP or SigLIP of the hub, a folder that `save_pretrained` has written, or tiny (random, for tests).
        head: text compares images with the classes' names in the data's template; linear is a layer that starts so, and
            that adapt.train names `head`.
        label_smoothing: Share of the truth that is spread over all classes, 0 to less than 1.
        optimizer: Made over what is trained; vectors (biases, norms) get no weight decay.
        lr_scheduler: Stepped after every optimizer step. null: a linear warm-up, then a cosine down to zero.
        warmup: Share of the steps that warm up, where lr_scheduler is null.
    """

    learns_from = "ClassificationData"

    def __init__(
        self,
        backbone: str = "openai/clip-vit-base-patch16",
        head: Literal["text", "linear"] = "text",
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = adamw,
        lr_scheduler: LRSchedulerCallable | None = None,
        warmup: float = 0.0,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}, but must be at least 0 and less than 1.")
        clip, tokenizer = build_clip(backbone)
        super().__init__(backbone, clip, optimizer, lr_scheduler, warmup)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"])
        self.look, self.describe = ImageTower(clip), ClassNames(clip, tokenizer)
        self.siglip = clip.config.model_type == "siglip"
        self.head = head
        self.label_smoothing = label_smoothing
        self.image_size = int(clip.config.vision_config.image_size)
        self.names: list[list[str]] = []

    @property
    def clip(self) -> Any:
        """The backbone: a `CLIPModel` or `SiglipModel` of transformers."""
        return self.model

    def meet(self, data: Any) -> None:
        """Take over the data's classes: those that are trained, and those kept novel for the test."""
        refuse_other_data(type(self), type(data))
        if names := getattr(data, "names", None):
            self.tell_apart([names, data.novel_names] if data.novel_names else [names], data.template)

    def tell_apart(self, names: Sequence[Sequence[str]], template: str) -> None:
        """From now on the classes are these; the first of several sets is the one that is trained."""
        refuse_classes(self.head, self.names, names)
        self.names, self.describe.template = [list(each) for each in names], template
        self.describe.forget()
        self.scores: Any = nn.ModuleList(ClassScores(len(each)) for each in names)
        if self.head == "linear" and not hasattr(self.model, "head"):
            self.clip.head = self.describe.layer(self.names[0])

    def forward(self, batch: Batch, classes: int = 0) -> Tensor:
        """Logits (B, K) over the K classes of one of the sets of `names`, for a batch's `image` (B, 3, S, S), uint8.

        A batch may have `feature` (B, d) instead, which is what `look` makes of its images.
        """
        image = batch["feature"] if "feature" in batch else self.look(batch["image"])
        if self.head == "linear":
            logits: Tensor = self.clip.head(image)
            return logits
        logits = self.clip.logit_scale.exp() * image @ self.describe(self.names[classes]).T
        return logits + self.clip.logit_bias if self.siglip else logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch).float()
        loss = F.cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(logits), sync_dist=True)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if self.clip.logit_scale.requires_grad:
            self.clip.logit_scale.data.clamp_(max=LARGEST_SCALE)
        if self.describe.learns:
            self.describe.forget()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        return self.evaluate(batch, dataloader_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities (B, K)."""
        logits: Tensor = self(batch)
        return logits.float().softmax(-1)

    def evaluate(self, batch: Batch, classes: int = 0) -> dict[str, Tensor]:
        """Score a batch; its `probabilities`, as of `predict_step`, are for whoever wants to show them."""
        logits = self(batch, classes).float()
        self.scores[classes].update(logits, batch["label"])
        return {"probabilities": logits.softmax(-1)}

    def on_validation_epoch_start(self) -> None:
        self.scores[0].reset()  # a run that was stopped amid a validation begins it again

    def on_validation_epoch_end(self) -> None:
        self.log_scores("val", 0)

    def on_test_epoch_end(self) -> None:
        stages = ["test"] if len(self.names) == 1 else ["test_base", "test_novel"]
        accuracies = [self.log_scores(stage, k) for k, stage in enumerate(stages)]
        if len(accuracies) > 1:
            self.log("test/harmonic_mean", len(accuracies) / sum(1 / accuracy for accuracy in accuracies))

    def log_scores(self, stage: str, classes: int) -> Tensor:
        """Log the scores of one set of classes under `stage/`, and begin anew; the accuracy."""
        scores: dict[str, Tensor] = self.scores[classes].compute()
        self.scores[classes].reset()
        for name, score in scores.items():
            self.log(f"{stage}/{name}", score, prog_bar=name == "accuracy")
        return scores["accuracy"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[KEY] |= {"names": self.names[0], "template": self.describe.template}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "names" in (saved := checkpoint.get(KEY, {})):
            refuse_another_head(checkpoint["hyper_parameters"]["head"], saved["names"], self.head, self.names)
            if not self.names:
                self.tell_apart([saved["names"]], saved["template"])
        super().on_load_checkpoint(checkpoint)
