"""What a person looks at: the baseline, pictures, meters, predictions, the summary."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import SingleDeviceStrategy
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from graft.adapters import SerialLoRA
from graft.callbacks import Baseline, Meters, Pictures, SavePredictions, Summary
from graft.callbacks.class_pictures import SIDE, STRIP, tile
from graft.callbacks.colors import CLASSES
from graft.callbacks.pictures import GAP, HEIGHT, beside
from tests.modules.small import Data, item, sam, serial, trainer


def events(run):
    """Everything that a run wrote for TensorBoard."""
    written = EventAccumulator(run.log_dir)
    written.Reload()
    return written


def logged(folder, *callbacks, **options):
    """A trainer that logs for TensorBoard."""
    return trainer(folder, *callbacks, logger=TensorBoardLogger(folder, default_hp_metric=False), **options)


def pixels(file, mode=None):
    """An image file as an array."""
    with Image.open(file) as image:
        return np.asarray(image.convert(mode) if mode else image)


class Losses(Callback):
    """The loss of each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, *_):
        self.seen.append(outputs["loss"].item())


def test_the_baseline_is_the_score_of_the_untouched_model_at_step_zero(tmp_path):
    (untouched,) = trainer(tmp_path, serial()).validate(sam(), Data(), verbose=False)
    run = logged(tmp_path, serial(), Baseline(), max_epochs=2)
    run.fit(sam(), Data())
    for name, score in untouched.items():
        points = events(run).Scalars(name)
        assert [point.step for point in points] == [0, 1, 3], name  # the steps that a validation follows
        assert points[0].value == pytest.approx(score), name


def test_training_draws_the_same_numbers_with_and_without_a_baseline(tmp_path):
    seen = []
    for callbacks in ([], [Baseline()]):
        torch.manual_seed(3)
        losses, module = Losses(), sam()
        trainer(tmp_path, serial(adapter=SerialLoRA(rank=2, dropout=0.5)), losses, *callbacks).fit(
            module, Data(shuffle=True)
        )
        seen.append(losses.seen)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2


def test_a_resumed_run_has_its_baseline_already(tmp_path):
    run = trainer(tmp_path, serial(), max_epochs=1)
    run.fit(sam(), Data())
    run.save_checkpoint(tmp_path / "one.ckpt")
    resumed = logged(tmp_path, serial(), Baseline(), max_epochs=2)
    resumed.fit(sam(), Data(), ckpt_path=tmp_path / "one.ckpt", weights_only=True)
    assert [point.step for point in events(resumed).Scalars("val/dice")] == [3]


@pytest.mark.parametrize("num_classes", [1, 3])
def test_pictures_are_shown_at_each_validation(num_classes, tmp_path):
    run = logged(tmp_path, serial(), Baseline(), Pictures(count=3), max_epochs=2)
    run.fit(sam(num_classes=num_classes), Data(num_classes))
    files = sorted((tmp_path / "lightning_logs/version_0/pictures").iterdir())
    assert [file.name for file in files] == ["step-000000.png", "step-000002.png", "step-000004.png"]
    widest = max(4 * round(size[1] * HEIGHT / size[0]) for size in (item(i)["size"].tolist() for i in range(3)))
    for file in files:
        assert pixels(file).shape == (3 * HEIGHT + 2 * GAP, widest + 3 * GAP, 3)
    (tag,) = events(run).Tags()["images"]
    assert [picture.step for picture in events(run).Images(tag)] == [0, 2, 4]


def test_a_picture_shows_image_truth_prediction_and_disagreement(tmp_path):
    module = sam()
    module.masks = lambda logits, images: list(images["original_mask"])
    run = logged(tmp_path, serial(), Pictures(count=1))
    run.fit(module, Data())
    (file,) = (tmp_path / "lightning_logs/version_0/pictures").iterdir()
    shown = pixels(file).astype(int)
    width = (shown.shape[1] - 3 * GAP) // 4
    image, truth, prediction, wrong = (shown[:, i * (width + GAP) :][:, :width] for i in range(4))
    assert np.array_equal(truth, prediction)
    assert np.array_equal(image, wrong)  # right everywhere
    changed = (image != truth).any(2)
    rows, columns = np.nonzero(changed)
    height, columns_of_image = item(0)["size"].tolist()
    assert (rows.min(), rows.max() + 1) == pytest.approx((4 * HEIGHT / height, (height - 6) * HEIGHT / height), abs=1)
    scale = width / columns_of_image
    assert (columns.min(), columns.max() + 1) == pytest.approx((4 * scale, 14 * scale), abs=1)


def test_no_pictures_are_drawn_where_the_count_is_zero(tmp_path):
    run = logged(tmp_path, serial(), Baseline(), Pictures(count=0))
    run.fit(sam(), Data())
    assert not events(run).Tags()["images"]
    assert not (tmp_path / "lightning_logs/version_0/pictures").exists()


