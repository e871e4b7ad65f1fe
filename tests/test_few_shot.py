"""The grid of few-shot runs: what is run, kept and written, with runs that are made up; and one that is not."""

import csv
import json
import os
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from graft.checkpoint_io import WholeFiles
from tests.e2e import resolved

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = ("--sets", "DTD", "EuroSAT", "--shots", "1", "4", "--seeds", "0", "1", "2")
PAGE = "# Results\n\ntext  \n<!-- few-shot: begin -->\nold\n<!-- few-shot: end -->\r\n\nmore, without a last line end"


class Grid:
    """The benchmark in a folder of its own, where a run takes no time."""

    def __init__(self, few_shot: ModuleType, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.few_shot, self.patch = few_shot, patch
        self.ran: list[Any] = []
        self.out, self.page = folder / "scores.json", folder / "results.md"
        patch.setattr(few_shot, "run", self.run)
        patch.setattr(few_shot, "RESULTS", self.page)

    def run(self, cell: Any, *_: object) -> dict[str, float]:
        self.ran.append(cell)
        return {"accuracy": accuracy(cell), "seconds": 1.0}

    def __call__(self, *arguments: str) -> list[Any]:
        """The cells that a command runs."""
        self.ran = []
        self.patch.setattr(sys, "argv", ["few_shot.py", "--out", str(self.out), *arguments])
        self.few_shot.main()
        return self.ran


def accuracy(cell: Any) -> float:
    """A number that no other cell has."""
    places = [
        ["DTD", "EuroSAT"].index(cell.set),
        ["zero-shot", "linear probe", "LoRA", "Serial LoRA"].index(cell.method),
    ]
    return 0.1 + 0.4 * places[0] + 0.1 * places[1] + 0.01 * cell.shots + 0.02 * cell.seed**2


@pytest.fixture
def few_shot(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("few_shot")


@pytest.fixture
def grid(few_shot: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    return Grid(few_shot, tmp_path, monkeypatch)


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """The entries of a table by set and method."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {(name, method): entries for name, method, *entries in cells}


def test_only_what_is_missing_is_run(grid: Grid) -> None:
    ran = grid(*SMALL, "--seeds", "0")
    assert len(ran) == len(set(ran)) == 2 * (1 + 3 * 2)  # zero-shot is one run a set
    assert grid(*SMALL, "--seeds", "0") == []
    assert {cell.seed for cell in grid(*SMALL)} == {1, 2}
    assert grid(*SMALL, "--table") == []


@pytest.mark.parametrize("other", [("--trainer.max_steps", "7"), ("--root", "elsewhere"), ("--data.batch_size=2",)])
def test_other_options_are_other_cells(grid: Grid, other: tuple[str, ...]) -> None:
    few = ("--sets", "DTD", "--shots", "1", "--seeds", "0")
    assert grid(*few)
    assert len(grid(*few, *other)) == 4


def test_another_configuration_or_method_is_another_cell(grid: Grid, tmp_path: Path) -> None:
    few = ("--sets", "DTD", "--shots", "1", "--seeds", "0", "--methods", "LoRA", "Serial LoRA")
    grid(*few)
    said = grid.few_shot.SETS["DTD"][0].read_text()
    copy = tmp_path / "clip_dtd.yaml"
    copy.write_text(f"# a remark\n{said}")
    grid.patch.setitem(grid.few_shot.SETS, "DTD", [copy])
    assert grid(*few) == []
    copy.write_text(said.replace("lr: 2.0e-4", "lr: 3.0e-4"))
    assert len(grid(*few)) == 2
    grid.patch.setitem(grid.few_shot.METHODS, "LoRA", ["--adapt.adapter", "LoRA", "--adapt.adapter.rank", "2"])
    assert [cell.method for cell in grid(*few)] == ["LoRA"]


def test_a_run_that_fails_or_is_stopped_costs_no_other(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(cell: Any, *_: object) -> dict[str, float]:
        if cell.method == "LoRA":
            raise RuntimeError("the run ended with exit code 1")
        if cell.seed == 1:
            raise KeyboardInterrupt
        return grid.run(cell)

    grid.patch.setattr(grid.few_shot, "run", fails)
    with pytest.raises(SystemExit, match="2 of 7 cells failed"):
        grid("--sets", "DTD", "--shots", "1", "4", "--seeds", "0")
    assert "DTD, LoRA, shots 4, seed 0: the run ended with exit code 1" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        grid("--sets", "DTD", "--shots", "1", "--seeds", "2", "1", "--methods", "Serial LoRA")
    assert stopped.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert len(json.loads(grid.out.read_text())) == 5 + 1
    assert not list(grid.out.parent.glob("scores.*.json"))  # beside which it was written


def test_a_file_of_scores_is_replaced_and_never_half_written(grid: Grid) -> None:
    grid("--sets", "DTD", "--shots", "1", "--seeds", "0")
    before = grid.out.read_bytes()
    grid.patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        grid("--sets", "DTD", "--shots", "1", "--seeds", "1")
    assert grid.out.read_bytes() == before


@pytest.mark.parametrize("content", ['{"DTD": {"accuracy"', "[1, 2]", '{"DTD": 0.5}', '{"DTD": {"accuracy": "x"}}'])
def test_a_damaged_file_of_scores_is_refused(grid: Grid, content: str) -> None:
    grid.out.write_text(content)
    with pytest.raises(SystemExit, match=r"scores\.json is no file of scores.*move it away"):
        grid(*SMALL)
    assert grid.ran == []
    assert grid.out.read_text() == content


def test_the_table_has_means_spreads_and_averages(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    cell = grid.few_shot.Cell
    grid(*SMALL)
    found = rows(capsys.readouterr().out)
    assert found["set", "method"] == ["1 shot", "4 shots"]
    for name in ("DTD", "EuroSAT"):
        assert found[name, "zero-shot"] == [f"{100 * accuracy(cell(name, 'zero-shot', 1, 0)):.1f}"] * 2
        for method in ("linear probe", "LoRA", "Serial LoRA"):
            for shots, said in zip((1, 4), found[name, method], strict=True):
                scores = [100 * accuracy(cell(name, method, shots, seed)) for seed in (0, 1, 2)]
                assert said == f"{statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f}"
    assert found["DTD", "LoRA"][0] == "34.3 ± 4.2"  # 31, 33 and 39: by hand
    assert found["average", "LoRA"] == ["54.3", "57.3"]


def test_the_table_says_what_is_missing(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    grid(*SMALL, "--seeds", "0", "2", "--methods", "LoRA")
    capsys.readouterr()
    grid(*SMALL, "--table")
    found = rows(capsys.readouterr().out)
    assert found["DTD", "LoRA"][0] == "35.0 ± 5.7 (n = 2)"
    assert found["DTD", "Serial LoRA"] == found["average", "LoRA"] == found["average", "zero-shot"] == ["-", "-"]


def test_the_table_is_written_between_its_marks(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    grid.page.write_bytes(PAGE.encode())
    grid(*SMALL, "--write", "--trainer.max_steps", "7")
    before, after = PAGE.encode().split(b"old\n")
    once = grid.page.read_bytes()
    assert once.startswith(before)
    assert once.endswith(after)
    written = once[len(before) : -len(after)].decode()
    assert written.strip() in capsys.readouterr().out
    assert len(rows(written)) == 2 + 8 + 4
    assert f"few_shot.py {' '.join(SMALL)} --methods zero-shot 'linear probe' LoRA 'Serial LoRA' --trainer" in written
    grid(*SMALL, "--write", "--table", "--trainer.max_steps", "7")
    assert grid.page.read_bytes() == once


@pytest.mark.parametrize(
    "page",
    [
        "# Results\n",
        PAGE.replace("begin", "start"),
        PAGE.replace("old", "<!-- few-shot: end -->"),
        PAGE.replace("old", "<!-- few-shot: begin -->"),
        "<!-- few-shot: end -->\n<!-- few-shot: begin -->\n",
    ],
)
def test_a_page_without_the_marks_is_refused_before_anything_runs(grid: Grid, page: str) -> None:
    grid.page.write_bytes(page.encode())
    with pytest.raises(SystemExit, match=r"must hold the line <!-- few-shot: begin --> once.*add them"):
        grid(*SMALL, "--write")
    assert grid.ran == []
    assert grid.page.read_bytes() == page.encode()


def test_every_set_has_its_configuration(few_shot: ModuleType) -> None:
    assert {path for files in few_shot.SETS.values() for path in files} >= {*few_shot.CONFIGS.glob("clip_*.yaml")}
    assert few_shot.SETS["FGVCAircraft"] == [few_shot.CONFIGS / "clip_fgvc_aircraft.yaml"]


def test_methods_differ_in_what_they_say_alone(few_shot: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def config(method: str) -> dict[str, Any]:
        cell = few_shot.Cell("DTD", method, 4, 1)
        extra = ["--adapt.adapter.rank", "2", "--trainer.max_steps", "7"]
        return resolved(capsys, "fit", "--config", few_shot.SETS["DTD"][0], *few_shot.options(cell, None, extra))

    lora, serial, probe, zero = (config(name) for name in ("LoRA", "Serial LoRA", "linear probe", "zero-shot"))
    assert lora["adapt"]["adapter"]["class_path"] == "graft.adapters.LoRA"
    assert lora["adapt"]["adapter"]["init_args"] == {"rank": 2, "alpha": None, "dropout": 0.25}
    serial["adapt"]["adapter"]["class_path"] = "graft.adapters.LoRA"
    assert serial == lora
    assert (lora["seed_everything"], lora["data"]["init_args"]["seed"], lora["data"]["init_args"]["shots"]) == (1, 1, 4)
    assert [each["trainer"]["max_steps"] for each in (lora, probe, zero)] == [7, 7, 0]
    assert (probe["adapt"]["adapter"], probe["adapt"]["train"]) == (None, ["head"])


@pytest.mark.all
def test_a_real_cell_trains_and_tests_the_last_weights(tmp_path: Path) -> None:
    typed = ["--sets", "Digits", "--shots", "1", "--seeds", "0", "--methods", "Serial LoRA", "--trainer.max_steps", "2"]
    command = [sys.executable, str(BENCHMARKS / "few_shot.py"), *typed, "--root", "data", "--out", "scores.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ((key, scores),) = json.loads((tmp_path / "scores.json").read_text()).items()
    assert key.startswith("Digits, Serial LoRA, shots 1, seed 0: ")
    assert rows(done.stdout)["Digits", "Serial LoRA"] == [f"{100 * scores['accuracy']:.1f}"]
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    (config,) = tmp_path.rglob("config.yaml")
    again = [sys.executable, str(BENCHMARKS.parent / "main.py"), "test", "--config", str(config)]
    logger = ["--trainer.logger.save_dir", "again"]
    subprocess.run([*again, "--ckpt_path", str(checkpoint), *logger], cwd=tmp_path, capture_output=True, check=True)
    (metrics,) = (tmp_path / "again").rglob("metrics.csv")
    with metrics.open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["test/accuracy"]) == scores["accuracy"]
    assert WholeFiles().load_checkpoint(checkpoint)["global_step"] == 2
