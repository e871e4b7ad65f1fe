"""Singular values of frozen weights: against scipy's, the same on every machine, computed once."""

import numpy as np
import pytest
import scipy
import torch
from safetensors import SafetensorError

from graft.adapters import LoLDU, SVFit, inject
from graft.adapters.spec import spec
from graft.adapters.svd import svd
from tests.adapters.networks import build, segment_anything

LAPACK = torch.linalg.svd


def weight(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The shapes that were decomposed; the cache is an empty folder."""
    shapes = []

    def count(matrix, **options):
        shapes.append(tuple(matrix.shape))
        return LAPACK(matrix, **options)

    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.linalg, "svd", count)
    return shapes


def lapack(monkeypatch, change):
    """Another machine's LAPACK: its vectors are changed."""

    def changed(matrix, **options):
        left, values, right = LAPACK(matrix, **options)
        return change(left, values, right)

    monkeypatch.setattr(torch.linalg, "svd", changed)


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (20, 20), (1, 7)])
def test_parts_are_scipys(shape):
    w = weight(*shape)
    left, values, right = svd(w)
    theirs_left, theirs_values, theirs_right = scipy.linalg.svd(w.numpy(), full_matrices=False, lapack_driver="gesvd")
    signs = np.sign((left.numpy() * theirs_left).sum(0))
    np.testing.assert_allclose(values, theirs_values, atol=1e-12)
    np.testing.assert_allclose(left, theirs_left * signs, atol=1e-10)
    np.testing.assert_allclose(right, theirs_right * signs[:, None], atol=1e-10)
    assert (left.gather(0, left.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_parts_are_float64s_in_the_weights_dtype(dtype):
    w = weight(30, 20, dtype=dtype)
    for part, exact in zip(svd(w), svd(w.double()), strict=True):
        assert part.dtype == dtype
        assert (part.double() - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()


def test_signs_do_not_depend_on_lapack(monkeypatch):
    w = weight(24, 16)
    expected = svd(w)
    flips = weight(16, seed=1).sign()
    lapack(monkeypatch, lambda left, values, right: (left * flips, values, right * flips[:, None]))
    for part, same in zip(svd(w), expected, strict=True):
        assert torch.equal(part, same)


def test_rows_in_another_order_keep_their_signs():
    w, order = weight(24, 16), torch.randperm(24, generator=torch.Generator().manual_seed(3))
    left, values, right = svd(w)
    permuted = svd(w[order])
    for part, expected in zip(permuted, (left[order], values, right), strict=True):
        assert torch.allclose(part, expected, atol=1e-12)


def test_entries_of_one_size_do_not_let_rounding_choose_the_sign(monkeypatch):
    w = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)  # vectors (1, 1) and (1, -1)
    expected = svd(w)
    for seed in range(8):
        noise = 1e-15 * weight(2, 2, seed=seed)
        lapack(monkeypatch, lambda left, values, right, noise=noise: (left + noise, values, right))
        for part, same in zip(svd(w), expected, strict=True):
            assert torch.allclose(part, same, atol=1e-12)


def test_close_singular_values_are_told_apart_by_every_machine():
    left, _, right = svd(weight(64, 64))
    values = torch.cat([1 + 1e-5 * torch.arange(2.0, -1, -1), torch.linspace(0.5, 0.1, 61)])
    w = (left * values @ right).float()
    ours = svd(w)[0]
    theirs = torch.from_numpy(scipy.linalg.svd(w.double().numpy(), lapack_driver="gesvd")[0]).float()
    in_float32 = torch.from_numpy(scipy.linalg.svd(w.numpy(), lapack_driver="gesvd")[0])
    assert ((ours * theirs).sum(0).abs() - 1).abs().max() < 1e-5
    assert ((ours * in_float32).sum(0).abs()[:3] - 1).abs().max() > 1e-5  # what float32 would have made of it


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_weight_is_decomposed_once(calls, tmp_path, dtype):
    w = weight(512, 512, dtype=dtype)
    first, again = svd(w), svd(w.clone())
    assert calls == [(512, 512)]
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.stat().st_size < 1.01 * 4 * (2 * 512 * 512)  # float32
    for part, kept in zip(first, again, strict=True):
        assert torch.equal(part, kept)
    svd(w.T)
    assert len(calls) == 2  # other bytes, another file


def test_a_small_weight_leaves_no_file(calls, tmp_path):
    svd(weight(511, 512))
    svd(weight(8, 8))
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("damage", ["empty", "garbage", "half", "zeros at the end"])
def test_a_damaged_file_is_made_again(calls, tmp_path, damage):
    w = weight(512, 512, dtype=torch.float32)
    expected = svd(w)
    (file,) = tmp_path.rglob("*.safetensors")
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(
        {
            "empty": b"",
            "garbage": b"not a file",
            "half": content[:half],
            "zeros at the end": content[:half] + bytes(len(content) - half),
        }[damage]
    )
    for _ in range(2):
        for part, same in zip(svd(w), expected, strict=True):
            assert torch.equal(part, same)
    assert len(calls) == 2  # once at first and once for the damaged file, which is whole again
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_stops_nothing(calls, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "file"))
    w = weight(512, 512)
    left, values, right = svd(w)
    assert torch.allclose(left * values @ right, w)


def test_a_full_disk_stops_nothing_and_keeps_no_half_file(calls, tmp_path, monkeypatch):
    def fill(parts, path):
        path.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("graft.adapters.svd.save_file", fill)
    w = weight(512, 512)
    left, values, right = svd(w)
    assert torch.allclose(left * values @ right, w)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", [SVFit, LoLDU])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_without_values_is_named(kind, value):
    model = build(segment_anything).model
    model.blocks[1].attn.qkv.weight.data[40, 3] = value
    with pytest.raises(ValueError, match=r"^blocks\.1\.attn: the weight holds NaN or infinite values, so it cannot be"):
        inject(model, kind())
    assert not spec(model)


def test_counting_needs_no_values():
    left, values, right = svd(torch.empty(768, 512, device="meta"))
    assert [part.shape for part in (left, values, right)] == [(768, 512), (512,), (512, 512)]
    assert left.is_meta
