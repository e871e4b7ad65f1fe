"""What a run's checkpoint tells: its cost, and what its model says of the validation split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any, TypeVar

import torch
from lightning.fabric.utilities import move_data_to_device
from rich.console import Console
from rich.progress import track

from graft.modules.adapted import AdaptedModule
from graft.refusal import refused
from graft.report.classes import Classes
from graft.report.cost import Cost, cost
from graft.report.logged import Logged
from graft.report.masks import Masks
from graft.run import Run, open_run

T = TypeVar("T")

LONGEST = 300
"""Letters of what a library says."""

KINDS: dict[str, type[Masks] | type[Classes]] = {"masks": Masks, "probabilities": Classes}
"""By what a module's validation step tells of a batch."""


@dataclass
class Examined:
    """What was found, and in sentences why the rest was not."""

    cost: Cost | None = None
    images: Masks | Classes | None = None
    missing: list[str] = field(default_factory=list)

    def attempt(self, what: Callable[[], T]) -> T | None:
        """Do something that needs files from elsewhere; where it fails, the page says why and holds the rest."""
        try:
            return what()
        except Exception as error:  # of any library that reads weights or data
            self.missing.append(
                refused(error) or shorten(f"{type(error).__name__}: {error}", LONGEST, placeholder=" ...")
            )
            return None


def examine(logged: Logged) -> Examined:
    """Open a run's checkpoint, build its model, and ask it about the validation split."""
    found, path = Examined(), logged.checkpoint
    if path is None:
        found.missing.append(f"{logged.folder} holds no checkpoint.")
    elif run := found.attempt(lambda: open_run(path)):
        module = found.attempt(lambda: run.module)
        found.cost = found.attempt(lambda: cost(run, module and module.model))
        if module:
            found.images = found.attempt(lambda: look(run, module, str(logged.folder)))
    return found


@torch.inference_mode()
def look(run: Run, module: AdaptedModule, name: str) -> Masks | Classes:
    """Ask a model about every image of the validation split, in float32.

    Raises:
        ValueError: Its validation step tells nothing that can be shown.
    """
    data = run.data()
    data.setup("validate")
    module.meet(data)
    loader = data.val_dataloader()
    module.to("cuda" if torch.cuda.is_available() else "cpu")
    images: Masks | Classes | None = None
    shown = Console(stderr=True)
    batches = track(loader, name, len(loader), console=shown, transient=True, disable=not shown.is_terminal)
    for index, batch in enumerate(batches):
        step: Any = module.validation_step
        told = step(move_data_to_device(batch, module.device), index)
        kind = next((kind for kind in KINDS if isinstance(told, dict) and kind in told), None)
        if kind is None:
            raise ValueError(
                f"{type(module).__name__}.validation_step returns no {' and no '.join(KINDS)}, so nothing is shown."
            )
        images = images or KINDS[kind](loader.dataset, module)
        images.add(batch, told[kind])
    if images is None:
        raise ValueError(f"The validation split of {name} is empty.")
    return images
