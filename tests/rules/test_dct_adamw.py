"""DCT-AdamW: its transform against scipy's, its steps against AdamW and against the formula, and how it resumes."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.fft import dct as scipy_dct
from scipy.fft import idct as scipy_idct
from torch import nn

from graft.rules import DCTAdamW
from graft.rules.dct_adamw import dct
from tests.e2e import graft
from tests.modules.small import Data, Toy, lora, trainer
from tests.rules.test_rules import steady
from tests.test_cli import small

CPU = torch.device("cpu")


def parameters(dtype=torch.float64):
    """A tall, a wide and a square matrix, a convolution, a vector and a number."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(9, 5), (5, 9), (6, 6), (3, 2, 3, 3), (7,), ()]
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def train(optimizer, weights, steps, first=0):
    """Steps whose gradients depend on the step and the weights."""
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        for weight in weights:
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
            weight.grad = weight.detach() + noise
        optimizer.step()


@pytest.mark.parametrize("size", [1, 2, 5, 16, 33])
def test_the_transform_is_scipys(size):
    x = np.random.default_rng(0).normal(size=(4, size))
    mine = torch.from_numpy(x) @ dct(size, torch.float64, CPU)
    assert np.allclose(mine, scipy_dct(x, norm="ortho"), atol=1e-13)
    matrix = dct(size, torch.float64, CPU)
    assert torch.allclose(matrix.T @ matrix, torch.eye(size, dtype=torch.float64), atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_with_a_rank_that_holds_all_it_is_adamw(dtype):
    mine, theirs = parameters(dtype), parameters(dtype)
    options = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    train(DCTAdamW(mine, rank=6, **options), mine, 12)
    train(torch.optim.AdamW(theirs, **options), theirs, 12)
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-13 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("gap", [1, 3])
def test_the_steps_are_those_of_the_formula(gap):
    """Written anew with scipy, column by column: a wide matrix as its transpose."""
    weights = parameters()[:2]
    expected = [weights[0].detach().numpy().copy(), weights[1].detach().numpy().T.copy()]
    options = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    optimizer = DCTAdamW(weights, rank=2, gap=gap, **options)
    moments = [{} for _ in weights]  # by column: first and second
    changed = 0
    for step in range(1, 11):
        train(optimizer, weights, 1, first=step)
        for number, weight in enumerate(weights):
            gradient = weight.grad.numpy() if number == 0 else weight.grad.numpy().T
            spectrum = scipy_dct(gradient, norm="ortho", axis=1)
            held = moments[number]
            if (step - 1) % gap == 0:
                largest = set(np.argsort(-np.abs(spectrum).sum(0))[:2].tolist())
                changed += bool(held) and largest != set(held)
                zero = np.zeros(9)
                moments[number] = held = {k: held.get(k, (zero, zero)) for k in largest}
            change = np.zeros((9, 5))
            for k, (first, second) in list(held.items()):
                g = spectrum[:, k]
                held[k] = first, second = 0.8 * first + 0.2 * g, 0.95 * second + 0.05 * g**2
                change[:, k] = first / (1 - 0.8**step) / (np.sqrt(second / (1 - 0.95**step)) + 1e-6)
            expected[number] *= 1 - 0.02 * 0.1
            expected[number] -= 0.02 * scipy_idct(change, norm="ortho", axis=1)
            got = weight.detach().numpy()
            assert np.allclose(got if number == 0 else got.T, expected[number], atol=1e-12)
    assert changed > 2  # columns came and went


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_state_resumes_exactly(dtype, tmp_path):
    whole = parameters(dtype)
    optimizer = DCTAdamW(whole, lr=0.02, rank=2, gap=3)
    train(optimizer, whole, 4)
    resumed = copy.deepcopy(whole)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    again = DCTAdamW(resumed, lr=0.5, rank=1)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(optimizer, whole, 7, first=4)
    train(again, resumed, 7, first=4)
    assert all(map(torch.equal, whole, resumed))
    assert pickle.loads(pickle.dumps(optimizer)).state_dict().keys() == optimizer.state_dict().keys()


def test_its_state_is_as_small_as_the_rank():
    weight = nn.Parameter(torch.randn(20, 64))
    optimizer = DCTAdamW([weight], rank=3)
    train(optimizer, [weight], 2)
    numbers = sum(value.numel() for value in optimizer.state[weight].values() if isinstance(value, torch.Tensor))
    assert numbers == 2 * 3 * 64 + 20
    assert weight.isfinite().all()


def test_it_minimizes_and_takes_a_closure():
    weight = nn.Parameter(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))
    optimizer = DCTAdamW([weight, nn.Parameter(torch.ones(2))], lr=0.1, weight_decay=0.0, rank=2)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(150)]
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_resumes_exactly(precision, tmp_path):
    def fit(epochs, path=None):
        module = Toy(optimizer=lambda groups: DCTAdamW(groups, lr=1e-2, rank=1, gap=2), lr_scheduler=steady)
        run = trainer(tmp_path, lora(), max_epochs=epochs, precision=precision)
        torch.manual_seed(7)
        run.fit(module, Data(), ckpt_path=path, weights_only=True)
        return module, run

    _, run = fit(2)
    assert any("columns" in state for state in run.optimizers[0].state.values())
    run.save_checkpoint(tmp_path / "half.ckpt")
    whole, resumed = fit(4)[0].state_dict(), fit(4, tmp_path / "half.ckpt")[0].state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_command_line_finds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    args = [*small(tmp_path), "--model.optimizer=graft.rules.DCTAdamW", "--model.optimizer.rank=4"]
    cli = graft("fit", *args, "--model.optimizer.lr=1e-3", "--pictures.count=0")
    optimizer = cli.trainer.optimizers[0]
    assert isinstance(optimizer, DCTAdamW)
    assert {group["rank"] for group in optimizer.param_groups} == {4}
    assert any("columns" in state for state in optimizer.state.values())  # the mask decoder's matrices
    on = ["--trainer.max_steps=3", "--ckpt_path", Path(str(cli.trainer.log_dir)) / "checkpoints" / "last.ckpt"]
    assert graft("fit", *args, "--model.optimizer.lr=1e-3", "--pictures.count=0", *on).trainer.global_step == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 0}, "rank is 0; give a whole number of at least 1."),
        ({"gap": 0}, "gap is 0; give a whole number of at least 1."),
        ({"lr": -1.0}, "lr is -1.0; give a number of at least 0."),
        ({"eps": -1.0}, "eps is -1.0; give a number of at least 0."),
        ({"weight_decay": float("nan")}, "weight_decay is nan; give a number of at least 0."),
        ({"betas": (0.9, 1.0)}, "betas are (0.9, 1.0); give two numbers of at least 0 and below 1."),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match="DCTAdamW's") as refused:
        DCTAdamW(parameters(), **options)
    assert str(refused.value) == f"DCTAdamW's {said}"
