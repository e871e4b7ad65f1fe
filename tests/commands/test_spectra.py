"""`main.py spectra`: the table and the picture of one run or several, from their checkpoints alone."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from graft.adapters import merge
from graft.cli import main
from graft.run import open_run
from tests.e2e import BASE, DATA, MODELS, TRAINER, graft, options, refused


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A run with Serial LoRA, one with LoRA, and one without an adapter."""
    found = {}
    for name in ("SerialLoRA", "LoRA", "null"):
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            args = [
                "--config",
                str(BASE),
                *MODELS["SamSegmentation"],
                "--data=PolypPhantoms",
                *DATA["PolypPhantoms"](folder),
            ]
            args += ["--data.batch_size=2", "--data.num_workers=0", "--pictures.count=0", "--trainer.logger=false"]
            args += [f"--adapt.adapter={name}", *options("trainer", TRAINER), f"--checkpoint.dirpath={folder}/kept"]
            graft("fit", *args)
        found[name] = folder / "kept" / "last.ckpt"
    return found


def rows(printed):
    """The numbers of each line of a table, by projection."""
    return re.findall(r"^.* ([qkvo]) +([\d.e+-]+) +([\d.]+) +([\d.]+) +([\d.]+) +(\d+)% *$", printed, re.MULTILINE)


def test_the_table_says_what_numpy_says(checkpoints, tmp_path, capsys):
    model = open_run(checkpoints["SerialLoRA"]).module.model
    attention = model.image_encoder.blocks[0].attn
    before = attention.qkv.weight.detach().double().clone().numpy()
    capsys.readouterr()
    main(["spectra", str(checkpoints["SerialLoRA"]), "--output", str(tmp_path / "picture.png")])
    printed = capsys.readouterr().out
    assert "SerialLoRA, r = 8" in printed
    assert str(tmp_path / "picture.png") in printed.replace("\n", "")
    found = rows(printed)
    assert len(found) == 3 * len(model.image_encoder.blocks)
    merge(model.double())
    after = attention.qkv.weight.detach().numpy()
    for (target, relative, *ranks, share), old, new in zip(
        found[:3], np.split(before, 3), np.split(after, 3), strict=True
    ):
        assert target in "qkv"
        assert float(relative) == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-2)
        for rank, matrix in zip(ranks, (old, new - old, new), strict=True):
            p = np.linalg.svd(matrix, compute_uv=False)
            p = p[p > 1e-12] / p.sum()
            assert float(rank) == pytest.approx(np.exp(-(p * np.log(p)).sum()), abs=0.06)
        values = np.linalg.svd(new - old, compute_uv=False)
        assert float(share) == pytest.approx(100 * values[0] ** 2 / (values**2).sum(), abs=0.6)
    with Image.open(tmp_path / "picture.png") as picture:
        assert min(picture.size) > 200


def test_runs_are_drawn_into_one_picture(checkpoints, tmp_path, capsys):
    both = [str(checkpoints["SerialLoRA"]), str(checkpoints["LoRA"])]
    main(["spectra", *both, "--output", str(tmp_path / "deeper" / "both.svg"), "--blocks", "[image_encoder.blocks.0]"])
    printed = capsys.readouterr().out
    assert [row[0] for row in rows(printed)] == [*"qkv", *"qkvo"]
    drawn = (tmp_path / "deeper" / "both.svg").read_text()
    assert "SerialLoRA, r = 8" in drawn
    assert "LoRA, r = 8" in drawn.replace("SerialLoRA, r = 8", "")
    assert "blocks.0.attn" in drawn
    assert "blocks.1.attn" not in drawn
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == ["both.svg"]


def test_runs_of_one_method_are_told_apart_by_their_paths(checkpoints, tmp_path, capsys):
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(checkpoints["LoRA"].read_bytes())
    main(["spectra", str(checkpoints["LoRA"]), str(copy), "--output", str(tmp_path / "both.svg")])
    capsys.readouterr()
    drawn = (tmp_path / "both.svg").read_text()
    shared = os.path.commonpath([copy.parent, checkpoints["LoRA"].parent])
    own = [os.path.relpath(path, shared) for path in (copy, checkpoints["LoRA"])]
    assert own[0].endswith("copy.ckpt")
    assert [f"LoRA, r = 8: {each}<" in drawn for each in own] == [True, True]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["SerialLoRA", "--output=x.pdf"], "--output is x.pdf; give a name that ends in .png or .svg."),
        (["null"], "holds no adapter, so no weight has changed in a way that has a spectrum."),
        (["SerialLoRA", "--blocks=[mask_decoder]"], "No adapter lies in mask_decoder; near are image_encoder.blocks."),
        (["LoRA"] * 5, "5 checkpoints are too many for one picture: give at most 4."),
        (["missing"], "missing.ckpt"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(given, said, checkpoints, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    known = {**checkpoints, "missing": tmp_path / "missing.ckpt"}
    assert said in refused(capsys, "spectra", *(known.get(word, word) for word in given))
    assert not list(tmp_path.iterdir())


def test_help_says_what_is_drawn(capsys):
    with pytest.raises(SystemExit):
        main(["spectra", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "arXiv 2503.17750" in printed
    assert "--blocks" in printed
