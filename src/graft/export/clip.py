"""CLIP and SigLIP in transformers' words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from graft.adapters.files import trained
from graft.backbones.clip import build_clip
from graft.export.networks import Scores
from graft.export.output import write_card
from graft.export.task import TRAINED, Made, Task
from graft.modules import ClipClassification

HEAD = "head.safetensors"


class ClipTask(Task):
    """Classification: of images (B, 3, S, S), logits (B, K)."""

    module: ClipClassification

    def __init__(self, module: ClipClassification) -> None:
        from transformers.utils import logging

        super().__init__(module)
        hush: Callable[[], None] = logging.disable_progress_bar
        hush()  # of each file that is read or written

    def card(self) -> dict[str, Any]:
        module = self.module
        known = {"backbone": module.backbone, "image_size": self.image_size, "head": module.head}
        return known | {"template": module.describe.template, "classes": module.names[0]}

    def random(self, count: int) -> dict[str, Any]:
        side, generator = self.image_size, torch.Generator().manual_seed(0)
        return {"image": torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=generator)}

    def inputs(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        return {"image": batch["image"]}

    def network(self, made: Made) -> nn.Module:
        return Scores(made["clip"], made["tokenizer"], self.module)

    def published(self) -> Made:
        return {"clip": self.module.clip, "tokenizer": self.module.describe.tokenizer}

    def write(self, path: Path) -> None:
        state = {name: tensor.contiguous() for name, tensor in self.module.clip.state_dict().items()}
        head = {name.removeprefix("head."): state.pop(name) for name in [*state] if name.startswith("head.")}
        self.module.clip.save_pretrained(path, state_dict=state)
        self.module.describe.tokenizer.save_pretrained(path)
        self.processor().save_pretrained(path)
        if head:
            save_file(head, path / HEAD)
        write_card(path, self.card())

    def processor(self) -> Any:
        """What transformers makes of an image's file: the middle square, scaled as the network was trained."""
        from transformers import CLIPImageProcessor

        make: Any = CLIPImageProcessor
        look, side = self.module.look, self.image_size
        mean, std = ([float(value) / 255 for value in each.flatten()] for each in (look.mean, look.std))
        sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        return make(**sizes, image_mean=mean, image_std=std)

    def lines(self, path: Path) -> str:
        return self.loading(str(path), str(path)) + self.head_lines(f"load_file({str(path / HEAD)!r})")

    def loading(self, model: str, tokenizer: str) -> str:
        """Lines that read a network and its tokenizer, each from its folder or from the hub."""
        kind = type(self.module.clip).__name__
        return (
            f"from transformers import AutoTokenizer, {kind}\n\n"
            f"clip = {kind}.from_pretrained({model!r})\ntokenizer = AutoTokenizer.from_pretrained({tokenizer!r})\n"
        )

    def head_lines(self, tensors: str) -> str:
        """Lines that give a network its linear head, if it has one."""
        if self.module.head == "text":
            return ""
        head = self.module.clip.head
        made = f"clip.head = torch.nn.Linear({head.in_features}, {head.out_features})  # from unit vectors to logits\n"
        if not tensors:
            return f"\nimport torch\n\n{made}"
        library = "from safetensors.torch import load_file"
        return f"\nimport torch\n{library}\n\n{made}clip.head.load_state_dict({tensors})\n"

    def graft_lines(self, path: Path) -> str:
        module = self.module
        return (
            "from graft.adapters import load\nfrom graft.modules import ClipClassification\n\n"
            f"module = ClipClassification({module.backbone!r}, head={module.head!r})\n"
            f"module.tell_apart({[module.names[0]]!r}, {module.describe.template!r})\n"
            f"load(module.model, {str(path)!r})\nmodule.eval()\n"
        )

    def beyond(self) -> set[str]:
        changed = {name for name in trained(self.module.clip) if ".adapter." not in name}
        return changed | ({"head.weight", "head.bias"} if self.module.head == "linear" else set())

    def write_base(self, folder: Path) -> str | None:
        if self.module.backbone != "tiny":
            return self.module.backbone
        clip, tokenizer = build_clip("tiny")
        clip.save_pretrained(folder / "base")
        tokenizer.save_pretrained(folder / "base")
        return None

    def base_lines(self, folder: Path, beyond: bool) -> str:
        base = str(folder / "base") if self.module.backbone == "tiny" else self.module.backbone
        lines = self.loading(base, base) + self.head_lines("")
        if beyond:
            lines += "\nfrom safetensors.torch import load_file\n\n"
            lines += f"clip.load_state_dict(clip.state_dict() | load_file({str(folder / TRAINED)!r}))\n"
        return lines

    def model_name(self) -> str:
        return "clip"
