"""What two processes do together: started by torchrun from `test_distributed.py`, it writes down what was seen."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from graft.callbacks import Checkpoints
from graft.cli import main
from tests.callbacks.diary import Diary, run
from tests.callbacks.test_checkpoints import Disturb
from tests.callbacks.test_guard import fit

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


def stop(folder: Path) -> None:
    """A signal that one process hears stops both at the same step, and a loss that is no number on one, too."""
    first, disturb = int(os.environ["RANK"]) == 0, Disturb(signal.SIGTERM)
    checkpoints = Checkpoints(folder / "kept", save_last=True, save_on_train_epoch_end=False)
    begun, ended, whole = Diary(), Diary(), Diary()
    with pytest.raises(SystemExit) as left:
        run(folder, begun, callbacks=[checkpoints] if first else [checkpoints, disturb], **TWO)
    assert left.value.code == 143
    run(folder, ended, folder / "kept" / "last.ckpt", **TWO)
    run(folder, whole, **TWO)
    assert begun.entries + ended.entries == whole.entries
    said = "The loss is no number on another process at step 3" if first else "The loss is nan at step 3"
    with pytest.raises(FloatingPointError, match=said):
        fit(folder / "nan", "" if first else "nan", train_count=16, **TWO)
    (folder / f"stopped{torch.distributed.get_rank()}").touch()


def experiments(folder: Path) -> None:
    """Fit each of the experiments in a list; the scores at the end, the weights of each process, the checkpoint."""
    os.chdir(folder)
    rank = int(os.environ["RANK"])
    ends = {}
    for name, args in json.loads(Path("experiments.json").read_text()).items():
        run = main(["fit", *args, "--trainer.devices=2", "--trainer.strategy=ddp"])
        scores = {key: value.item() for key, value in run.trainer.callback_metrics.items() if key.startswith("val/")}
        ends[name] = {"scores": scores, "checkpoint": str(run.trainer.checkpoint_callback.last_model_path)}
        trained = {key: p.detach() for key, p in run.model.model.named_parameters() if p.requires_grad}
        torch.save(trained, f"{name}.{rank}.pt")
    Path(f"ends.{rank}.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    {"train": train, "resume": resume, "stop": stop, "experiments": experiments}[sys.argv[1]](Path(sys.argv[2]))
