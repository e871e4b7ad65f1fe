"""How time and memory of a training step grow: with the image's size, and with the rank.

    python benchmarks/growth.py [--sides 256 384 512 768 1024] [--ranks 4 16 64 256] [--layers 2] [--pairs 5] [--write]

SAM's image encoder in the width of ViT-B with random weights, half of its blocks global and half in windows, and Serial
LoRA in all. A step is forward and backward of one image, on one thread of the CPU; its time is the processor's. Each
size and the smallest run in turn; the bytes are those of all tensors that autograd saves, once for each storage, the
network's own left out. The exponent over tokens, of which an image has side squared / 256, is fitted by least squares
on logarithms: 1 is what a network without attention to the whole image has, 2 what a matrix of all by all takes.
"""

import argparse
import shlex
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from against_peft import DOCS, saved, seconds
from floor import ratios, said
from grid import insert, markdown, split
from torch import Tensor, nn

from graft.adapters import SerialLoRA, inject, save
from graft.backbones.vit import PATCH, ImageEncoder

WIDTH, HEADS = 768, 12  # of ViT-B
RANK = 8  # while the size grows
BAR = 1.05  # of an adapter file's bytes to those that were trained


class Encoder(nn.Module):
    """SAM's encoder with Serial LoRA, asked as CLIP's tower is."""

    def __init__(self, side: int, layers: int, rank: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = ImageEncoder(side, WIDTH, layers, HEADS, tuple(range(1, layers, 2)))
        inject(self.encoder, SerialLoRA(rank))

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.encoder(pixel_values))


def exponent(sizes: list[int], values: list[float]) -> float:
    """p of values ~ sizes ^ p."""
    logs = torch.tensor(sizes, dtype=torch.float64).log()
    there = torch.stack([logs, torch.ones_like(logs)], 1)
    fitted: Tensor = torch.linalg.lstsq(there, torch.tensor(values, dtype=torch.float64).log()[:, None]).solution
    return float(fitted[0, 0])


def over_sizes(given: argparse.Namespace) -> str:
    """Time and memory against the image's size."""
    sides = sorted(given.sides)
    encoders = {side: Encoder(side, given.layers, RANK) for side in sides}
    images = {side: torch.randn(1, 3, side, side) for side in sides}
    kept = {side: saved(encoders[side], images[side]) for side in sides}
    times, rows = [], [["side", "tokens", "time : smallest", "MB saved", "saved : smallest"]]
    for side in sides:
        found = step_ratios((encoders[side], images[side]), (encoders[sides[0]], images[sides[0]]), given.pairs)
        times.append(float(found.quantile(0.5)))
        rows.append([f"{side}", f"{(side // PATCH) ** 2:,}", said(found, 2), f"{kept[side] / 1e6:.0f}"])
        rows[-1].append(f"{kept[side] / kept[sides[0]]:.2f}")
        print(" | ".join(rows[-1]), flush=True)
    tokens = [side**2 // PATCH**2 for side in sides]
    fitted = [exponent(tokens, values) for values in (times, [float(size) for size in kept.values()])]
    return f"{markdown(*rows)}\n\nOver tokens, time grows with exponent {fitted[0]:.2f}, memory with {fitted[1]:.2f}."


def over_ranks(given: argparse.Namespace) -> str:
    """Time, memory and the adapter file against the rank, at the smallest size."""
    side, ranks = min(given.sides), sorted(given.ranks)
    encoders, images = {rank: Encoder(side, given.layers, rank) for rank in ranks}, torch.randn(1, 3, side, side)
    kept = {rank: saved(encoders[rank], images) for rank in ranks}
    rows = [["rank", "time : smallest", "MB saved", "saved : smallest", "file, kB", "file : trained"]]
    for rank in ranks:
        found = step_ratios((encoders[rank], images), (encoders[ranks[0]], images), given.pairs)
        held, trained = file_bytes(encoders[rank])
        rows.append([f"{rank}", said(found, 2), f"{kept[rank] / 1e6:.1f}", f"{kept[rank] / kept[ranks[0]]:.2f}"])
        rows[-1] += [f"{held / 1e3:.0f}", f"{held / trained:.3f}"]
        print(" | ".join(rows[-1]), flush=True)
        if held > BAR * trained:
            raise SystemExit(f"error: at rank {rank} the adapter file has {held} bytes, {trained} of them trained.")
    return markdown(*rows)


def step_ratios(one: tuple[nn.Module, Tensor], other: tuple[nn.Module, Tensor], pairs: int) -> Tensor:
    """Of the times of two steps."""
    return ratios(lambda: seconds(*one), lambda: seconds(*other), pairs)


def file_bytes(encoder: nn.Module) -> tuple[int, int]:
    """Of an adapter file, and of what was trained."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        save(encoder, path)
        return path.stat().st_size, sum(p.nbytes for p in encoder.parameters() if p.requires_grad)


def main() -> None:
    """Measure over sizes, then over ranks, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 384, 512, 768, 1024], help="in pixels")
    parser.add_argument("--ranks", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--layers", type=int, default=2, help="of the encoder; ViT-B has 12")
    parser.add_argument("--pairs", type=int, default=5, help="how often both are measured")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{DOCS.name}")
    given = parser.parse_args()
    if given.write:
        split(DOCS, "growth")  # before the measuring, not after it
    torch.set_num_threads(1)
    options = ["--sides", *map(str, given.sides), "--ranks", *map(str, given.ranks)]
    options += ["--layers", str(given.layers), "--pairs", str(given.pairs)]
    command = shlex.join(["python", "benchmarks/growth.py", *options])
    text = f"{over_sizes(given)}\n\n{over_ranks(given)}\n\n```\n{command}\n```"
    print(f"\n{text}")
    if given.write:
        insert(DOCS, "growth", text)


if __name__ == "__main__":
    main()
