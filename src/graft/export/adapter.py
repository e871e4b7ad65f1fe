"""adapter: all that was trained and how to put it back, as `graft.adapters.load` reads it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graft.adapters import save
from graft.export.format import Format
from graft.export.task import run


class AdapterFile(Format):
    """A safetensors file, small beside the backbone, which it does not hold."""

    def write(self, path: Path) -> None:
        save(self.task.module.model, path)

    def lines(self, path: Path) -> str:
        return self.task.graft_lines(path)

    @torch.no_grad()
    def answer(self, path: Path, inputs: dict[str, Any]) -> Tensor:
        logits: Tensor = run(self.lines(path))["module"](inputs)
        return logits
