"""Precision-recall curves and confusion matrices, against scikit-learn's."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import SingleDeviceStrategy
from sklearn.metrics import confusion_matrix, precision_recall_curve
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.data import DataLoader

from graft.adapters import SerialLoRA
from graft.callbacks import Adapt, Confusion, PrecisionRecall
from graft.callbacks.confusion import MOST, colored, draw, most_confused
from graft.callbacks.precision_recall import THRESHOLDS, count
from graft.drawing import pixels
from graft.modules import ClipClassification
from tests.modules.small import Data, sam, serial, trainer

NAMES = ["cat", "dog", "a bird", "fish"]
GRID = torch.linspace(0, 1, THRESHOLDS).numpy()


class Seen(Callback):
    """What a validation gave: probabilities (K, N) and truth (N,)."""

    def __init__(self):
        self.probabilities, self.truth = [], []

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, *_):
        if "maps" in outputs:
            self.probabilities += [each.flatten(1) for each in outputs["maps"]()]
            self.truth += [each.flatten() for each in batch["original_mask"]]
        else:
            self.probabilities.append(outputs["probabilities"].T)
            self.truth.append(batch["label"])

    def all(self):
        return torch.cat(self.probabilities, dim=1).numpy(), torch.cat(self.truth).numpy()


class Classes(LightningDataModule):
    """Images of noise with the first three of four labels."""

    names, novel_names, template = NAMES, None, "a photo of a {}."

    def val_dataloader(self):
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(256, (30, 3, 32, 32), dtype=torch.uint8, generator=draw)
        items = [{"image": image, "label": index % 3} for index, image in enumerate(images)]
        return DataLoader(items, batch_size=7)


def spread_out(module):
    """Logits that reach from one end to the other, and not by chance: of an untrained model they are all alike."""
    forward = type(module).forward

    def pattern(*args):
        logits = forward(module, *args)
        noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(logits.shape[0]))
        return 2 * noise + logits

    module.forward = pattern
    return module


def validated(folder, module, adapt, data, *callbacks):
    """A validation: its scores, what it saw, and the curves it wrote, each (6, THRESHOLDS)."""
    logger, seen = TensorBoardLogger(folder, "logs", version=0), Seen()
    run = trainer(folder, adapt, seen, *callbacks, logger=logger)
    (scores,) = run.validate(spread_out(module), data, verbose=False)
    written = EventAccumulator(logger.log_dir).Reload()
    curves = {tag: make_ndarray(written.Tensors(tag)[0].tensor_proto) for tag in written.Tags()["tensors"]}
    return scores, seen, curves, written


def classifier():
    return ClipClassification("tiny"), Adapt(SerialLoRA(rank=2)), Classes()


def reference(truth, probabilities):
    """Scikit-learn's precision and recall at our thresholds."""
    precision, recall, thresholds = precision_recall_curve(truth, probabilities)
    at = np.searchsorted(thresholds, GRID)
    return precision[at], recall[at]


@pytest.mark.parametrize("num_classes", [1, 3])
def test_curves_of_masks_are_over_all_pixels(num_classes, tmp_path):
    module, data = sam(num_classes=num_classes), Data(num_classes)
    scores, seen, curves, _ = validated(tmp_path, module, serial(), data, PrecisionRecall())
    probabilities, truth = seen.all()
    tags = ["val/precision_recall", *(f"val/precision_recall/{name}" for name in data.classes)]
    assert [*curves] == (tags[:1] if num_classes == 1 else tags[1:])
    for k, (tp, fp, tn, fn, precision, recall) in enumerate(curves.values()):
        assert np.array_equal(tp + fn, np.full(THRESHOLDS, (truth == k + 1).sum()))
        assert np.array_equal(tp + fp + tn + fn, np.full(THRESHOLDS, truth.size))
        expected = reference(truth == k + 1, probabilities[k])
        assert np.allclose([precision, recall], expected)
        assert len({*recall.tolist()}) > 90  # it is a curve
    if num_classes == 1:
        half = THRESHOLDS // 2
        assert 2 * tp[half] / (2 * tp + fp + fn)[half] == pytest.approx(scores["val/dice_set"], abs=1e-6)


