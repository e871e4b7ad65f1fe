"""Is the loader the bottleneck? Images a second that it loads, against those that a step on the CPU trains on.

    python benchmarks/loader.py [--task clip sam] [--rounds 7] [--write]

CLIP ViT-B/16 at 224 px, in batches of 32, and SAM ViT-B at 1024 px, one by one. Writes generated JPEGs (noise with a
photograph's spectrum; for SAM with masks) to a temporary folder, and prints Markdown tables. A round measures all in
turn; the tables have the medians. The step is forward and backward through the image encoder with Serial LoRA, r = 8,
and random weights, on the CPU with all its threads; the loader has the CPU for itself. A faster device wants as many
workers as its images a second are times those of one worker. Kept: with data.keep_resized, once the files are there;
they are in memory then, where the system has room for them.
"""

import argparse
import math
import shlex
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grid import insert, markdown, split
from numpy.random import Generator
from PIL import Image
from torch.utils.data import Dataset
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from graft.adapters import SerialLoRA, inject
from graft.backbones import build_sam
from graft.data.batch import collate
from graft.data.classification.crop import Crop
from graft.data.classification.dataset import ClassificationDataset
from graft.data.classification.division import Labelled
from graft.data.images import Pixels
from graft.data.loader import EpochLoader, EpochSampler
from graft.data.samples import Sample
from graft.data.segmentation.augment import Augment
from graft.data.segmentation.dataset import SegmentationDataset

RESULTS = Path(__file__).parents[1] / "docs" / "performance.md"
WORKERS = (0, 1, 2)

Reads = Callable[[list[Path], int], Dataset[Any]]
"""From the files of images and the number of items to a data set."""


class WholeCrop(Crop):
    """The same cut of an image that is decoded in full, which is what a user's own augmentation is given."""

    def __call__(self, image: Pixels, side: int, rng: Generator) -> Pixels:
        return super().__call__(image, side, rng)


def labelled(augment: Crop | None) -> Reads:
    """Images with classes."""

    def make(paths: list[Path], count: int) -> Dataset[Any]:
        return ClassificationDataset([Labelled(path.stem, path, 0) for path in (paths * count)[:count]], 224, augment)

    return make


def masked(training: bool, kept: bool) -> Reads:
    """Images with masks."""

    def make(paths: list[Path], count: int) -> Dataset[Any]:
        samples = [Sample(path.stem, path, path.with_suffix(".png")) for path in (paths * count)[:count]]
        keep = paths[0].parent / "kept" if kept else None
        return SegmentationDataset(samples, 1024, training=training, augment=Augment(), keep=keep)

    return make


def clip(batch: int) -> Callable[[], Any]:
    """A training step of CLIP, without the optimizer's part."""
    tower: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(patch_size=16))
    inject(tower, SerialLoRA(rank=8))
    images = torch.randn(batch, 3, 224, 224)
    return lambda: tower(images).image_embeds.square().mean().backward()


def sam(batch: int) -> Callable[[], Any]:
    """A training step of SAM's image encoder, likewise."""
    encoder: Any = build_sam("vit_b", checkpoint=None).image_encoder
    inject(encoder, SerialLoRA(rank=8))
    images = torch.randn(batch, 3, 1024, 1024)
    return lambda: encoder(images).square().mean().backward()


@dataclass(frozen=True)
class Task:
    """What is loaded, and for what.

    Args:
        batch: Images a batch.
        sizes: Width and height of the images in pixels, and batches an epoch.
        reads: What is compared.
        step: Makes a step.
        device: Images a second of a device that the table takes for an example.
    """

    batch: int
    sizes: dict[tuple[int, int], int]
    reads: dict[str, Reads]
    step: Callable[[int], Callable[[], Any]]
    device: int


TASKS = {
    "clip": Task(
        32,
        {(500, 375): 3, (2000, 1500): 2},
        {
            "training": labelled(Crop()),
            "training, decoded in full": labelled(WholeCrop()),
            "evaluation": labelled(None),
        },
        clip,
        1000,
    ),
    "sam": Task(
        1,
        {(600, 530): 24, (1920, 1080): 24},
        {
            "training": masked(training=True, kept=False),
            "training, kept": masked(training=True, kept=True),
            "evaluation": masked(training=False, kept=False),
            "evaluation, kept": masked(training=False, kept=True),
        },
        sam,
        20,
    ),
}


