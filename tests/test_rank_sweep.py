"""The sweep over ranks: what is run, kept, drawn and written, with runs that are made up; and one that is not."""

import json
import statistics
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = ("--ranks", "4", "8", "--seeds", "0", "1", "2")
PAGE = "# Results\n<!-- rank-sweep: begin -->\nold\n<!-- rank-sweep: end -->\n\nmore\n"


class Sweep:
    """The benchmark in a folder of its own, where a run takes no time."""

    def __init__(self, module: ModuleType, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.module, self.patch = module, patch
        self.ran: list[Any] = []
        self.out, self.page, self.picture = folder / "scores.json", folder / "results.md", folder / "images" / "r.png"
        for name, value in {"run": self.run, "RESULTS": self.page, "PICTURE": self.picture}.items():
            patch.setattr(module, name, value)

    def run(self, cell: Any, *_: object) -> dict[str, float]:
        self.ran.append(cell)
        return {"score": score(cell), "seconds": 1.0}

    def __call__(self, *arguments: str) -> list[Any]:
        """The cells that a command runs."""
        self.ran = []
        self.patch.setattr(sys, "argv", ["rank_sweep.py", "--out", str(self.out), *arguments])
        self.module.main()
        return self.ran


def score(cell: Any) -> float:
    """A number that no other cell has."""
    return 0.3 + 0.1 * ["LoRA", "SerialLoRA"].index(cell.method) + 0.01 * cell.rank + 0.002 * cell.seed**2


@pytest.fixture
def rank_sweep(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("rank_sweep")


@pytest.fixture
def sweep(rank_sweep: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return Sweep(rank_sweep, tmp_path, monkeypatch)


def test_only_what_is_missing_is_run(sweep: Sweep) -> None:
    ran = sweep(*SMALL)
    assert len(ran) == len(set(ran)) == 2 * 2 * 3
    assert [cell.seed for cell in ran] == [0] * 4 + [1] * 4 + [2] * 4  # stopped early, it has whole curves
    assert sweep(*SMALL) == []
    assert {cell.rank for cell in sweep(*SMALL, "--ranks", "8", "16")} == {16}
    assert sweep(*SMALL, "--ranks", "32", "--table") == []
    assert len(sweep(*SMALL, "--model.optimizer.lr", "0.1")) == 12


def test_the_table_holds_means_and_spreads(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(*SMALL)
    lines = capsys.readouterr().out.splitlines()
    assert "| method | r = 4 | r = 8 |" in lines
    for method in ("SerialLoRA", "LoRA"):
        row = next(line for line in lines if line.startswith(f"| {method} |"))
        for rank, entry in zip((4, 8), row.strip("| ").split(" | ")[1:], strict=True):
            scores = [100 * score(sweep.module.Cell("digits", method, rank, seed)) for seed in range(3)]
            assert entry == f"{statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f}"
    assert any(line.startswith("python benchmarks/rank_sweep.py --task digits") for line in lines)


def test_picture_and_table_are_written_into_the_page(sweep: Sweep) -> None:
    sweep.page.write_text(PAGE)
    sweep(*SMALL, "--write")
    written = sweep.page.read_text()
    assert written.startswith(
        "# Results\n<!-- rank-sweep: begin -->\n\n![top-1 accuracy against the rank](images/r.png)"
    )
    assert written.endswith("<!-- rank-sweep: end -->\n\nmore\n")
    assert "old" not in written
    with Image.open(sweep.picture) as picture:
        assert min(picture.size) > 300


def test_a_page_without_a_place_is_refused_before_anything_runs(sweep: Sweep) -> None:
    sweep.page.write_text("# Results\n")
    with pytest.raises(SystemExit, match="must hold the line <!-- rank-sweep: begin --> once"):
        sweep(*SMALL, "--write")
    assert sweep.ran == []


def test_kvasir_needs_its_folder(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sweep(*SMALL, "--task", "kvasir")
    assert "--task kvasir needs --root, the folder of Kvasir-SEG" in capsys.readouterr().err
    assert {cell.task for cell in sweep(*SMALL, "--task", "kvasir", "--root", "somewhere")} == {"kvasir"}


def test_lines_bands_and_names_are_those_of_the_scores(sweep: Sweep) -> None:
    scores = {"SerialLoRA": {4: [0.5, 0.7], 8: [0.6, 0.8]}, "LoRA": {4: [0.1, 0.3], 8: []}}
    (axes,) = sweep.module.draw(scores, "accuracy").axes
    means = [line.get_ydata() for line in axes.lines if line.get_marker() == "o"]
    assert [[round(value) for value in each] for each in means] == [[60, 70], [20]]
    for band, bounds in zip(axes.collections, ((50, 80), (10, 30)), strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx(bounds)
    assert {text.get_text() for text in axes.texts} == {"SerialLoRA", "LoRA"}
    assert axes.get_xscale() == "log"


def test_a_cell_that_is_run(
    rank_sweep: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(BENCHMARKS.parent)
    monkeypatch.setattr("grid.Path", lambda *parts: tmp_path.joinpath(*parts))  # where logs go
    out = tmp_path / "scores.json"
    few = ["--ranks", "4", "--seeds", "0", "--methods", "SerialLoRA", "--trainer.max_epochs=1"]
    few += ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
    monkeypatch.setattr(sys, "argv", ["rank_sweep.py", "--out", str(out), *few])
    rank_sweep.main()
    (found,) = json.loads(out.read_text()).values()
    assert 0 <= found["score"] <= 1
    assert found["seconds"] > 0
    assert f"{100 * found['score']:.1f}" in capsys.readouterr().out