def test_curves_of_classes_are_the_mean_over_those_that_the_images_hold(tmp_path):
    _, seen, curves, _ = validated(tmp_path, *classifier(), PrecisionRecall())
    probabilities, truth = seen.all()
    assert {*truth} == {0, 1, 2}  # there is no fish
    expected = np.mean([reference(truth == k, probabilities[k]) for k in range(3)], axis=0)
    ((tag, curve),) = curves.items()
    assert tag == "val/precision_recall"
    assert np.allclose(curve[4:], expected)
    for row, counted in zip(curve[:4], np.stack([(truth == k) for k in range(3)])[None], strict=False):
        assert row[0] == counted.sum()  # at threshold 0 all is found


def test_the_confusion_matrix_is_that_of_scikit_learn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("graft.callbacks.confusion.draw", lambda *args: drawn.append(args) or draw(*args))
    _, seen, _, written = validated(tmp_path, *classifier(), Confusion())
    probabilities, truth = seen.all()
    ((counts, names),) = drawn
    assert np.array_equal(counts, confusion_matrix(truth, probabilities.argmax(0), labels=range(4)))
    assert names == NAMES
    (picture,) = written.Images("val/confusion")
    assert picture.height > 100


def test_processes_add_up_what_they_counted(tmp_path, monkeypatch):
    """All take part in the sum, the first alone draws."""
    drawn, reduced = [], []

    def reduce(self, tensor, *args, reduce_op, **kwargs):
        assert reduce_op == "sum"
        reduced.append(tensor)
        return 2 * tensor

    monkeypatch.setattr("graft.callbacks.confusion.draw", lambda *args: drawn.append(args) or draw(*args))
    monkeypatch.setattr(SingleDeviceStrategy, "reduce", reduce)
    for first in (True, False):
        monkeypatch.setattr(SingleDeviceStrategy, "is_global_zero", first)
        _, seen, curves, _ = validated(tmp_path / str(first), *classifier(), PrecisionRecall(), Confusion())
        assert curves["val/precision_recall"][0][0] == 2 * len(seen.all()[1])
        assert len(drawn) == 1
    shapes = [tensor.shape for tensor in reduced if tensor.ndim > 1]  # the rest is Lightning's
    assert shapes == [(2, 4, THRESHOLDS + 1), (4, 4)] * 2
    assert drawn[0][0].sum() == 60


def test_counts_of_parts_add_up():
    draw = torch.Generator().manual_seed(0)
    probabilities, truth = torch.rand(3, 500, generator=draw), torch.rand(3, 500, generator=draw) > 0.7
    probabilities[:, :10] = torch.tensor([0, 0.5, 1, 0.01, 0.99]).repeat(2)
    whole = count(probabilities, truth)
    parts = [count(probabilities[:, part], truth[:, part]) for part in (slice(0, 120), slice(120, None))]
    assert torch.equal(whole, sum(parts))
    assert torch.equal(whole.sum(-1), torch.stack([(~truth).sum(1), truth.sum(1)]))
    assert not whole[..., 0].any()  # none is below 0


def test_of_many_classes_the_most_confused_are_shown():
    draw_ = torch.Generator().manual_seed(0)
    counts = torch.randint(5, (MOST + 15,) * 2, generator=draw_) + torch.diag(torch.full((MOST + 15,), 50))
    shown = most_confused(counts)
    errors = counts.sum(0) + counts.sum(1) - 2 * counts.diag()
    rest = sorted({*range(len(counts))} - {*shown})
    assert len(shown) == MOST
    assert shown == sorted(shown)
    assert errors[shown].min() >= errors[rest].max()
    (axes,) = draw(counts, [f"class {k} of a name that is too long" for k in range(len(counts))]).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label.split(" of ")[0] for label in labels] == [f"class {k}" for k in shown]
    assert all(len(label) <= 24 for label in labels)
    assert axes.get_title("left") == f"the {MOST} most confused of {MOST + 15} classes"
    assert most_confused(counts[:9, :9]) == [*range(9)]


def test_what_is_right_and_what_is_wrong_have_their_colours():
    share = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5], [1, 0, 0]])
    red, blue = (colored(share)[..., channel].astype(int) for channel in (0, 2))
    assert blue[0, 0] > red[0, 0]
    assert blue[1, 1] > red[1, 1]
    assert red[2, 0] > blue[2, 0]
    assert red[1, 2] > blue[1, 2]
    assert red[0, 1] == red[2, 2]  # nothing is neither
    assert blue[0, 0] - red[0, 0] > blue[1, 1] - red[1, 1] > 0


def test_cells_hold_their_numbers_where_there_is_room():
    counts = torch.tensor([[7, 1], [0, 12]])
    figure = draw(counts, ["cat", "dog"])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "12", "7"]
    assert pixels(figure).shape[2] == 3
