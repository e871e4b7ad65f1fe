"""A finished run, opened again from its checkpoint alone: the trained model, its configuration, and its data."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

import graft.data
import graft.modules
from graft.checkpoint_io import CheckpointError, WholeFiles
from graft.data.base import ImageData
from graft.modules.adapted import KEY, AdaptedModule


@dataclass(frozen=True)
class Run:
    """What a checkpoint holds.

    Args:
        path: The checkpoint.
        checkpoint: Its content, as plain values and tensors.
    """

    path: Path
    checkpoint: dict[str, Any]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The whole configuration of the run that made it.

        Raises:
            CheckpointError: It holds none: it was not made by `main.py fit`.
        """
        if "config" not in self.checkpoint:
            raise CheckpointError(f"{self.path} does not hold its run's configuration: give one made by main.py fit.")
        config: dict[str, Any] = yaml.safe_load(self.checkpoint["config"])
        return config

    @cached_property
    def module(self) -> AdaptedModule:
        """The task's module with its adapted and trained backbone, on the CPU, in eval mode."""
        kind = self.named("model", graft.modules, AdaptedModule)
        module: AdaptedModule = kind.load_from_checkpoint(self.path, map_location="cpu", weights_only=True)
        return module.eval()

    def data(self, **options: Any) -> ImageData:
        """The data of the run, as configured, but for `options`; fetched, for this model's size, and not set up yet."""
        kind = self.named("data", graft.data, ImageData)
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(ImageData, "data")
        entry = self.config["data"]
        given = {**entry.get("init_args", {}), "image_size": self.module.image_size, **options}
        parsed = parser.parse_object(
            {"data": {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": given}}
        )
        data: ImageData = parser.instantiate_classes(parsed).data
        data.prepare_data()
        return data

    def named(self, part: str, home: Any, parent: type) -> Any:
        """The class that the configuration names for a part. Only classes that are imported already are used.

        Raises:
            CheckpointError: It is not known here.
        """
        path = self.config[part]["class_path"]
        known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in below(parent)}
        kind = getattr(home, path.rpartition(".")[2], None) if path.startswith(f"{home.__name__}.") else known.get(path)
        if kind is None:
            raise CheckpointError(f"{self.path} names {path} as its {part}, which is unknown here: import it first.")
        return kind


def open_run(path: Path) -> Run:
    """Open a checkpoint.

    Raises:
        CheckpointError: There is no such file, or it is no checkpoint that `main.py fit` has written.
    """
    checkpoint = WholeFiles().load_checkpoint(path)
    if KEY not in checkpoint:
        raise CheckpointError(f"{path} was not made by graft: it does not say which adapter it holds.")
    return Run(Path(path), checkpoint)


def below(kind: type[Any]) -> set[type[Any]]:
    """All classes below one."""
    children: list[type[Any]] = kind.__subclasses__()
    return {found for child in children for found in {child, *below(child)}}
