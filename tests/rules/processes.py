"""Every rule on two processes, which `together` starts; each writes down where it ended."""

import multiprocessing
import os
import socket
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from traceback import print_exc
from typing import Any

import torch

from graft.adapters import LoRA, inject
from graft.adapters.places import places
from graft.rules.start import leading
from tests.modules.small import Toy
from tests.rules.kinds import RULES, run


def together(folder: Path) -> list[dict[str, Any]]:
    """What two processes found. They are forked from one that has imported all of this already, which takes longest."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [context.Process(target=main, args=(rank, port, folder)) for rank in (0, 1)]
    for process in started:
        process.start()
    for rank, process in enumerate(started):
        process.join()
        assert process.exitcode == 0, (folder / f"{rank}.txt").read_text()
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def main(rank: int, port: int, folder: Path) -> None:
    """One of the two, as torchrun would have started it."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    with (folder / f"{rank}.txt").open("w") as said, redirect_stdout(said), redirect_stderr(said):
        try:
            ends = {kind.__name__: run(folder, kind, devices=2, strategy="ddp") for kind in RULES}
            torch.save({"ends": ends, "shared out": alone()}, folder / f"{rank}.pt")
        except BaseException:
            print_exc()
            raise


def alone() -> list[tuple[torch.Tensor, ...]]:
    """Singular triples for the places of a model; of processes that train together each finds some of them."""
    model = Toy().model
    inject(model, LoRA(rank=2))
    sites = list(places(model))
    source = torch.Generator().manual_seed(0)
    return leading(sites, [torch.randn(site.weight.shape, generator=source) for site in sites])
