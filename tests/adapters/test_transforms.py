"""LoCA against SciPy's cosine transform, WaRA against wavelets in loops, SNELL against its kernel in loops."""

import math

import numpy as np
import pytest
import scipy.fft
import torch

from graft.adapters import SNELL, LoCA, WaRA
from tests.adapters.networks import noise, shake


def loca(alpha=1.0):
    """A LoCA whose locations lie all over its spectrum, some at its edges and two at the same place."""
    weight = noise(7, 11, dtype=torch.float64)
    adapter = LoCA(alpha=alpha, count=9).on(weight)
    shake(adapter)
    rows = [0.01, 0.99, 0.5, 0.5, 0.31, 0.8, 0.12, 0.998, 0.42]
    columns = [0.01, 0.98, 0.3, 0.3, 0.71, 0.2, 0.998, 0.4, 0.55]
    adapter.rows.data, adapter.columns.data = torch.tensor([rows, columns], dtype=torch.float64)
    return adapter, weight


def places(adapter, shape):
    rows = [round(min(max(u, 0), 0.999) * (shape[0] - 1)) for u in adapter.rows.tolist()]
    columns = [round(min(max(v, 0), 0.999) * (shape[1] - 1)) for v in adapter.columns.tolist()]
    return list(zip(rows, columns, strict=True))


def test_loca_is_scipys_inverse_cosine_transform():
    adapter, weight = loca(alpha=3.0)
    spectrum = np.zeros((7, 11))
    for place, amplitude in zip(places(adapter, (7, 11)), adapter.coefficients.tolist(), strict=True):
        spectrum[place] += amplitude
    expected = 3 * scipy.fft.idctn(spectrum, norm="ortho")
    assert np.abs((adapter.fold(weight) - weight).detach().numpy() - expected).max() < 1e-14


@pytest.mark.parametrize("size", [1.0, 1e3])  # the second is clamped
def test_loca_gradients_are_the_spectrums_and_its_central_differences(size):
    adapter, weight = loca()
    gradient = size * torch.randn(7, 11, dtype=torch.float64)
    adapter.fold(weight).backward(gradient)
    k = scipy.fft.dctn(gradient.numpy(), norm="ortho")
    clamped = 0
    for n, (i, j) in enumerate(places(adapter, (7, 11))):
        assert adapter.coefficients.grad[n].item() == pytest.approx(k[i, j], abs=1e-10)
        half = adapter.coefficients[n].item() / 2
        by_row = half * (k[min(i + 1, 6), j] - k[max(i - 1, 0), j])
        by_column = half * (k[i, min(j + 1, 10)] - k[i, max(j - 1, 0)])
        clamped += abs(by_row) > 1
        assert adapter.rows.grad[n].item() == pytest.approx(6 * max(-1, min(1, by_row)), abs=1e-5)
        assert adapter.columns.grad[n].item() == pytest.approx(10 * max(-1, min(1, by_column)), abs=1e-5)
    assert (clamped > 0) == (size > 1)


def test_loca_amplitudes_have_the_gradient_of_finite_differences():
    adapter, weight = loca()
    inputs = torch.eye(11, dtype=torch.float64)

    def output(coefficients):
        return torch.func.functional_call(adapter, {"coefficients": coefficients}, (inputs, weight, None))

    assert torch.autograd.gradcheck(output, adapter.coefficients)


def test_loca_locations_are_the_same_in_every_precision():
    torch.manual_seed(0)
    weight = torch.zeros(768, 96, dtype=torch.bfloat16)
    adapter = LoCA(count=200).on(weight)
    adapter.coefficients.data.fill_(1)
    exact = LoCA(count=200).on(weight.double())
    exact.load_state_dict(adapter.state_dict())
    rough, fine = adapter.fold(weight).double(), exact.fold(weight.double())
    assert (rough - fine).abs().max() < 0.02 * fine.abs().max()


def test_loca_adds_its_cosines_in_float32_under_autocast():
    torch.manual_seed(0)
    weight = torch.zeros(64, 96)
    adapter = LoCA(count=200).on(weight)
    adapter.coefficients.data.normal_()
    exact = adapter.fold(weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adapter.fold(weight), exact)


def test_loca_starts_spread_over_the_spectrum():
    adapter = LoCA(count=1000).on(torch.randn(8, 8))
    assert not adapter.coefficients.any()
    for part in (adapter.rows, adapter.columns):
        assert part.min() >= 0
        assert part.max() <= 1
        assert (part.mean() - 0.5).abs() < 0.05


