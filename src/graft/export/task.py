"""What an export must know of a task: how others build its network, and how that network is asked."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graft.modules.adapted import AdaptedModule
from graft.quiet import hushed

TRAINED = "trained.safetensors"
"""Beside the adapters of a folder for PEFT: what else is not as published."""

Made = dict[str, Any]
"""What lines of Python have made, by the names they gave it."""


class Task(ABC):
    """A trained module, in the terms of the libraries that know its network too.

    Args:
        module: The module, in eval mode.
    """

    def __init__(self, module: AdaptedModule) -> None:
        self.module = module

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return int(self.module.image_size)  # type: ignore[arg-type]

    @property
    def batched(self) -> bool:
        """Whether the published network answers several images at once."""
        return True

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """What the model is, as plain values."""

    @abstractmethod
    def random(self, count: int) -> dict[str, Any]:
        """A batch of random images, with all that is asked beside them."""

    @abstractmethod
    def inputs(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the network is given of a batch, by name."""

    @abstractmethod
    def network(self, made: Made) -> nn.Module:
        """From `inputs` to logits by the calls of the published network that lines of Python have made."""

    @abstractmethod
    def published(self) -> Made:
        """The published network with the module's weights, which are merged already."""

    def state(self) -> dict[str, Tensor]:
        """The module's tensors under the published network's names and in its shapes, and those of adapters if any."""
        return self.module.model.state_dict()

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the merged weights as the published network reads them."""

    @abstractmethod
    def lines(self, path: Path) -> str:
        """Python without Graft that makes the network of what `write` wrote."""

    @abstractmethod
    def graft_lines(self, path: Path) -> str:
        """Python that makes the module of an adapter file."""

    @abstractmethod
    def beyond(self) -> set[str]:
        """Names of what the module holds beside its adapters and in another way than the published weights."""

    @abstractmethod
    def write_base(self, folder: Path) -> str | None:
        """Write the published weights if they are random, which no one else could have; else say where they are."""

    @abstractmethod
    def base_lines(self, folder: Path, beyond: bool) -> str:
        """Python without Graft that makes the network of the published weights and, if any, of what is `beyond`."""

    @abstractmethod
    def model_name(self) -> str:
        """The variable that the lines put the network into."""


@torch.no_grad()
def answer(network: nn.Module, inputs: dict[str, Tensor], batched: bool) -> Tensor:
    """Logits of all images: at once, or one by one."""
    if batched:
        logits: Tensor = network(*inputs.values())
        return logits
    images = zip(*(value.chunk(len(value)) for value in inputs.values()), strict=True)
    return torch.cat([network(*image) for image in images])


def run(lines: str) -> Made:
    """What the lines make: those that a user is shown are those that were tried."""
    made: Made = {}
    with hushed("onnxscript"):
        exec(compile(lines, "<export>", "exec"), made)
    return made
