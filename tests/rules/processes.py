"""Every rule on two processes, started together by torchrun from `test_laws.py`; each writes down where it ended."""

import sys
from pathlib import Path

import torch

from tests.rules.kinds import RULES, run


def main(folder: Path) -> None:
    ends = {}
    for kind in RULES:
        ends[kind.__name__] = run(folder, kind, devices=2, strategy="ddp")
    torch.save(ends, folder / f"{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
