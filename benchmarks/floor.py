"""What each method adds to the floor: a training step with frozen weights and a gradient to the input, nothing more.

    python benchmarks/floor.py [--methods SerialLoRA LoRA] [--ranks 8 64] [--layers 4] [--pairs 7] [--write]

No method can do with less in a block before which something is trained. The network is CLIP's image tower in the width
of ViT-B/16 at 224 px, with random weights and separate projections; each method adapts what its paper does, and its
tower's input takes a gradient, too, so that a few layers stand for many. A step is forward and backward, without the
optimizer's part, on one thread of the CPU, and its time is the processor's. Method and floor run in turn, in the one
order and in the other; the table has the median of the pairs, and their range.
"""

import argparse
import copy
import inspect
import shlex
from collections.abc import Callable

import torch
from against_peft import DOCS, clip_tower, seconds
from grid import insert, markdown, split
from torch import Tensor, nn

import graft.adapters
from graft.adapters import Adapter, inject

METHODS = [name for name in graft.adapters.__all__ if inspect.isclass(kind := getattr(graft.adapters, name))
           and issubclass(kind, Adapter) and not inspect.isabstract(kind)]  # fmt: skip


def ratios(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> Tensor:
    """The seconds of one over those of the other, (pairs,), sorted."""
    found = []
    for number in range(pairs + 1):
        order = [ours, theirs] if number % 2 else [theirs, ours]
        times = {step: step() for step in order}
        found.append(times[ours] / times[theirs])
    return torch.tensor(found[1:]).sort().values  # the first pair warms up


def said(found: Tensor, digits: int = 3) -> str:
    """The median and the range."""
    return f"{found.quantile(0.5):.{digits}f} ({found[0]:.{digits}f} to {found[-1]:.{digits}f})"


def floor(tower: nn.Module) -> nn.Module:
    """The tower, frozen; its first block's input takes a gradient."""
    tower.requires_grad_(False)
    tower.get_submodule("embeddings").register_forward_hook(lambda *passed: passed[2].detach().requires_grad_())
    return tower


def main() -> None:
    """Measure each method at each rank, then print the table, the cheapest first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--layers", type=int, default=4, help="of the tower; ViT-B has 12")
    parser.add_argument("--width", type=int, default=768, help="of the tower, in multiples of 64")
    parser.add_argument("--side", type=int, default=224, help="of the images, in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--pairs", type=int, default=7, help="how often both are measured")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{DOCS.name}")
    given = parser.parse_args()
    if given.write:
        split(DOCS, "floor")  # before the measuring, not after it
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bare, images = (
        floor(clip_tower(given.layers, given.width, given.side).train()),
        torch.randn(given.batch, 3, given.side, given.side),
    )
    found: dict[str, list[Tensor]] = {}
    for name in given.methods:
        for rank in given.ranks:
            kind, adapted = getattr(graft.adapters, name), copy.deepcopy(bare)
            inject(adapted, kind(rank))
            step = ratios(lambda adapted=adapted: seconds(adapted, images), lambda: seconds(bare, images), given.pairs)
            found.setdefault(name, []).append(step)
            print(f"{name} at rank {rank}: {said(step)}", flush=True)
    order = sorted(found, key=lambda name: float(found[name][0].quantile(0.5)))
    rows = [["method", "adapts", *(f"step : floor, rank {rank}" for rank in given.ranks)]]
    rows += [[name, ", ".join(getattr(graft.adapters, name).targets), *map(said, found[name])] for name in order]
    told = {name: getattr(given, name) for name in ("layers", "width", "side", "batch", "pairs")}
    options = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    only = [] if given.methods == METHODS else ["--methods", *given.methods]
    command = shlex.join(["python", "benchmarks/floor.py", *only, *options, "--ranks", *map(str, given.ranks)])
    text = f"{markdown(*rows)}\n\n```\n{command}\n```"
    print(f"\n{text}")
    if given.write:
        insert(DOCS, "floor", text)


if __name__ == "__main__":
    main()
