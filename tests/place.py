"""A working folder with a tiny experiment in it, and cases: what is done there, and what a command then says."""

import io
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from graft.cli import GraftCLI, main

CONFIG = """\
model:
  class_path: graft.modules.SamSegmentation
  init_args: {backbone: tiny, image_size: 64}
data:
  class_path: graft.data.FolderSegmentation
  init_args: {root: DATA, batch_size: 2, num_workers: 0, augment: null}
adapt:
  adapter: {class_path: graft.adapters.SerialLoRA, init_args: {rank: 4}}
  where: [image_encoder]
  train: [mask_decoder]
checkpoint: {monitor: val/dice}
pictures: {count: 0}
predictions: {folder: OUT}
trainer: {accelerator: cpu, devices: 1, max_steps: 1, log_every_n_steps: 1, logger: false, enable_progress_bar: false}
"""
NAMES = {"train": ["train0", "train1"], "val": ["val0"], "test": ["test0"]}


@dataclass
class Place:
    """A working folder with tiny.yaml, DATA/images, DATA/masks, and lists in DATA that name the splits."""

    folder: Path
    patch: pytest.MonkeyPatch
    until: ExitStack  # closed at the end
    words: dict[str, str] = field(default_factory=dict)  # what is another each time, and what is said instead

    def write(self, path: str, content: str | bytes = b"") -> None:
        """Write a file; its folder is made."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    def save(self, path: str, image: Image.Image, **options: object) -> None:
        """Write an image; its folder is made."""
        file = io.BytesIO()
        image.save(file, {".jpg": "JPEG", ".png": "PNG"}[Path(path).suffix], **options)
        self.write(path, file.getvalue())

    def pair(self, name: str, image: Image.Image, mask: Image.Image, suffix: str = ".png", **options: object) -> None:
        """Put an image and its mask in the place of those of a name."""
        for kind in ("images", "masks"):
            self.remove(f"DATA/{kind}/{name}.png")
        self.save(f"DATA/images/{name}{suffix}", image, **options)
        self.save(f"DATA/masks/{name}.png", mask)

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.folder / path).unlink()

    def truncate(self, path: str) -> None:
        """Leave the first half of a file."""
        content = (self.folder / path).read_bytes()
        self.write(path, content[: len(content) // 2])

    def checkpoint(self, path: str = "last.ckpt") -> None:
        """Write the checkpoint of a run of tiny.yaml."""
        self.write(path, trained())


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Make a place of a folder and work in it."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as until:
        at = Place(folder, patch, until)
        patch.chdir(folder)
        patch.setenv("GRAFT_CACHE", str(folder / "cache"))
        at.write("tiny.yaml", CONFIG)
        for split, names in NAMES.items():
            at.write(f"DATA/{split}.txt", "\n".join(names))
            for name in names:
                at.save(f"DATA/images/{name}.png", noise(name))
                at.save(f"DATA/masks/{name}.png", square())
        yield at


def noise(name: str, width: int = 56, height: int = 40) -> Image.Image:
    """A picture that no other name gives."""
    rng = np.random.default_rng([*name.encode()])
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def square(width: int = 56, height: int = 40, value: int = 255) -> Image.Image:
    """A mask with something in it."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] = value
    return Image.fromarray(mask)


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    stderr: str
    cli: GraftCLI | None

    def error(self, at: Place) -> str:
        """The one sentence in which it ended, with words for what is another each time."""
        lines = self.stderr.splitlines()
        (sentence,) = (line.removeprefix("error: ") for line in lines if line.startswith("error: "))
        assert lines[-1] == f"error: {sentence}"
        assert "Traceback" not in self.stderr
        for found, word in {f"{at.folder}/": "", **at.words}.items():
            sentence = sentence.replace(found, word)
        return re.sub(r"\d+ bytes", "... bytes", sentence)


def run(*args: str) -> Said:
    """Run a command as its user does, but in this process."""
    stderr = io.StringIO()
    ours = patch.dict(os.environ)  # Lightning leaves the ranks of a run in it, and another would believe them
    with ours, only(*args[:1]), redirect_stderr(stderr), redirect_stdout(io.StringIO()):
        try:
            cli = main([*args])
        except SystemExit as stopped:
            return Said(int(str(stopped.code)), stderr.getvalue(), None)
    return Said(0, stderr.getvalue(), cli)


def only(*commands: str) -> Any:
    """While it lasts, the parsers of other commands have no options: making them takes most of a refusal's time."""
    real, name = GraftCLI._prepare_subcommand_parser, "_prepare_subcommand_parser"

    def prepare(cli: GraftCLI, trainer: type, command: str, **kwargs: Any) -> Any:
        return real(cli, trainer, command, **kwargs) if command in commands else cli.init_parser(**kwargs)

    return patch.object(GraftCLI, name, prepare)


@cache
def trained(*typed: str) -> bytes:
    """The checkpoint of a run of tiny.yaml."""
    with tempfile.TemporaryDirectory() as folder, place(Path(folder)):
        said = run("fit", "--config=tiny.yaml", *typed)
        assert said.code == 0, said.stderr
        return Path("checkpoints", "last.ckpt").read_bytes()


def nothing(at: Place) -> None:
    """Neither to prepare nor to look at."""


@dataclass(frozen=True)
class Case:
    """One bad input.

    Args:
        given: What is bad.
        typed: What is typed after the command and its configuration.
        says: Parts of the sentence that must be there: what was given, and what to do.
        prepare: Changes the working folder.
        then: Looks, after the run, at what is left.
        handled: What becomes of it, where it is not refused.
        command: fit, validate, test, predict, or another.
        config: The configuration; "" for none.
    """

    given: str
    typed: str = ""
    says: tuple[str, ...] = ()
    prepare: Callable[[Place], object] = nothing
    then: Callable[[Place], None] = nothing
    handled: str = ""
    command: str = "fit"
    config: str = "tiny.yaml"

    def run(self, at: Place) -> Said:
        self.prepare(at)
        config = [f"--config={self.config}"] if self.config else []
        return run(*self.command.split(), *config, *shlex.split(self.typed))

    def row(self, said: str) -> str:
        """The case's row in the table: of the command, what is not `fit --config tiny.yaml`, or clip.yaml."""
        command = "" if self.command == "fit" else self.command
        config = "" if self.config in ("", "tiny.yaml", "clip.yaml") else f"--config={self.config}"
        typed = " ".join(filter(None, (command, config, self.typed)))
        given = ": ".join(filter(None, (self.given, typed and f"`{typed}`")))
        return "| {} | {} |".format(given, said.replace("|", "\\|"))


def together(*steps: Callable[[Place], object]) -> Callable[[Place], None]:
    def prepare(at: Place) -> None:
        for step in steps:
            step(at)

    return prepare


def text(path: str, content: str | bytes) -> Callable[[Place], None]:
    return lambda at: at.write(path, content)