def haar(x):
    """One level along the last axis: sums first, then differences."""
    sums, differences = np.zeros((*x.shape[:-1], x.shape[-1] // 2)), np.zeros((*x.shape[:-1], x.shape[-1] // 2))
    for i in range(x.shape[-1] // 2):
        sums[..., i] = (x[..., 2 * i] + x[..., 2 * i + 1]) / math.sqrt(2)
        differences[..., i] = (x[..., 2 * i] - x[..., 2 * i + 1]) / math.sqrt(2)
    return sums, differences


def unhaar(sums, differences):
    x = np.zeros((*sums.shape[:-1], 2 * sums.shape[-1]))
    for i in range(sums.shape[-1]):
        x[..., 2 * i] = (sums[..., i] + differences[..., i]) / math.sqrt(2)
        x[..., 2 * i + 1] = (sums[..., i] - differences[..., i]) / math.sqrt(2)
    return x


def over_tokens(transform, *x):
    """The same along the first axis."""
    y = transform(*(part.T for part in x))
    return tuple(part.T for part in y) if isinstance(y, tuple) else y.T


def wara():
    weight = torch.randn(12, 8, dtype=torch.float64)
    adapter = WaRA(rank=3, alpha=6).on(weight)
    shake(adapter)
    x = np.random.default_rng(0).normal(size=(10, 8))
    return adapter, weight, x, (adapter.up @ adapter.down).detach().numpy()


def test_wara_adapts_the_four_bands_of_the_activations_alike():
    adapter, weight, x, pair = wara()
    adapted = []
    for part in over_tokens(haar, x):  # low and high over the tokens
        sums, differences = haar(part)
        adapted.append(unhaar(sums @ pair.T, differences @ pair.T))
    expected = 2 * over_tokens(unhaar, *adapted)
    given = adapter(torch.from_numpy(x), weight, None) - torch.from_numpy(x) @ weight.T
    assert np.abs(given.detach().numpy() - expected).max() < 1e-12


def test_waras_update_has_twice_the_rank_and_is_one_pair_on_even_and_odd_features():
    adapter, weight, _, pair = wara()
    update = (adapter.fold(weight) - weight).detach()
    assert torch.linalg.matrix_rank(update) == 6
    assert (update - 2 * torch.kron(torch.from_numpy(pair), torch.eye(2))).abs().max() < 1e-12


@pytest.mark.parametrize("shape", [(7, 8), (8, 7)])
def test_wara_refuses_odd_widths(shape):
    with pytest.raises(
        ValueError, match=f"a {shape[0]} x {shape[1]} layer does not allow; choose layers of even width"
    ):
        WaRA(rank=2).on(torch.randn(shape))


def snell(rank=4, sparsity=0.7, shape=(9, 11)):
    weight = torch.randn(shape, dtype=torch.float64)
    adapter = SNELL(rank=rank, sparsity=sparsity).on(weight)
    start = kernel(adapter)
    shake(adapter)
    return adapter, weight, start


def kernel(adapter):
    """K in loops, from P (`down`) and Q (`up`)."""
    p, q = adapter.down.detach().numpy(), adapter.up.detach().numpy()
    k = np.zeros((q.shape[1], p.shape[1]))
    for i in range(k.shape[0]):
        for j in range(k.shape[1]):
            for head in range(2):
                k[i, j] += 0.1 * (-1) ** head * math.sqrt(((q[head, i] - p[head, j]) ** 2).sum())
    return k


def sparse(k, sparsity):
    return k * np.abs(k) * (np.abs(k) > np.quantile(np.abs(k), sparsity))


@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.7, 0.95])
def test_snell_is_its_sparse_kernel_less_the_first(sparsity):
    adapter, weight, start = snell(sparsity=sparsity)
    k = kernel(adapter)
    expected = sparse(k, sparsity) - sparse(start, sparsity)
    assert np.abs((adapter.fold(weight) - weight).detach().numpy() - expected).max() < 1e-12
    kept = (adapter.update() != 0).double().mean().item()
    assert kept == pytest.approx(1 - sparsity, abs=1 / 99)


def test_snells_gradient_takes_sizes_and_threshold_for_constants():
    adapter, weight, _ = snell()
    k = kernel(adapter)
    gradient = torch.randn(9, 11, dtype=torch.float64)
    adapter.fold(weight).backward(gradient)
    slope = gradient.numpy() * np.abs(k) * (np.abs(k) > np.quantile(np.abs(k), 0.7))  # dL/dK
    p, q = adapter.down.detach().numpy(), adapter.up.detach().numpy()
    for head in range(2):
        for j in range(11):
            away = p[head, j] - q[head]  # (9, r/2)
            unit = away / np.sqrt((away**2).sum(1, keepdims=True))
            expected = 0.1 * (-1) ** head * (slope[:, j, None] * unit).sum(0)
            assert np.abs(adapter.down.grad[head, j].numpy() - expected).max() < 1e-12


def test_snells_layers_of_a_shape_start_alike_and_part():
    prototype, weight = SNELL(rank=4), torch.randn(8, 8)
    first, second = prototype.on(weight), prototype.on(weight)
    assert torch.equal(first.down, second.down)
    assert first.down.data_ptr() != second.down.data_ptr()
    assert torch.equal(first.fold(weight), weight)  # to the last bit
    assert first.start().any()


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.5])
def test_snell_refuses_a_share_that_is_none(sparsity):
    with pytest.raises(ValueError, match=r"sparsity is .*; give a share above 0 and below 1"):
        SNELL(sparsity=sparsity)


def test_snell_refuses_an_odd_rank():
    with pytest.raises(ValueError, match="rank is 5; SNELL divides it over two heads"):
        SNELL(rank=5)
