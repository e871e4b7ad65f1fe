"""A format: how a trained module is written, and how what was written is asked again."""

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor

from graft.export.task import Task, answer, run


class Format(ABC):
    """One way to write a trained module.

    Args:
        task: The module, in the terms of its task.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write a file or a folder. The module may be changed for good.

        Raises:
            ValueError: The format cannot hold what was trained.
        """

    @abstractmethod
    def lines(self, path: Path) -> str:
        """Python that loads what was written, for whoever has the export alone."""

    def answer(self, path: Path, inputs: dict[str, Tensor]) -> Tensor:
        """Logits of what was written, loaded by the lines."""
        return answer(self.task.network(run(self.lines(path))), inputs, self.task.batched)