def test_meters_measure_speed_and_memory(tmp_path):
    run = logged(tmp_path, serial(), Meters(every=2), max_epochs=2)
    run.fit(sam(), Data())
    for name in ("speed/images_per_second", "memory/peak_gb"):
        points = events(run).Scalars(name)
        assert [point.step for point in points] == [1, 3]
        assert all(point.value > 0 for point in points)
    assert 0.1 < events(run).Scalars("memory/peak_gb")[0].value < 100


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("given", [True, False])
def test_predictions_are_written_at_the_original_size(num_classes, given, tmp_path, capsys):
    folder = tmp_path / "masks" if given else tmp_path / "predictions"
    run = trainer(tmp_path, serial(), SavePredictions(folder if given else None))
    predicted = run.predict(sam(num_classes=num_classes), Data(num_classes))
    masks = [mask for batch in predicted for mask in batch]
    assert len(list(folder.iterdir())) == 2 * len(masks) == 8
    for i, mask in enumerate(masks):
        original = item(i, num_classes)["original_image"].permute(1, 2, 0).numpy()
        file = folder / f"image-{i}_mask.png"
        assert np.array_equal(pixels(file), mask.numpy() * (255 if num_classes == 1 else 1))
        if num_classes > 1:
            colors = pixels(file, "RGB")
            for k in mask.unique().tolist():
                assert (colors[mask.numpy() == k] == (CLASSES[k - 1].numpy() if k else 0)).all()
        overlay = pixels(folder / f"image-{i}_overlay.png")
        assert overlay.shape == original.shape
        assert np.array_equal(overlay[mask.numpy() == 0], original[mask.numpy() == 0])
    assert str(folder) in capsys.readouterr().out


def test_the_summary_tells_the_scores_the_paths_and_what_to_run_next(tmp_path, capsys):
    checkpoints = ModelCheckpoint(monitor="val/dice", mode="max", filename="best", save_last=True)
    run = logged(tmp_path, serial(), Baseline(), checkpoints, Summary(), enable_checkpointing=True, max_epochs=2)
    run.fit(sam(), Data())
    said = " ".join(capsys.readouterr().out.split())
    points = [point.value for point in events(run).Scalars("val/dice")]
    assert f"val/dice before the first step {points[0]:.4f}" in said
    assert f"val/dice at the end {points[-1]:.4f}" in said
    assert f"best checkpoint {checkpoints.best_model_path}" in said
    assert f"pictures {run.log_dir}/pictures" in said
    assert f"--logdir {run.log_dir}" in said
    assert f"main.py test --config {run.log_dir}/config.yaml --ckpt_path {checkpoints.best_model_path}" in said
    assert events(run).Scalars("final/val/dice")[0].value == pytest.approx(points[-1])


def test_the_summary_of_a_resumed_run_still_knows_the_first_score(tmp_path, capsys):
    def run(epochs, path=None):
        checkpoints = ModelCheckpoint(
            tmp_path / "kept", monitor="val/dice", mode="max", filename="best", save_last=True
        )
        fit = trainer(
            tmp_path, serial(), Baseline(), checkpoints, Summary(), enable_checkpointing=True, max_epochs=epochs
        )
        fit.fit(sam(), Data(), ckpt_path=path, weights_only=True)
        return next(line for line in capsys.readouterr().out.splitlines() if "before the first step" in line)

    assert run(1) == run(2, tmp_path / "kept" / "last.ckpt")


@pytest.mark.parametrize("stage", ["fit", "predict"])
def test_every_process_asks_for_the_log_folder_as_often_as_the_first(stage, tmp_path, monkeypatch):
    calls = []
    broadcast = SingleDeviceStrategy.broadcast  # where Lightning's log_dir waits for all processes
    monkeypatch.setattr(SingleDeviceStrategy, "broadcast", lambda *args: calls.append(args) or broadcast(*args))
    asked = []
    for first in (True, False):
        calls.clear()
        monkeypatch.setattr(SingleDeviceStrategy, "is_global_zero", first)
        watching = Baseline(), Pictures(), Meters(), Summary(), SavePredictions()
        checkpoints = ModelCheckpoint(tmp_path / "kept", monitor="val/dice")
        run = logged(tmp_path, serial(), *watching, checkpoints, enable_checkpointing=True)
        getattr(run, stage)(sam(), Data())
        asked.append(len(calls))
    assert asked[0] == asked[1] > 0


def test_nothing_is_said_where_nothing_is_monitored(tmp_path, capsys):
    trainer(tmp_path, serial(), Summary(), ModelCheckpoint(tmp_path / "c"), enable_checkpointing=True).fit(
        sam(), Data()
    )
    assert "Next" not in capsys.readouterr().out


def test_a_classifiers_pictures_say_what_it_sees():
    image = torch.full((3, 32, 32), 90, dtype=torch.uint8)
    names = ["cat", "dog"]
    right, wrong = (tile(image, torch.tensor(p), 0, names) for p in ([0.9, 0.1], [0.2, 0.8]))
    assert right.shape == wrong.shape == (3, SIDE + STRIP, SIDE)
    assert (right[:, STRIP + 3 :] == 90).all()
    for picture, strongest in ((right, 1), (wrong, 0)):  # green, red
        ink = 255 - picture[:, :STRIP].float()
        assert ink.sum((1, 2)).argmin() == strongest
    assert [row.shape[2] for row in beside([right] * 6)] == [4 * SIDE + 3 * GAP, 2 * SIDE + GAP]
