"""Two processes on the CPU, and half precision."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.e2e import BASE, CONFIGS, COUNTS, graft, tiny

MAIN = CONFIGS.parent / "main.py"
SCORES = ("val/dice", "val/dice_set", "val/iou")


@pytest.fixture
def args(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    classes = {"model": {"class_path": "SamSegmentation", "init_args": {}}, "data": {"class_path": "PolypPhantoms"}}
    logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs", "--trainer.logger.name=run"]
    files = ["--config", str(BASE), "--config", str(CONFIGS / "embedded" / "sam_polyp.yaml")]
    return [*files, *tiny(classes, tmp_path), *logger, "--data.batch_size=1", "--pictures.count=0"]


def logged(log: Path) -> list[dict[str, str]]:
    """The rows that CSVLogger wrote."""
    with (log / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("prompt", ["none", "box"])
def test_two_processes_train_and_score_as_one(prompt: str, args: list[str]) -> None:
    assert COUNTS["val"] % 2 == 1  # one process has an image more, and none is counted twice
    args = [*args, f"--model.prompt={prompt}"]
    two = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    environment = {**os.environ, "PYTHONWARNINGS": "error::UserWarning:lightning"}
    run = subprocess.run(
        [sys.executable, str(MAIN), "fit", *args, *two], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
    log = Path("logs/run/version_0")
    before, after = (row for row in logged(log) if row["val/dice"])
    assert before["step"] == "0"
    assert before["val/dice_set"] != after["val/dice_set"]
    losses = [float(row["train/loss"]) for row in logged(log) if row["train/loss"]]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    one = graft("validate", *args, "--ckpt_path", log / "checkpoints" / "last.ckpt").trainer.callback_metrics
    assert {name: float(after[name]) for name in SCORES} == pytest.approx({name: one[name].item() for name in SCORES})


def test_half_precision_trains(args: list[str]) -> None:
    cli = graft("fit", *args, "--trainer.precision=bf16-mixed")
    rows = [row for row in logged(Path("logs/run/version_0")) if row["train/loss"]]
    assert len(rows) == 2
    assert all(
        math.isfinite(float(row[name])) for row in rows for name in row if name.startswith("train/") and row[name]
    )
    trained = [p for p in cli.model.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trained)
    ups = [p for name, p in cli.model.named_parameters() if name.endswith("adapter.up")]
    assert ups
    assert all(p.any() for p in ups)  # they started at zero
