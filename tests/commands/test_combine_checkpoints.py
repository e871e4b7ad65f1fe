"""Checkpoints are combined as adapter files are, and the backbone is built where factors follow from it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from graft.adapters import load, save
from graft.adapters.places import places
from graft.backbones import build_sam
from graft.combine.parts import average, first
from graft.combine.sources import Trained
from graft.run import open_run
from tests.e2e import graft, refused
from tests.place import trained

DECODER = {name for name, _ in build_sam("tiny", 64).mask_decoder.named_parameters()}


def run(folder: Path, name: str, *typed: str) -> tuple[Path, nn.Module]:
    """The checkpoint of a small run on the tiny SAM, and the model that it holds."""
    path = folder / f"{name}.ckpt"
    path.write_bytes(trained(*typed))
    return path, open_run(path).module.model


def loaded(path: Path) -> nn.Module:
    model = build_sam("tiny", 64)
    load(model, path)
    return model


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    """By place, what the adapters add to the weights; and the decoder."""
    with torch.no_grad():
        found = {place.name: place.adapter.fold(place.weight) - place.weight for place in places(model)}
    assert any(update.any() for update in found.values())
    return found | dict(model.mask_decoder.named_parameters())


def near(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.allclose(found[name], expected[name], atol=1e-6), name


def test_two_checkpoints_or_a_checkpoint_and_a_file(tmp_path):
    (one, first), (two, second) = (run(tmp_path, f"{size}", f"--data.batch_size={size}") for size in (1, 2))
    graft("combine", one, two, "--output", tmp_path / "out.safetensors")
    parts = [values(first), values(second)]
    assert any(not torch.equal(parts[0][name], parts[1][name]) for name in parts[0] if name in DECODER)
    expected = {name: (parts[0][name] + parts[1][name]) / (2 if name in DECODER else 1) for name in parts[0]}
    near(values(loaded(tmp_path / "out.safetensors")), expected)
    save(second, tmp_path / "2.safetensors")
    graft("combine", one, tmp_path / "2.safetensors", "--output", tmp_path / "mixed.safetensors")
    near(values(loaded(tmp_path / "mixed.safetensors")), expected)


def test_factors_that_follow_from_the_backbone_need_a_checkpoint(tmp_path, capsys):
    path, model = run(tmp_path, "a", "--adapt.adapter=MiSS")
    graft("combine", path, path, "--weights=[1,2]", "--output", tmp_path / "out.safetensors")
    expected = {name: (1 if name in DECODER else 3) * value for name, value in values(model).items()}
    near(values(loaded(tmp_path / "out.safetensors")), expected)
    save(model, tmp_path / "a.safetensors")
    said = refused(capsys, "combine", tmp_path / "a.safetensors", "--output", tmp_path / "b.safetensors")
    assert "holds MiSS, whose frozen factors follow from the backbone" in said
    assert "give the checkpoint (.ckpt) of its run instead" in said


def test_a_checkpoint_without_an_adapter_is_refused(tmp_path, capsys):
    path, _ = run(tmp_path, "a", "--adapt.adapter=null")
    said = refused(capsys, "combine", path, "--output", tmp_path / "out.safetensors")
    assert "holds no adapter, only parts that were trained whole" in said


def head(name: str, classes: list[str]) -> Trained:
    return Trained(Path(name), [], {"head.weight": torch.full((len(classes), 2), 3.0)}, "tiny", "0", classes)


@pytest.mark.parametrize(
    ("others", "words"), [(["cat", "cow"], "tell different classes apart"), (["cat"], "no\\s+mean")]
)
def test_heads_for_other_classes_have_no_mean(others, words):
    sources = [head("a", ["cat", "dog"]), head("b", others)]
    with pytest.raises(ValueError, match=rf"{words}.*--trained_parts first"):
        average(sources, [1.0, 1.0])
    assert first(sources, [1.0, 1.0]) == sources[0].parts
    assert torch.equal(
        average([sources[0], head("c", ["cat", "dog"])], [1.0, 3.0])["head.weight"], torch.full((2, 2), 3.0)
    )
