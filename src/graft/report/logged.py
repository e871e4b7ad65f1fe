"""A run as it lies in its log folder: configuration, event files, checkpoints."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from graft.checkpoint_io import CheckpointError
from graft.configuration import check
from graft.report.events import Scalars, scalars
from graft.run import open_run

LOWER_IS_BETTER = {"loss", "ece"}


@dataclass(frozen=True)
class Logged:
    """A run's log folder.

    Args:
        folder: Where it lies.
        config: Its configuration; empty where there is none.
        scalars: What it has logged.
        checkpoint: Its best checkpoint, or the one that was asked for; None where there is none.
    """

    folder: Path
    config: dict[str, Any]
    scalars: Scalars
    checkpoint: Path | None

    def at(self, key: str) -> Any:
        """What the configuration holds under a dotted key; None where it holds nothing."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def kind(self, key: str) -> str | None:
        """The name of the class that the configuration gives for a key."""
        path = self.at(f"{key}.class_path")
        return None if path is None else str(path).rpartition(".")[2]

    @property
    def backbone(self) -> str:
        """The backbone, and the side of its images."""
        side = self.at("model.init_args.image_size")
        return f"{self.at('model.init_args.backbone') or 'unknown backbone'}{f' at {side} px' if side else ''}"

    @property
    def method(self) -> str:
        """The adapter with its rank, and the rules."""
        rank, rules = self.at("adapt.adapter.init_args.rank"), self.at("adapt.rules") or []
        adapter = f"{self.kind('adapt.adapter') or 'no adapter'}{f', rank {rank}' if rank else ''}"
        return " + ".join([adapter, *(rule["class_path"].rpartition(".")[2] for rule in rules)])

    @property
    def data(self) -> str:
        """The data set."""
        return self.kind("data") or "unknown data"

    @property
    def scores(self) -> list[str]:
        """Tags of the validation's scores, the monitored one first, the loss last."""
        tags = [tag for tag in self.scalars if tag.startswith("val/")]
        return sorted(tags, key=lambda tag: (tag != self.monitor, tag == "val/loss", tag.count("/"), tag))

    @cached_property
    def monitor(self) -> str:
        """The score that chooses the best checkpoint."""
        return str(self.at("checkpoint.monitor") or next((tag for tag in self.scalars if tag.startswith("val/")), ""))

    def lower_is_better(self, tag: str) -> bool:
        """Whether a score is the better the lower it is."""
        if tag == self.monitor and self.at("checkpoint.mode"):
            return bool(self.at("checkpoint.mode") == "min")
        return tag.rpartition("/")[2] in LOWER_IS_BETTER


def read(path: Path) -> Logged:
    """Read a run from its log folder, or from a checkpoint in it.

    Raises:
        CheckpointError: There is no such file or folder, or nothing of a run in it.
        ConfigurationError: Its config.yaml is no configuration.
    """
    path = path.expanduser()
    if not path.is_dir():
        open_run(path)
        folder = next((at for at in (path.parent, path.parent.parent) if is_log_folder(at)), path.parent)
        return Logged(folder, config_of(folder, path), scalars(folder), path)
    best = best_checkpoint(path)
    if not is_log_folder(path) and best is None:
        near = sorted({at.parent for at in path.glob("*/config.yaml")}, key=lambda at: at.stat().st_mtime)
        raise CheckpointError(
            f"{path} is no run's log folder: it holds no config.yaml, no event files and no checkpoints"
            + (f"; did you mean {near[-1]}?" if near else "; give one such as lightning_logs/version_0.")
        )
    return Logged(path, config_of(path, best), scalars(path), best)


def is_log_folder(folder: Path) -> bool:
    """Whether a folder holds a run's configuration or event files."""
    return (folder / "config.yaml").is_file() or any(folder.glob("events.out.tfevents.*"))


def config_of(folder: Path, checkpoint: Path | None) -> dict[str, Any]:
    """The configuration in the folder, else that in the checkpoint, else none."""
    if (file := folder / "config.yaml").is_file():
        check(file)
        config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        return config
    try:
        return {} if checkpoint is None else open_run(checkpoint).config
    except CheckpointError:
        return {}  # whoever opens it says what is wrong


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that the newest one names as the best so far, else the newest; None where there is none."""
    found = sorted(folder.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        return None
    try:
        states = open_run(found[-1]).checkpoint.get("callbacks", {}).values()
    except CheckpointError:
        return found[-1]  # likewise
    named = {Path(state["best_model_path"]).name for state in states if state.get("best_model_path")}
    return next((path for path in found if path.name in named), found[-1])
