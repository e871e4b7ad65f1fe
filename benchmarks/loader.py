"""Is the loader the bottleneck? Images a second that it loads, against those that CLIP ViT-B/16 trains on at 224 px.

    python benchmarks/loader.py [--rounds 7] [--batch 32]

Writes generated JPEGs (noise with a photograph's spectrum) to a temporary folder, and prints a Markdown table. A round
measures everything in turn; the table has the medians. The step is forward and backward through the image tower with
Serial LoRA, r = 8, and random weights, on the CPU with all its threads; the loader has the CPU for itself. A faster
device wants as many workers as its images a second are times those of one worker.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from graft.adapters import SerialLoRA, inject
from graft.data.batch import collate
from graft.data.classification.crop import Crop
from graft.data.classification.dataset import ClassificationDataset
from graft.data.classification.division import Labelled
from graft.data.images import Pixels
from graft.data.loader import EpochLoader, EpochSampler

SIDE = 224
SIZES = {(500, 375): 3, (2000, 1500): 2}  # width and height in pixels, and batches an epoch
WORKERS = (0, 1, 2)
DEVICE = 1000  # images a second of a device that the table takes for an example


class WholeCrop(Crop):
    """The same cut of an image that is decoded in full, which is what a user's own augmentation is given."""

    def __call__(self, image: Pixels, side: int, rng: Generator) -> Pixels:
        return super().__call__(image, side, rng)


READS: dict[str, Crop | None] = {"training": Crop(), "training, decoded in full": WholeCrop(), "evaluation": None}


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
    """Some JPEGs of one size."""
    paths = [folder / f"{size[0]}-{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        picture(*size, np.random.default_rng(number)).save(path, quality=90)
    return paths


def epochs(paths: list[Path], count: int, augment: Crop | None, workers: int, batch: int) -> Callable[[], int]:
    """Loads an epoch each time it is called, with workers that are there already; the number of images."""
    samples = [Labelled(path.stem, path, 0) for path in (paths * count)[:count]]
    dataset = ClassificationDataset(samples, SIDE, augment)
    loader = EpochLoader(
        dataset,
        batch_size=batch,
        sampler=EpochSampler(dataset),
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
    )
    return lambda: sum(len(each["name"]) for each in loader)


def steps(batch: int) -> Callable[[], int]:
    """Makes a training step, without the optimizer's part, each time it is called; the number of images."""
    tower: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(patch_size=16))
    inject(tower, SerialLoRA(rank=8))
    images = torch.randn(batch, 3, SIDE, SIDE)

    def step() -> int:
        tower(images).image_embeds.square().mean().backward()
        return batch

    return step


def rate(run: Callable[[], int]) -> float:
    """Images a second."""
    start = time.perf_counter()
    return run() / (time.perf_counter() - start)


def table(rates: dict[Any, list[float]]) -> str:
    """Markdown, of the images a second in each round."""
    trained = rates["step"]
    lines = [
        f"| images a second, by workers | {' | '.join(map(str, WORKERS))} | 1 worker : step | workers for {DEVICE:,} |",
        "|---" * (len(WORKERS) + 3) + "|",
    ]
    for size in SIZES:
        for name in READS:
            each = [statistics.median(rates[size, name, workers]) for workers in WORKERS]
            ratio = statistics.median(a / b for a, b in zip(rates[size, name, 1], trained, strict=True))
            cells = [*(f"{value:.0f}" for value in each), f"{ratio:.0f}", f"{math.ceil(DEVICE / each[1])}"]
            lines.append(f"| {size[0]} x {size[1]}, {name} | {' | '.join(cells)} |")
    step = f"{statistics.median(trained):.1f} ({min(trained):.1f} to {max(trained):.1f})"
    return "\n".join([*lines, "", f"A training step: {step} images a second, {torch.get_num_threads()} threads."])


def main() -> None:
    """Measure in turn, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    parser.add_argument("--batch", type=int, default=32, help="images a batch")
    arguments = parser.parse_args()
    rates: dict[Any, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[Any, Callable[[], int]] = {"step": steps(arguments.batch)}
        for size, batches in SIZES.items():
            paths = write(Path(folder), size)
            print(f"{size[0]} x {size[1]}: {statistics.mean(path.stat().st_size for path in paths) / 1e3:.0f} kB each")
            for name, augment in READS.items():
                for workers in WORKERS:
                    count = batches * arguments.batch
                    runs[size, name, workers] = epochs(paths, count, augment, workers, arguments.batch)
        for number in range(arguments.rounds + 1):
            for key, run in runs.items():
                measured = rate(run)
                if number:  # the first round starts the workers and fills the caches
                    rates[key].append(measured)
        print(table(rates))


if __name__ == "__main__":
    main()
