"""Adapter files that do not fit are refused by name."""

import copy

import pytest
import torch
from safetensors.torch import save_file

from graft.adapters import LoRA, SerialLoRA, inject, load, save
from tests.adapters.networks import build, segment_anything, shake


@pytest.fixture
def saved(tmp_path):
    network = build(segment_anything)
    fresh = copy.deepcopy(network.model)
    inject(network.model, SerialLoRA(rank=2))
    shake(network.model)
    save(network.model, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors", fresh


def test_a_file_holds_only_what_was_trained(saved):
    from safetensors import safe_open

    with safe_open(saved[0], "pt") as file:
        assert all(".adapter." in name for name in file.keys())  # noqa: SIM118
        assert "frozen_sha256" in file.metadata()


def test_other_weights_are_refused(saved):
    path, fresh = saved
    fresh.blocks[1].norm1.weight.data[0] += 1e-3
    with pytest.raises(ValueError, match="was trained on other weights"):
        load(fresh, path)


def test_an_adapted_model_is_refused(saved):
    path, fresh = saved
    inject(fresh, LoRA())
    with pytest.raises(ValueError, match=r"The model holds LoRA already: load .* into a fresh copy"):
        load(fresh, path)


@pytest.mark.parametrize("content", [b"", b"not a file", b"\x80\x04"])
def test_garbage_is_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as an adapter file"):
        load(build(segment_anything).model, tmp_path / "a.safetensors")


def test_other_safetensors_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="not an adapter file"):
        load(build(segment_anything).model, tmp_path / "x.safetensors")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        load(build(segment_anything).model, tmp_path / "none.safetensors")


def test_nothing_trained_is_nothing_to_save(tmp_path):
    model = build(segment_anything).model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to save"):
        save(model, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
