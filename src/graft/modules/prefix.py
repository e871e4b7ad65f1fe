"""The beginning of SAM's image encoder that training does not change: what it makes of an image can be kept."""

import re
from functools import cached_property
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from graft.adapters import Adapter
from graft.adapters.files import fingerprint
from graft.backbones import Sam

PART = re.compile(r"(layers\.\d+\.)?(blocks\.\d+|downsample)|neck")
"""What an encoder is a chain of, by name: ViT's blocks, or TinyViT's with what merges patches between them."""


class Reached(Exception):  # noqa: N818 (no error)
    """The chain has come to the joint."""


class Prefix:
    """The image encoder in two pieces: up to the first part that is trained or adapted, and from there on.

    Args:
        sam: Whose image encoder it is.
    """

    def __init__(self, sam: Sam) -> None:
        self.sam = sam
        self.parts = {n: part for n, part in sam.image_encoder.named_modules() if PART.fullmatch(n)}

    @cached_property
    def joint(self) -> int:
        """How many of `parts` come before all that is trained or adapted; to be asked when the model is adapted."""
        changing = {name for name, p in self.sam.image_encoder.named_parameters() if p.requires_grad}
        changing |= {name for name, m in self.sam.image_encoder.named_modules() if isinstance(m, Adapter)}
        of_parts = [any(f"{name}.".startswith(f"{part}.") for name in changing) for part in self.parts]
        before = {name for name in changing if not any(name.startswith(f"{part}.") for part in self.parts)}
        return 0 if before else [*of_parts, True].index(True)

    def sha256(self) -> str | None:
        """The fingerprint of all that makes a feature of an image's pixels; None where training changes it."""
        if not self.joint:
            return None
        later = tuple(f"{name}." for name in [*self.parts][self.joint :])
        tensors = {**dict(self.sam.image_encoder.named_parameters()), **dict(self.sam.image_encoder.named_buffers())}
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(later)}
        pixels = {name: getattr(self.sam, name) for name in ("pixel_mean", "pixel_std")}
        return fingerprint({**kept, **pixels, "image_size": torch.tensor(self.sam.image_size)})

    def __call__(self, image: Tensor, size: Tensor) -> Tensor:
        """The features of padded images (B, 3, S, S), uint8, of sizes (B, 2): what the part at the joint is given.

        (B, S / 16, S / 16, width) of ViT and (B, tokens, width) of TinyViT; of an encoder that is frozen as a whole
        the embedding, (B, channels, h, w).
        """
        if self.joint == len(self.parts):
            return self.embed({"image": image, "size": size})
        hook = [*self.parts.values()][self.joint].register_forward_pre_hook(reach)
        try:
            self.embed({"image": image, "size": size})
        except Reached as reached:
            feature: Tensor = reached.args[0]
        finally:
            hook.remove()
        return feature

    def embed(self, batch: dict[str, Any]) -> Tensor:
        """The embedding (B, channels, h, w) of a batch's `image` and `size`, or of their `feature` in their place."""
        if "feature" not in batch:
            embedding: Tensor = self.sam.image_encoder(self.sam.normalize(batch["image"], batch["size"]))
            return embedding
        x: Tensor = batch["feature"]
        for name, part in [*self.parts.items()][self.joint :]:
            if name == "neck" and self.joint < len(self.parts) - 1:  # else the feature is what the neck is given
                side = isqrt(x[0, ..., 0].numel())
                x = x.reshape(len(x), side, side, -1).permute(0, 3, 1, 2)  # of tokens; the neck takes a map
            x = part(x)
        return x


def reach(part: nn.Module, given: tuple[Tensor]) -> None:
    """Stop before a part, with what it is given (a forward pre-hook)."""
    raise Reached(*given)
