"""Singular values, effective ranks and norms of what adapters change, against what merging really changes."""

import copy

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import SingleDeviceStrategy
from scipy.stats import entropy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from graft.adapters import LoRA, SerialLoRA, inject, merge
from graft.adapters.anatomy import describe
from graft.callbacks import Baseline, Confusion, Norms, PrecisionRecall, Spectra
from graft.callbacks.norms import norms
from graft.drawing import pixels
from graft.spectra import draw, effective_rank, spectra
from graft.spectra.draw import LINES
from tests.adapters.kinds import ADAPTERS, make
from tests.adapters.networks import NETWORKS, build, shake
from tests.callbacks.diary import Diary, run
from tests.modules.small import Data, sam, serial, trainer

in_turn = pytest.mark.parametrize(
    ("kind", "network"),
    [(kind, NETWORKS[number % len(NETWORKS)]) for number, kind in enumerate(ADAPTERS)],
    ids=[kind.__name__ for kind in ADAPTERS],
)


def projections(model):
    """The weight of every projection of a model, by block and target."""
    blocks = filter(None, (describe(name, module) for name, module in model.named_modules()))
    return {
        (block.name, target): projection.weight.detach().numpy()
        for block in blocks
        for target, projection in block.projections.items()
    }


def adapted(kind, network, **options):
    """A network with a trained adapter, its weights before and, merged, after."""
    model = build(network).model
    before = projections(model)
    inject(model, make(kind, rank=4, alpha=6, **options))
    shake(model)
    merged = copy.deepcopy(model)
    merge(merged)
    return model, before, projections(merged)


@in_turn
def test_spectra_are_those_of_the_merged_weights(kind, network):
    model, before, after = adapted(kind, network)
    found = {(s.block, s.target): s for s in spectra(model)}
    assert found.keys() == {key for key in before if not np.array_equal(before[key], after[key])}
    for key, s in found.items():
        for values, matrix in ((s.before, before[key]), (s.change, after[key] - before[key]), (s.after, after[key])):
            assert values.numpy() == pytest.approx(np.linalg.svd(matrix, compute_uv=False), rel=1e-8, abs=1e-9)
        change = after[key] - before[key]
        assert s.relative == pytest.approx(np.linalg.norm(change) / np.linalg.norm(before[key]))
        assert s.top_share == pytest.approx((np.linalg.norm(change, 2) / np.linalg.norm(change)) ** 2)


@in_turn
def test_norms_are_those_of_what_merging_changes(kind, network):
    model, before, after = adapted(kind, network)
    found = norms(model)
    assert found
    for block, norm in found.items():
        moved = [(after[key] - before[key]).ravel() for key in before if key[0] == block]
        assert norm == pytest.approx(np.linalg.norm(np.concatenate(moved)))
    assert found.keys() == {block for block, target in before if (before[block, target] != after[block, target]).any()}


def test_low_rank_is_seen_as_such():
    model, _, _ = adapted(LoRA, NETWORKS[0])
    for s in spectra(model):
        assert (s.change[:4] > 1e-3).all()
        assert (s.change[4:] < 1e-12).all()
        assert 1 < effective_rank(s.change) <= 4


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_effective_rank_is_the_exponential_of_the_entropy(count):
    values = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    assert effective_rank(values) == pytest.approx(np.exp(entropy(values.numpy())))
    assert effective_rank(1000 * values) == pytest.approx(effective_rank(values))
    assert effective_rank(torch.ones(count)) == pytest.approx(count)
    assert effective_rank(torch.eye(count)[0]) == pytest.approx(1)
    assert effective_rank(torch.zeros(count)) == 0


def test_blocks_are_chosen_by_their_names():
    model, _, _ = adapted(SerialLoRA, NETWORKS[0])
    assert {s.block for s in spectra(model, ["blocks.1"])} == {"blocks.1.attn"}
    assert len({s.block for s in spectra(model, ["blocks"])}) == 2
    for prefix in ("block", "neck"):
        with pytest.raises(ValueError, match=rf"No adapter lies in {prefix}; near are blocks\.\d\.attn"):
            list(spectra(model, [prefix]))


