"""Features instead of images: the time of a training step of LiteMedSAM with `CachePrefix`, over that without.

    python benchmarks/prefix.py [--size 128] [--write]

Two trainings of one model on generated phantoms, one on images and one on the features that were kept of them, take a
step in turn, the loading included: the process's CPU time, the median of the pairs and their range. Beside it stand
what an image takes on disk, and what the one encoding of a batch costs, in steps on images.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from grid import insert, markdown, split
from lightning.pytorch import Trainer, seed_everything
from torch.utils.data import DataLoader

from graft.adapters import SerialLoRA
from graft.callbacks import Adapt, CachePrefix
from graft.data import PolypPhantoms
from graft.modules import SamSegmentation

PERFORMANCE = Path(__file__).parents[1] / "docs" / "performance.md"
BATCH, IMAGES = 4, 16
DECODER = ["mask_decoder"]
TRAINED: dict[str, Callable[[], Adapt]] = {
    "the decoder": partial(Adapt, train=DECODER),
    "the decoder, and Serial LoRA in the last block": lambda: Adapt(
        SerialLoRA(rank=8), where=["image_encoder.layers.3.blocks.1"], train=DECODER
    ),
}


def batches(loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
    """A loader's batches, over and over."""
    while True:
        yield from loader


def stepping(module: SamSegmentation, loader: DataLoader[Any]) -> Callable[[], float]:
    """Loads a batch and takes a training step each time it is called; the CPU seconds."""
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-4)
    given = batches(loader)

    def step() -> float:
        start = time.process_time()
        batch = next(given)
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()
        return time.process_time() - start

    return step


def measure(adapt: Adapt, size: int, pairs: int, folder: Path) -> list[str]:
    """The cells of a row."""
    seed_everything(0, verbose=False)
    module: Any = SamSegmentation("vit_t", image_size=size)
    module.log = lambda *_, **__: None
    data = PolypPhantoms(folder / "data", train_count=IMAGES, val_count=1, test_count=1, batch_size=BATCH,
                         num_workers=0, image_size=size, augment=None)  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    adapt.setup(trainer, module, "fit")
    images, features = data.train_dataloader(), data.train_dataloader()
    kept = folder / str(module.prefix.joint)
    start = time.process_time()
    CachePrefix(str(kept)).encode(trainer, module, features)
    encoding = (time.process_time() - start) / IMAGES
    size_on_disk = statistics.mean(file.stat().st_size for file in kept.rglob("*.safetensors"))
    plain, cached = stepping(module, images), stepping(module, features)
    each = [(plain(), cached()) for _ in range(pairs + 1)][1:]  # the first pair warms up
    ratios = [with_features / with_images for with_images, with_features in each]
    middle = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    once = encoding * BATCH / statistics.median(with_images for with_images, _ in each)
    return [middle, f"{size_on_disk / 1e6:.2f}", f"{once:.2f}"]


def main() -> None:
    """Measure each training, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--size", type=int, default=128, help="side of the images, in pixels")
    parser.add_argument("--pairs", type=int, default=15, help="steps of each")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PERFORMANCE.name}")
    given = parser.parse_args()
    if given.write:
        split(PERFORMANCE, "prefix")  # before the runs, not after them
    rows = [["trained", "step on features : step on images", "MB an image", "encoding a batch once, in steps"]]
    with tempfile.TemporaryDirectory() as folder:
        for name, adapt in TRAINED.items():
            rows.append([name, *measure(adapt(), given.size, given.pairs, Path(folder))])
    command = f"python benchmarks/prefix.py --size {given.size} --pairs {given.pairs} --write"
    text = f"{markdown(*rows)}\n\n```\n{command}\n```"
    print(text)
    if given.write:
        insert(PERFORMANCE, "prefix", text)


if __name__ == "__main__":
    main()
