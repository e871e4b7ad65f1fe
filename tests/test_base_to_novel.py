"""Classification from the command line: base to novel classes, and a linear head from fit to predict."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import hmean

from graft.modules import ClipClassification
from tests.e2e import CONFIGS, TRAINER, graft, options, prediction_folder
from tests.layouts import draw

TESTED = {"red": 5, "green": 4, "dark_blue": 9, "yellow": 3}
"""Test images of each class: no share of the 13 base ones is one of the 8 novel ones, but for none and all."""


@pytest.fixture
def args(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An experiment with four classes of images."""
    monkeypatch.chdir(tmp_path)
    for label, (name, count) in enumerate(TESTED.items()):
        for split, images in {"train": 4, "val": 2, "test": count}.items():
            for number in range(images):
                draw(tmp_path / "classes" / split / name / f"{name}{number}.jpg", label)
    data = {"root": tmp_path / "classes", "batch_size": 4, "num_workers": 0}
    small = ["--model.backbone=tiny", "--pictures.count=0", "--trainer.enable_progress_bar=false"]
    return ["--config", str(CONFIGS / "clip_folder.yaml"), *small, *options("data", data), *options("trainer", TRAINER)]


def last(cli: Any) -> str:
    return str(cli.trainer.checkpoint_callback.last_model_path)


def test_base_to_novel(args: list[str]) -> None:
    run = graft("fit", *args, "--data.classes=base")
    assert run.model.names == [["dark blue", "green"], ["red", "yellow"]]
    found = {}
    for classes in ("base", "novel"):
        tested = graft("test", *args, f"--data.classes={classes}", "--ckpt_path", last(run))
        found[classes] = {name: float(value) for name, value in tested.trainer.callback_metrics.items()}
    scores = ("loss", "accuracy", "top5", "mean_per_class", "ece")
    parts = [f"test_{part}/{score}" for part in ("base", "novel") for score in scores]
    assert {*found["base"]} == {*parts, "test/harmonic_mean"}
    both = [found["base"][f"test_{part}/accuracy"] for part in ("base", "novel")]
    assert found["base"]["test/harmonic_mean"] == pytest.approx(hmean(both))
    assert both[0] != both[1]
    for score in scores:  # of the novel classes among themselves, by labels that count from 0
        assert found["base"][f"test_novel/{score}"] == pytest.approx(found["novel"][f"test/{score}"], abs=1e-6)


@pytest.mark.parametrize(("base", "novel"), [(4, 0), (0, 4), (0, 0), (3, 1), (4, 4)])
def test_harmonic_mean(base: int, novel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `base` and `novel` right answers of four: 0 where either is 0, as it tends to there."""
    logged: dict[str, torch.Tensor] = {}
    module = ClipClassification("tiny")
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    module.tell_apart([["a", "b"], ["c", "d"]], "{}")
    for scores, right in zip(module.scores, (base, novel), strict=True):
        label = torch.tensor([0, 1, 0, 1])
        answers = torch.where(torch.arange(4) < right, label, 1 - label)
        scores.update(10 * torch.nn.functional.one_hot(answers, 2).float(), label)
    module.on_test_epoch_end()
    assert [logged[f"test_{part}/accuracy"] for part in ("base", "novel")] == [base / 4, novel / 4]
    assert float(logged["test/harmonic_mean"]) == pytest.approx(hmean([base / 4, novel / 4]))


def test_a_linear_head_from_fit_to_predict(args: list[str], tmp_path: Path) -> None:
    args += ["--model.head=linear", "--adapt.train=[head]", "--adapt.where=[vision_model]"]
    run = graft("fit", *args)
    tested = graft("test", *args, "--ckpt_path", last(run)).trainer.callback_metrics
    prediction_folder(tmp_path / "new")
    predicted = graft("predict", *args, "--ckpt_path", last(run), "--data.predict_root=new", "--predictions.folder=out")
    assert torch.equal(predicted.model.model.head.weight, run.model.model.head.weight)
    with Path("out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert {row["class"] for row in rows} <= {name.replace("_", " ") for name in TESTED}
    again = ClipClassification.load_from_checkpoint(last(run))
    assert again.names == run.model.names
    assert "test/accuracy" in tested