def test_the_picture_has_a_row_for_each_block_and_a_column_for_each_projection():
    two = {kind.__name__: list(spectra(adapted(kind, NETWORKS[3])[0])) for kind in (SerialLoRA, LoRA)}
    one = {"SerialLoRA": two["SerialLoRA"]}
    for runs, targets in ((one, "qkv"), (two, "qkvo")):
        figure = draw(runs)
        assert len(figure.axes) == 4 * len(targets)
        assert [axes.get_title() for axes in figure.axes[: len(targets)]] == list(targets)
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
        assert len(lines) == 3 * len(runs)  # W, dW, W + dW of each
    said = [text.get_text() for text in figure.axes[0].texts]
    for name, runs in two.items():
        first = next(s for s in runs if s.target == "q")
        assert f"\N{GREEK CAPITAL LETTER DELTA}W {effective_rank(first.change):.1f}" in said, name
    assert figure.axes[3].lines  # o, which only LoRA adapts
    with pytest.raises(ValueError, match="5 runs are too many for one picture: give at most 4"):
        draw(dict.fromkeys("abcde", two["LoRA"]))
    assert len(LINES) == 4


def test_what_has_not_changed_can_be_drawn():
    model = build(NETWORKS[0]).model
    inject(model, SerialLoRA(rank=2))
    found = list(spectra(model))
    assert all(s.relative == s.top_share == effective_rank(s.change) == 0 for s in found)
    assert pixels(draw({"": found})).std() > 0


def logger_of(kind, folder):
    return kind(folder, "logs", version=0)


def test_norms_are_logged_at_each_validation_of_a_fit(tmp_path):
    module, logger = sam(), logger_of(TensorBoardLogger, tmp_path)
    before = projections(copy.deepcopy(module.model))
    fit = trainer(tmp_path, serial(), Baseline(), Norms(), Spectra(), logger=logger, max_epochs=2)
    fit.fit(module, Data())
    written = EventAccumulator(logger.log_dir).Reload()
    tags = [tag for tag in written.Tags()["scalars"] if tag.startswith("adapters/")]
    assert {tag.removeprefix("adapters/") for tag in tags} == {*norms(module.model)}
    merge(module.model)
    after = projections(module.model)
    for tag in tags:
        points = written.Scalars(tag)
        assert [point.step for point in points] == [0, 2, 4]
        assert points[0].value == 0  # a fresh adapter is the identity
        block = tag.removeprefix("adapters/")
        moved = [(after[key] - before[key]).ravel() for key in before if key[0] == block]
        assert points[-1].value == pytest.approx(np.linalg.norm(np.concatenate(moved)), rel=1e-4)
    (picture,) = written.Images("adapters/spectra")
    assert picture.step == 4


@pytest.mark.parametrize(
    ("logger", "adapt", "options"),
    [
        (None, serial(), {}),
        (CSVLogger, serial(), {"precision": "bf16-mixed"}),
        (TensorBoardLogger, serial(), {"fast_dev_run": True}),
        (TensorBoardLogger, serial(adapter=None), {}),
    ],
    ids=["no logger", "CSV", "fast_dev_run", "no adapter"],
)
def test_any_logger_or_none_will_do(logger, adapt, options, tmp_path):
    log = logger_of(logger, tmp_path) if logger else False
    callbacks = Norms(), Spectra(), PrecisionRecall(), Confusion()
    trainer(tmp_path, adapt, *callbacks, logger=log, max_epochs=1, **options).fit(sam(), Data())


def test_a_process_that_is_not_the_first_draws_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(SingleDeviceStrategy, "is_global_zero", False)
    monkeypatch.setattr("graft.callbacks.spectra.spectra", None)
    monkeypatch.setattr("graft.callbacks.norms.norms", None)
    logger = logger_of(TensorBoardLogger, tmp_path)
    trainer(tmp_path, serial(), Norms(), Spectra(), logger=logger, max_epochs=1).fit(sam(), Data())


def test_watching_changes_nothing(tmp_path):
    alone, watched = Diary(), Diary()
    logger, watching = logger_of(TensorBoardLogger, tmp_path), (PrecisionRecall(), Norms(), Spectra())
    weights = run(tmp_path, alone)
    again = run(tmp_path, watched, callbacks=watching, logger=logger)
    assert alone.entries == watched.entries
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())
