"""Two processes on the CPU, and half precision."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.callbacks.diary import Diary, run
from tests.e2e import BASE, CONFIGS, COUNTS, graft, resolved, tiny
from tests.test_configs import ALIKE, EXPERIMENTS

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
    command = [sys.executable, str(MAIN), "fit", *args, *two]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    log = Path("logs/run/version_0")
    before, after = (row for row in logged(log) if row["val/dice"])
    assert before["step"] == "0"
    assert before["val/dice_set"] != after["val/dice_set"]
    losses = [float(row["train/loss"]) for row in logged(log) if row["train/loss"]]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    one = graft("validate", *args, "--ckpt_path", log / "checkpoints" / "last.ckpt").trainer.callback_metrics
    assert {name: float(after[name]) for name in SCORES} == pytest.approx({name: one[name].item() for name in SCORES})


def torchrun(what: str, folder: Path) -> None:
    """Run a part of `processes.py` on two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "tests.processes", what, str(folder)],
        cwd=CONFIGS.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_two_processes_are_one_with_the_same_global_batch(tmp_path: Path) -> None:
    """Losses, scores and weights; and what is sent are the gradients of what is trained, once a step."""
    torchrun("train", tmp_path)
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    two = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    diary = Diary()
    one = run(tmp_path, diary, dropout=0.0, batch_size=4)
    assert all(torch.equal(two[0][name], two[1][name]) for name in one)
    assert all(torch.allclose(two[0][name], weight, atol=2e-5) for name, weight in one.items())
    steps = 0
    for entry, *both in zip(diary.entries, ranks[0]["entries"], ranks[1]["entries"], strict=True):
        if entry[0] == "batch":
            steps += 1
            assert {*both[0][-2]} | {*both[1][-2]} == {*entry[-2]}  # the images of the batch, divided
            assert (both[0][-1] + both[1][-1]) / 2 == pytest.approx(entry[-1], rel=1e-4)
        else:
            assert both[0][-1] == both[1][-1] == pytest.approx(entry[-1], abs=1e-3)
    assert steps == 4
    trained = sum(weight.numel() for weight in one.values())
    sizes = [(name, sum(math.prod(shape) for shape in shapes)) for name, shapes in ranks[0]["sent"]]
    large = [(name, size) for name, size in sizes if size > 1000]  # the rest are flags, names and scores
    assert large == [("gloo:broadcast", trained)] + [("gloo:all_reduce", trained)] * steps


def test_two_processes_go_on_exactly(tmp_path: Path) -> None:
    torchrun("resume", tmp_path)
    assert (tmp_path / "resumed0").exists()
    assert (tmp_path / "resumed1").exists()


def test_two_processes_stop_together(tmp_path: Path) -> None:
    torchrun("stop", tmp_path)
    assert (tmp_path / "stopped0").exists()
    assert (tmp_path / "stopped1").exists()


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.all)])
def test_classifications_run_on_two_processes(
    every: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All in one pair of processes, which takes longer to start than to train; scored as by one process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    linear = ["--model.head=linear", "--adapt.train=[head]", "--adapt.where=[vision_model]"]
    wanted = {name: files for name, files in EXPERIMENTS.items() if "clip_" in name and (every or name not in ALIKE)}
    assert len(wanted) > (12 if every else 4)
    args: dict[str, list[str]] = {}
    for name, files in wanted.items():
        files = [arg for path in files for arg in ("--config", str(path))]
        small = tiny(resolved(capsys, "fit", *files), tmp_path / name)
        args[Path(name).stem] = [*files, *small, "--pictures.count=0"]
    args["linear"] = [*args["clip_folder"], *linear]
    (tmp_path / "experiments.json").write_text(json.dumps(args))
    torchrun("experiments", tmp_path)
    ends, others = (json.loads((tmp_path / f"ends.{rank}.json").read_text()) for rank in (0, 1))
    for name in args:
        first, second = (torch.load(f"{name}.{rank}.pt") for rank in (0, 1))
        assert all(torch.equal(first[key], second[key]) for key in {*first, *second}), name
        ups = [weight for key, weight in first.items() if key.endswith("adapter.up")]
        assert ups, name
        assert all(up.any() for up in ups), name  # they started at zero
        assert ("head.weight" in first) == (name == "linear")
        assert ends[name]["scores"] == others[name]["scores"], name
    for name in ("clip_digits", "clip_folder", "linear"):
        scores = ends[name]["scores"]
        one = graft("validate", *args[name], "--ckpt_path", ends[name]["checkpoint"]).trainer.callback_metrics
        assert scores == pytest.approx({key: one[key].item() for key in scores}, abs=1e-5), name


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
