"""A run that was stopped anywhere goes on as if it had not been: the same losses, scores and weights, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from graft.rules import LoRAPlus
from tests.callbacks.diary import Diary, run

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "workers": {"workers": 2},
    "box prompts, a smaller last batch": {"prompt": "box", "train_count": 7},
    "accumulation": {"accumulate_grad_batches": 2, "train_count": 10, "val_check_interval": 3},
    "bf16": {"precision": "bf16-mixed"},
    "LoRA+": {"rules": [LoRAPlus(ratio=4)]},
    "validations counted over epochs": {"val_check_interval": 3, "check_val_every_n_epoch": None},
    "validation every second epoch": {"check_val_every_n_epoch": 2},
    "validation twice an epoch": {"val_check_interval": 2},
    "steps, not epochs": {"max_steps": 7, "max_epochs": -1},
    "gradient checkpointing": {"gradient_checkpointing": True},
}


LESS_LIKELY = ("LoRA+", "validation every second epoch", "validation twice an epoch", "gradient checkpointing")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.all) if n in LESS_LIKELY else n for n in OPTIONS])
def test_every_moment_is_one_to_stop_at(name: str, tmp_path: Path) -> None:
    diary = Diary(tmp_path)
    weights = run(tmp_path, diary, **OPTIONS[name])
    losses = [entry[-1] for entry in diary.entries if entry[0] == "batch"]
    assert len({*losses}) == len(losses) >= 7
    moments = {path.stem.partition("-")[2] for path in diary.saved}
    assert moments >= {"before-batch", "after-batch", "in-validation", "after-validation", "after-epoch", "at-the-end"}
    for path, before in list(diary.saved.items())[:: 1 if name in ("plain", "accumulation") else 4]:
        resumed = Diary()
        again = run(tmp_path, resumed, path, **OPTIONS[name])
        assert resumed.entries == diary.entries[before:], path.stem
        assert all(torch.equal(again[parameter], weight) for parameter, weight in weights.items()), path.stem


def test_workers_change_nothing(tmp_path: Path) -> None:
    diaries = [Diary(), Diary()]
    weights = [run(tmp_path, diary, workers=workers) for diary, workers in zip(diaries, (0, 2), strict=True)]
    assert diaries[0].entries == diaries[1].entries
    assert all(torch.equal(weights[1][name], weight) for name, weight in weights[0].items())


def test_another_number_of_processes_is_warned_of(tmp_path: Path) -> None:
    diary = Diary(tmp_path)
    run(tmp_path, diary, max_steps=2, max_epochs=-1)
    checkpoint = torch.load(path := next(iter(diary.saved)))
    checkpoint["exact_resume"] *= 2
    torch.save(checkpoint, path)
    with pytest.warns(UserWarning, match="The checkpoint is of 2 processes, and 1 go on: not exactly"):
        run(tmp_path, Diary(), path, max_steps=2, max_epochs=-1)
