"""native: the adapters folded into the weights, which the published network then reads as its own."""

from pathlib import Path

from graft.adapters import merge
from graft.export.format import Format


class Native(Format):
    """A .pth for segment-anything, a folder for transformers."""

    def write(self, path: Path) -> None:
        merge(self.task.module.model)
        self.task.write(path)

    def lines(self, path: Path) -> str:
        return self.task.lines(path)
