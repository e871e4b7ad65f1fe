"""One backbone with many adapters against as many merged copies: their memory, and the time of a switch.

    python benchmarks/many_adapters.py [--adapters 20] [--copies 3] [--rank 8] [--backbone vit_b]

SAM with random weights and Serial LoRA in its image encoder; each adapter brings a mask decoder of its own. Each side
runs in a process of its own: `tensors` are the bytes of all storages that it holds, once each; `resident` is what the
process's memory has grown by, once the C library has given freed memory back (Linux). Merged copies are all alike, so
that a few are made and the rest is reckoned. The time of a switch, from one adapter to the next, is the median of 200
on one thread of the CPU; it is the processor's, which other processes disturb less.
"""

import argparse
import copy
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from grid import markdown
from torch import nn

from graft.adapters import SerialLoRA, inject, load, merge, save, use
from graft.adapters.many import shelf
from graft.backbones import build_sam


def write(folder: Path, backbone: str, rank: int, count: int) -> None:
    """Adapters with a decoder, of random values."""
    model = build_sam(backbone, checkpoint=None)
    inject(model, SerialLoRA(rank=rank), where=["image_encoder"])
    model.mask_decoder.requires_grad_(True)
    for number in range(count):
        torch.manual_seed(number)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(1e-3 * torch.randn_like(parameter))
        save(model, folder / f"{number}.safetensors")


def resident() -> int:
    """Bytes of this process that are in memory, once the C library has given back what it holds for later."""
    ctypes.CDLL(None).malloc_trim(0)
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return 1024 * int(line.split()[1])


def size(*models: nn.Module) -> int:
    """Bytes of all that models hold, and keep aside, once for each storage."""
    held = [tensor for model in models for tensor in [*model.parameters(), *model.buffers()]]
    for kept in (kept for model in models for kept in shelf(model).kept.values()):
        held += [tensor for home in kept.homes for tensor in [*home.adapter.parameters(), *home.adapter.buffers()]]
        held += [part.aside for part in kept.parts]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}.values())


def kept(folder: Path, backbone: str, count: int) -> dict[str, float]:
    """One backbone that keeps all adapters."""
    before = resident()
    model = build_sam(backbone, checkpoint=None)
    alone = size(model)
    for number in range(count):
        load(model, folder / f"{number}.safetensors", str(number))
    grown, times = resident() - before, []
    for turn in range(200):
        start = time.process_time()
        use(model, str(turn % count))
        times.append(time.process_time() - start)
    return {"tensors": size(model), "resident": grown, "alone": alone, "switch": median(times)}


def merged(folder: Path, backbone: str, count: int) -> dict[str, float]:
    """A few backbones, each with an adapter merged into it."""
    before, bare, models = resident(), build_sam(backbone, checkpoint=None), []
    for number in range(count):
        model = copy.deepcopy(bare)
        load(model, folder / f"{number}.safetensors")
        merge(model)
        models.append(model)
    del bare
    return {"tensors": size(*models), "resident": resident() - before}


SIDES = {"kept": kept, "merged": merged}


def main() -> None:
    """Measure both sides, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=20, help="how many adapters")
    parser.add_argument("--copies", type=int, default=3, help="merged copies that are made")
    parser.add_argument("--rank", type=int, default=8, help="of Serial LoRA")
    parser.add_argument("--backbone", default="vit_b", help="a name of build_sam")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.side:
        print(json.dumps(SIDES[given.side](given.folder, given.backbone, given.adapters)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), given.backbone, given.rank, given.adapters)
        file = (Path(folder) / "0.safetensors").stat().st_size
        for side, count in {"kept": given.adapters, "merged": given.copies}.items():
            options = ["--side", side, "--folder", folder, "--backbone", given.backbone, "--adapters", str(count)]
            run = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
            found[side] = json.loads(run.stdout)
    more = given.adapters / given.copies
    one, many = found["kept"], {name: value * more for name, value in found["merged"].items()}
    kinds = ("tensors", "resident")
    rows = [["", "tensors, MB", "resident, MB"]]
    rows.append([f"one backbone, {given.adapters} adapters", *(f"{one[kind] / 1e6:,.0f}" for kind in kinds)])
    rows.append([f"{given.adapters} merged copies", *(f"{many[kind] / 1e6:,.0f}" for kind in kinds)])
    rows.append(["ratio", *(f"{many[kind] / one[kind]:.1f}" for kind in kinds)])
    print(markdown(*rows))
    print(
        f"\n{given.backbone}: the backbone alone {one['alone'] / 1e6:,.0f} MB, an adapter file {file / 1e6:.1f} MB; "
        f"a switch takes {1e3 * one['switch']:.2f} ms; {given.copies} merged copies were made and scaled to "
        f"{given.adapters}."
    )


if __name__ == "__main__":
    main()
