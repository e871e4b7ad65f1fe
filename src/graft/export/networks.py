"""Published networks, asked as the trained module is: images as they are in a batch go in, logits come out.

They are what an export is checked by, and what ONNX holds: no line of Graft's own networks is in them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.modules import ClipClassification, SamSegmentation
from graft.modules.class_names import ClassNames


class Masks(nn.Module):
    """SAM without Graft's shortcuts: what its published parts say of images as they are in a batch.

    Args:
        sam: A network with segment-anything's parts.
        module: Whose way of scaling images, prompt, classes and size are used.
    """

    def __init__(self, sam: Any, module: SamSegmentation) -> None:
        super().__init__()
        self.sam = sam
        self.scaling, self.prompt, self.side = [module.sam], module.prompt, module.image_size  # a list: not its child
        self.channels = module.sam.channels

    def forward(self, image: Tensor, size: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Logits (B, K, S, S) for images (B, 3, S, S) of `size` (B, 2); with a prompt, (1, 4) or (1, 2), B is 1."""
        pixels = self.scaling[0].normalize(image, size)
        embedding = self.sam.image_encoder(pixels.to(next(self.sam.mask_decoder.parameters()).dtype))
        boxes = prompt if self.prompt == "box" else None
        points = (prompt[:, None], torch.ones(1, 1)) if prompt is not None and self.prompt == "point" else None
        sparse, dense = self.sam.prompt_encoder(points=points, boxes=boxes, masks=None)
        places = self.sam.prompt_encoder.get_dense_pe()
        masks = self.sam.mask_decoder.predict_masks(embedding, places, sparse, dense)[0][:, : self.channels]
        return F.interpolate(masks, (self.side, self.side), mode="bilinear", align_corners=False)


class Scores(nn.Module):
    """CLIP without its text tower, of which only the classes' vectors are kept.

    Args:
        clip: A network of transformers; with a `head` where the module has a linear one.
        tokenizer: Its tokenizer.
        module: Whose classes, and way of scaling images, are used.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, clip: Any, tokenizer: Any, module: ClipClassification) -> None:
        super().__init__()
        self.clip = clip.eval()
        if module.head == "linear":
            weight, bias = clip.head.weight, clip.head.bias
        else:
            describe = ClassNames(clip, tokenizer)
            describe.template = module.describe.template
            weight = clip.logit_scale.exp() * describe(module.names[0])
            bias = (clip.logit_bias if module.siglip else weight.new_zeros(1)).expand(len(weight))
        kept = {"weight": weight, "bias": bias, "mean": module.look.mean, "std": module.look.std}
        for name, tensor in kept.items():
            self.register_buffer(name, tensor.detach())

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) for images (B, 3, S, S), 0 to 255."""
        pixels = (image.to(self.weight.dtype) - self.mean) / self.std
        return F.linear(F.normalize(self.clip.get_image_features(pixels).pooler_output, dim=-1), self.weight, self.bias)