def picture(width: int, height: int, rng: Generator) -> Image.Image:
    """Noise whose amplitude falls with the frequency as it does in photographs, 1 / f; its colours go together."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    phases = np.exp(2j * np.pi * rng.random((4, *frequency.shape)))
    layers = np.fft.irfft2(phases / frequency, (height, width))  # (4, height, width): the brightness and three colours
    layers /= layers.std(axis=(1, 2), keepdims=True)
    pixels = 127 + 50 * layers[:1] + 20 * layers[1:]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def write(folder: Path, size: tuple[int, int], count: int = 8) -> list[Path]:
    """Some JPEGs of one size, and beside each a mask: an ellipse, in a PNG."""
    paths = [folder / f"{size[0]}-{number}.jpg" for number in range(count)]
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    for number, path in enumerate(paths):
        picture(*size, np.random.default_rng(number)).save(path, quality=90)
        Image.fromarray(((x**2 + y**2 < 0.2 + number / 20) * 255).astype(np.uint8)).save(path.with_suffix(".png"))
    return paths


def epochs(dataset: Dataset[Any], workers: int, batch: int) -> Callable[[], int]:
    """Loads an epoch each time it is called, with workers that are there already; the number of images."""
    loader = EpochLoader(
        dataset,
        batch_size=batch,
        sampler=EpochSampler(dataset),
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
    )
    return lambda: sum(len(each["name"]) for each in loader)


def steps(task: Task) -> Callable[[], int]:
    """Makes a training step each time it is called; the number of images."""
    step = task.step(task.batch)

    def one() -> int:
        step()
        return task.batch

    return one


def rate(run: Callable[[], int]) -> float:
    """Images a second."""
    start = time.perf_counter()
    return run() / (time.perf_counter() - start)


def table(name: str, task: Task, rates: dict[Any, list[float]]) -> str:
    """Markdown, of the images a second in each round."""
    trained = rates["step"]
    workers = [f"{count} workers" for count in WORKERS]
    rows = [[f"{name}: images a second", *workers, "1 worker : step", f"workers for {task.device:,} a second"]]
    for size in task.sizes:
        for read in task.reads:
            each = [statistics.median(rates[size, read, count]) for count in WORKERS]
            ratio = statistics.median(a / b for a, b in zip(rates[size, read, 1], trained, strict=True))
            cells = [*(f"{value:.0f}" for value in each), f"{ratio:.0f}", f"{math.ceil(task.device / each[1])}"]
            rows.append([f"{size[0]} x {size[1]}, {read}", *cells])
    step = f"{statistics.median(trained):.2g} ({min(trained):.2g} to {max(trained):.2g})"
    return f"{markdown(*rows)}\n\nA training step: {step} images a second, {torch.get_num_threads()} threads."


def measured(name: str, task: Task, rounds: int) -> str:
    """The table of a task."""
    rates: dict[Any, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[Any, Callable[[], int]] = {"step": steps(task)}
        for size, batches in task.sizes.items():
            paths = write(Path(folder), size)
            for read, make in task.reads.items():
                for workers in WORKERS:
                    runs[size, read, workers] = epochs(make(paths, batches * task.batch), workers, task.batch)
        for number in range(rounds + 1):
            for key, run in runs.items():
                images = rate(run)
                if number:  # the first round starts the workers and fills the caches
                    rates[key].append(images)
    return table(name, task, rates)


def main() -> None:
    """Measure in turn, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS), help="which: clip, sam, or both")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{RESULTS.name}")
    given = parser.parse_args()
    if given.write:
        split(RESULTS, "loader")  # before the runs, not after them
    tables = [measured(name, TASKS[name], given.rounds) for name in given.task]
    command = shlex.join(["python", "benchmarks/loader.py", "--task", *given.task, "--rounds", str(given.rounds)])
    text = "\n\n".join([*tables, f"```\n{command}\n```"])
    print(text)
    if given.write:
        insert(RESULTS, "loader", text)


if __name__ == "__main__":
    main()
