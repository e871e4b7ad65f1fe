"""Our methods against PEFT's: the time of a training step, and the bytes that it keeps for the gradient.

    python benchmarks/against_peft.py [--pairs 15] [--layers 4] [--rank 8] [--batch 8] [--write]

The network is CLIP's image tower in the width of ViT-B/16 at 224 px, with random weights and separate projections, of
which q, k, v and o are adapted; a step is forward and backward, without the optimizer's part, on one thread of the CPU,
and its time is the processor's, which other processes disturb less. Ours and PEFT's run in turn, in the one order and
in the other; each pair gives a ratio, and the table has their median and quartiles. The bytes are those of all tensors
that autograd saves, once for each storage, the network's own left out.
"""

import argparse
import copy
import shlex
import sys
import time
from pathlib import Path

import peft
import torch
from grid import insert, markdown, split
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from graft.adapters import Bone, DoRA, LoRA, MiSS, RandLoRA, inject
from graft.adapters.base import Adapter

DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
TARGETS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}


def methods(rank: int) -> dict[str, tuple[Adapter, peft.PeftConfig]]:
    """Ours and PEFT's."""
    return {
        "LoRA": (LoRA(rank), peft.LoraConfig(r=rank, lora_alpha=rank)),
        "DoRA": (DoRA(rank), peft.LoraConfig(r=rank, lora_alpha=rank, use_dora=True)),
        "MiSS": (MiSS(rank), peft.MissConfig(r=rank)),
        "Bone": (Bone(rank), peft.MissConfig(r=rank, init_weights="bat")),
        "RandLoRA": (RandLoRA(rank), peft.RandLoraConfig(r=rank, randlora_alpha=rank)),
    }


def clip_tower(layers: int, width: int, side: int) -> nn.Module:
    """CLIP's image tower with random weights, in patches of 16 pixels."""
    shape = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 64}
    depth = {"num_hidden_layers": layers, "image_size": side, "patch_size": 16}
    return CLIPVisionModel(CLIPVisionConfig(**shape, **depth))


def loss(tower: nn.Module, images: Tensor) -> Tensor:
    """A number that depends on all that the tower computes."""
    features: Tensor = tower(pixel_values=images).last_hidden_state
    return features.square().mean()


def seconds(tower: nn.Module, images: Tensor) -> float:
    """Of one step."""
    start = time.process_time()
    loss(tower, images).backward()
    end = time.process_time()
    tower.zero_grad()
    return end - start


def saved(tower: nn.Module, images: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, beside the tower's parameters and buffers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*tower.parameters(), *tower.buffers(), images]}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = loss(tower, images)  # while it lives no address is used twice
    del held
    return sum(size for address, size in sizes.items() if address not in own)


def compare(ours: nn.Module, theirs: nn.Module, images: Tensor, pairs: int) -> list[str]:
    """A row of the table, but for the method's name."""
    ratios = []
    for number in range(pairs + 1):
        order = [ours, theirs] if number % 2 else [theirs, ours]
        times = {tower: seconds(tower, images) for tower in order}
        ratios.append(times[ours] / times[theirs])
    low, middle, high = torch.tensor(ratios[1:]).quantile(torch.tensor([0.25, 0.5, 0.75]))  # the first pair warms up
    megabytes = [f"{saved(tower, images) / 1e6:.0f}" for tower in (ours, theirs)]
    return [f"{middle:.2f} ({low:.2f} to {high:.2f})", *megabytes]


def main() -> None:
    """Measure each method, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15, help="how often both are measured")
    parser.add_argument("--layers", type=int, default=4, help="of the tower; ViT-B has 12")
    parser.add_argument("--width", type=int, default=768, help="of the tower, in multiples of 64")
    parser.add_argument("--side", type=int, default=224, help="of the images, in pixels")
    parser.add_argument("--rank", type=int, default=8, help="of all methods")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{DOCS.name}")
    given = parser.parse_args()
    if given.write:
        split(DOCS, "against-peft")  # before the measuring, not after it
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tower = clip_tower(given.layers, given.width, given.side).train()
    images = torch.randn(given.batch, 3, given.side, given.side)
    rows = [["method", "time, ours : PEFT's", "MB saved, ours", "MB saved, PEFT's"]]
    for name, (adapter, config) in methods(given.rank).items():
        ours, theirs = copy.deepcopy(tower), copy.deepcopy(tower)
        inject(ours, adapter, list(TARGETS))
        config.target_modules = set(TARGETS.values())
        theirs = peft.inject_adapter_in_model(config, theirs).train()
        rows.append([name, *compare(ours, theirs, images, given.pairs)])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    told = {name: value for name, value in vars(given).items() if name != "write"}
    options = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    command = shlex.join(["python", "benchmarks/against_peft.py", *options])
    text = f"{markdown(*rows)}\n\n```\n{command}\n```"
    print(text)
    if given.write:
        insert(DOCS, "against-peft", text)


if __name__ == "__main__":
    main()
