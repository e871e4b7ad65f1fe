"""Segment Anything (https://arxiv.org/abs/2304.02643), made ready for training: batches, any size, several classes."""

from copy import deepcopy

import segment_anything.modeling as stock
import torch
from torch import Tensor, nn

from graft.backbones.recompute import Recomputed


class Sam(stock.Sam):
    """segment-anything's model, with its state-dict keys; at any size its `SamPredictor` takes it as its own.

    Its own `forward` runs without gradients: train with `normalize`, `image_encoder` and `decode`.

    Args:
        name: What `build_sam` was asked for.
        image_encoder: From (B, 3, S, S) to (B, channels, S / stride, S / stride).
        image_size: S, in pixels.
        stride: Pixels of the image to one of its embedding.
        channels: Features of the embedding; 256 in all published models.
    """

    def __init__(
        self, name: str, image_encoder: nn.Module, image_size: int, stride: int = 16, channels: int = 256
    ) -> None:
        grid = image_size // stride
        transformer = stock.TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=8 * channels, num_heads=8)
        super().__init__(
            image_encoder,
            stock.PromptEncoder(channels, (grid, grid), (image_size, image_size), mask_in_chans=16),
            stock.MaskDecoder(transformer_dim=channels, transformer=transformer, iou_head_hidden_dim=channels),
        )
        self.name = name
        self.image_size = image_size
        self.num_classes = 1
        self.channels = 1  # of the logits; with several classes the background is one

    def recompute(self, on: bool) -> None:
        """Whether the image encoder's blocks keep only their inputs for the backward pass, and compute twice."""
        for module in self.image_encoder.modules():
            if isinstance(module, Recomputed):
                module.recompute = on

    def widen(self, num_classes: int) -> None:
        """Predict background and `num_classes` classes, with a mask token each that starts as the published token 0.

        So all channels start alike, but not as the published single mask: tokens attend to each other, and the
        published tokens 1 to 3 are gone.
        """
        decoder, origins = self.mask_decoder, [0] * (num_classes + 1)
        decoder.num_multimask_outputs, decoder.num_mask_tokens = len(origins) - 1, len(origins)
        mlps = decoder.output_hypernetworks_mlps
        decoder.output_hypernetworks_mlps = nn.ModuleList(deepcopy(mlps[i]) for i in origins)
        tokens, quality = decoder.mask_tokens, decoder.iou_prediction_head.layers[-1]
        tokens.num_embeddings = quality.out_features = len(origins)
        tokens.weight = nn.Parameter(tokens.weight.detach()[origins])
        quality.weight = nn.Parameter(quality.weight.detach()[origins])
        quality.bias = nn.Parameter(quality.bias.detach()[origins])
        self.num_classes, self.channels = num_classes, num_classes + 1

    def valid(self, image: Tensor, size: Tensor) -> Tensor:
        """Where padded images (B, 3, S, S) show something: (B, 1, S, S), bool, from sizes (B, 2) in pixels.

        Raises:
            ValueError: The images are not S x S.
        """
        side = self.image_size
        if image.shape[1:] != (3, side, side):
            raise ValueError(f"{self.name} was built for images (B, 3, {side}, {side}), but got {tuple(image.shape)}.")
        grid = torch.arange(side, device=image.device)
        rows, columns = grid < size[:, :1], grid < size[:, 1:]
        return (rows[:, :, None] & columns[:, None, :])[:, None]

    def normalize(self, image: Tensor, size: Tensor) -> Tensor:
        """Scale pixels as in pretraining; the padding becomes 0, as segment-anything pads after scaling.

        Args:
            image: (B, 3, S, S), RGB, 0 to 255, each image in the top left corner.
            size: (B, 2), height and width of each image in pixels, without its padding.

        Returns:
            (B, 3, S, S), float32.
        """
        scaled: Tensor = (image.float() - self.pixel_mean) / self.pixel_std
        return scaled * self.valid(image, size)

    def decode(self, embedding: Tensor, boxes: Tensor | None = None, points: Tensor | None = None) -> Tensor:
        """Predict masks from image embeddings, and one box, one point on the object, both or nothing for each image.

        Args:
            embedding: (B, channels, h, w).
            boxes: (B, 4), corners x0, y0, x1, y1 in pixels of the padded square.
            points: (B, 2), x, y in pixels of the padded square.

        Returns:
            Logits (B, K, 4 h, 4 w). With one class K = 1, the object. Otherwise K = classes + 1, and channel 0 is
            background.

        Raises:
            ValueError: There is not exactly one prompt for each image.
        """
        batch = len(embedding)
        for kind, prompt, width in (("boxes", boxes, 4), ("points", points, 2)):
            if prompt is not None and prompt.shape != (batch, width):
                raise ValueError(f"{kind} must be ({batch}, {width}), one for each image, not {tuple(prompt.shape)}.")
        labelled = None if points is None else (points[:, None], points.new_ones(batch, 1))
        with torch.autocast(self.device.type, enabled=False):  # in half precision a prompt is pixels off its place
            sparse, dense = self.prompt_encoder(points=labelled, boxes=boxes, masks=None)
            places = self.prompt_encoder.get_dense_pe()
        # The published decoder takes one image and a dense embedding for each prompt, and adds the two. Exchanged, it
        # takes an image for each prompt; what stands for "no mask" is one for all. Without prompts, so are the tokens.
        masks: Tensor = self.mask_decoder.predict_masks(dense[:1], places, sparse, embedding)[0]
        return masks[:, : self.channels]

    @torch.enable_grad()
    def unreached(self, boxes: Tensor | None = None, points: Tensor | None = None) -> set[str]:
        """Names of the decoder's and the prompt encoder's parameters that what `decode` gives does not depend on."""
        shape = (1, self.prompt_encoder.embed_dim, *self.prompt_encoder.image_embedding_size)
        embedding = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        named = {n: p for n, p in self.named_parameters() if not n.startswith("image_encoder.")}
        before = [parameter.requires_grad for parameter in named.values()]
        for parameter in named.values():
            parameter.requires_grad_(True)
        loss = self.decode(embedding, boxes, points).square().mean()
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for parameter, requires_grad in zip(named.values(), before, strict=True):
            parameter.requires_grad_(requires_grad)
        return {n for n, gradient in zip(named, gradients, strict=True) if gradient is None or not gradient.any()}
