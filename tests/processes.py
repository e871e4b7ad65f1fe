"""What two processes do together: started by torchrun from `test_distributed.py`, it writes down what was seen."""

import json
import sys
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from tests.callbacks.diary import Diary, run

TWO = {"devices": 2, "strategy": "ddp"}
WINDOWS = {"accumulate_grad_batches": 2, "val_check_interval": 3, "train_count": 16}


def train(folder: Path) -> None:
    """Train on both processes; losses and scores of each, the weights, and the sizes of what was sent."""
    diary = Diary()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
        weights = run(folder, diary, dropout=0.0, **TWO)
    sent = [(event.name, event.input_shapes) for event in record.events() if event.name.startswith("gloo:")]
    rank = torch.distributed.get_rank()
    (folder / f"rank{rank}.json").write_text(json.dumps({"entries": diary.entries, "sent": sent}))
    torch.save(weights, folder / f"rank{rank}.pt")


def resume(folder: Path) -> None:
    """Stop at every third moment, amid an accumulation or a validation too, and go on, on both processes."""
    diary = Diary(folder / "moments")
    weights = run(folder, diary, **WINDOWS, **TWO)
    for path, before in list(diary.saved.items())[::3]:
        resumed = Diary()
        again = run(folder, resumed, path, **WINDOWS, **TWO)
        assert resumed.entries == diary.entries[before:], path.stem
        assert all(torch.equal(again[name], weight) for name, weight in weights.items()), path.stem
    (folder / f"resumed{torch.distributed.get_rank()}").touch()


if __name__ == "__main__":
    {"train": train, "resume": resume}[sys.argv[1]](Path(sys.argv[2]))
