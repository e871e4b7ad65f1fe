"""The benchmark against PEFT, on a tower that takes no time: the form of what it prints."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch


def test_every_method_has_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--pairs=1", "--layers=1", "--width=64", "--side=64", "--batch=16"]
    monkeypatch.setattr(sys, "argv", ["against_peft.py", *tiny])
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    threads = torch.get_num_threads()
    try:
        import_module("against_peft").main()
    finally:
        torch.set_num_threads(threads)
    table, _, command = capsys.readouterr().out.partition("\n\n")
    assert "python benchmarks/against_peft.py --pairs 1 --layers 1 --width 64" in command
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    assert head == ["method", "time, ours : PEFT's", "MB saved, ours", "MB saved, PEFT's"]
    assert [row[0] for row in rows] == ["LoRA", "DoRA", "MiSS", "Bone", "RandLoRA"]
    for _, time, *megabytes in rows:
        middle, low, _, high = time.replace("(", "").replace(")", "").split()
        assert 0 < float(low) <= float(middle) <= float(high)
        assert all(float(each) > 0 for each in megabytes)
