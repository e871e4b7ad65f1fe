"""From a name to a SAM."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from graft.backbones.sam import Sam
from graft.backbones.vit import PATCH, ImageEncoder
from graft.backbones.weights import official, read

SEED = 0  # random weights are a function of the name, so that what is frozen needs no saving


class Plan(Protocol):
    """What one name stands for."""

    stride: int  # pixels of the image to one of its embedding

    def build(self, name: str, image_size: int) -> Sam: ...  # with random weights

    def weights(self) -> Path | None: ...  # the pretrained ones, if there are any

    def knows(self, state: dict[str, Tensor]) -> bool: ...  # whether a file's tensors look like this SAM's


@dataclass
class ViT:
    """SAM as published, or one like it."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    channels: int = 256
    file: str | None = None
    stride: int = PATCH

    def build(self, name: str, image_size: int) -> Sam:
        encoder = ImageEncoder(image_size, self.width, self.depth, self.heads, self.global_blocks, self.channels)
        return Sam(name, encoder, image_size, self.stride, self.channels)

    def weights(self) -> Path | None:
        return official(self.file) if self.file else None

    def knows(self, state: dict[str, Tensor]) -> bool:
        table = state.get("image_encoder.pos_embed")
        return table is not None and table.shape[-1:] == (self.width,)


@dataclass
class Lite:
    """LiteMedSAM, whose package is an extra and imported where it is needed."""

    stride: int = 4

    def build(self, name: str, image_size: int) -> Sam:
        from graft.backbones.lite_medsam import LiteMedSam

        return LiteMedSam(name, image_size)

    def weights(self) -> Path | None:
        from graft.backbones.lite_medsam import packaged_weights

        return packaged_weights()

    def knows(self, state: dict[str, Tensor]) -> bool:
        return "image_encoder.layers.1.blocks.0.attn.attention_biases" in state


PLANS: dict[str, Plan] = {
    "vit_b": ViT(768, 12, 12, (2, 5, 8, 11), file="sam_vit_b_01ec64.pth"),
    "vit_l": ViT(1024, 24, 16, (5, 11, 17, 23), file="sam_vit_l_0b3195.pth"),
    "vit_h": ViT(1280, 32, 16, (7, 15, 23, 31), file="sam_vit_h_4b8939.pth"),
    "vit_t": Lite(),
    "tiny": ViT(32, 2, 2, (1,), channels=32),
}


def build_sam(name: str, image_size: int = 1024, checkpoint: str | Path | None = "auto", num_classes: int = 1) -> Sam:
    """Build a SAM with its weights, in eval mode. The caller's random state stays as it is.

    Args:
        name: vit_b, vit_l, vit_h (SAM as published), vit_t (LiteMedSAM), or tiny (random, for tests and demos).
        image_size: Height and width of the padded square in pixels: a multiple of 16, for vit_t of 4.
        checkpoint: "auto" for the pretrained weights, downloaded or packaged (tiny has none, so: random); the path of
            a .pth file with segment-anything's keys; or None for random weights, the same every time.
        num_classes: Classes beside the background; 1 keeps the published decoder.

    Raises:
        ValueError: No such name, size or number of classes, or the file is not this SAM.
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: vit_t needs an extra package.
        DownloadError: The pretrained weights cannot be fetched.
    """
    if name not in PLANS:
        raise ValueError(f"There is no SAM called {name!r}: choose one of {', '.join(PLANS)}.")
    plan = PLANS[name]
    if image_size < 1 or image_size % plan.stride:
        raise ValueError(f"{name} needs an image_size that is a positive multiple of {plan.stride}, not {image_size}.")
    if num_classes < 1:
        raise ValueError(f"num_classes must be 1 or more (the background is not counted), not {num_classes}.")
    path = plan.weights() if checkpoint == "auto" else checkpoint
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        sam = plan.build(name, image_size)
    if path is not None:
        load(sam, Path(path).expanduser())
    if num_classes > 1:
        sam.widen(num_classes)
    sam.eval()
    return sam


def load(sam: Sam, path: Path) -> None:
    """Fill a SAM with a file's tensors, all of them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or not this SAM.
    """
    state, expected = read(path), sam.state_dict()
    odd = sorted(key for key in state.keys() | expected.keys() if _shape(state, key) != _shape(expected, key))
    if odd:
        looks = [name for name, plan in PLANS.items() if plan.knows(state) and name != sam.name]
        guess = f"it looks like {looks[0]}" if looks else f"{len(odd)} tensors differ, such as {odd[0]}"
        raise ValueError(
            f"{path} is not a SAM {sam.name} with segment-anything's keys: {guess}; give another file or backbone."
        )
    sam.load_state_dict(state)


def _shape(state: dict[str, Tensor], key: str) -> torch.Size | None:
    return state[key].shape if key in state else None
