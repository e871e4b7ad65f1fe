"""The data module in a trainer: stages, workers, refusals."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer

from graft.data.segmentation.base import SegmentationData
from graft.data.segmentation.folder import FolderSegmentation
from tests.data.conftest import Maker

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec:FutureWarning",  # Lightning's own
    "ignore:.*does not have many workers",
    "ignore:You requested to overfit",
    "ignore:.*DataLoader will create",  # more workers than cores
)

NAMES = [f"image {number}" for number in range(20)]


class Model(LightningModule):
    """Trains nothing, and remembers what it was given."""

    def __init__(self, image_size: int = 32, num_classes: int = 1) -> None:
        super().__init__()
        self.image_size, self.num_classes = image_size, num_classes
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[dict[str, Any]] = []

    def training_step(self, batch: dict[str, Any]) -> torch.Tensor:
        self.seen.append(batch)
        return self.weight * 0

    def validation_step(self, batch: dict[str, Any]) -> None:
        self.seen.append(batch)

    test_step = validation_step

    def predict_step(self, batch: dict[str, Any]) -> list[str]:
        self.seen.append(batch)
        return list(batch["name"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**options: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", max_epochs=2, log_every_n_steps=1, num_sanity_val_steps=0, **quiet, **options)


def names_of(batches: list[dict[str, Any]]) -> list[str]:
    return [name for batch in batches for name in batch["name"]]


def seen_in_training(root: Path, workers: int, **options: Any) -> list[dict[str, Any]]:
    model = Model()
    data = FolderSegmentation(root, batch_size=3, num_workers=workers)
    trainer(limit_val_batches=0, **options).fit(model, data)
    return [batch for batch in model.seen if "original_mask" not in batch]


def test_workers_change_nothing_and_epochs_do(make_set: Maker) -> None:
    root = make_set(NAMES)
    alone, helped = seen_in_training(root, 0), seen_in_training(root, 2)
    assert [batch["path"] for batch in alone] == [batch["path"] for batch in helped]
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("image", "mask", "box", "point"))
    half = len(alone) // 2
    assert [batch["path"] for batch in alone[:half]] != [batch["path"] for batch in alone[half:]]
    assert len(names_of(alone[:half])) == len(set(names_of(alone[:half])))


def test_overfitting_one_batch(make_set: Maker) -> None:
    batches = seen_in_training(make_set(NAMES), 0, overfit_batches=1)
    assert len(batches) == 2
    assert torch.equal(batches[0]["image"], batches[1]["image"])


def test_evaluation_and_prediction(make_set: Maker) -> None:
    root = make_set(NAMES)
    (root / "test.txt").write_text("\n".join(NAMES[:5]))
    data = FolderSegmentation(root, batch_size=2, num_workers=0, predict_root=root / "images")
    model = Model()
    trainer().test(model, data, verbose=False)
    assert names_of(model.seen) == sorted(NAMES[:5])
    assert model.seen[0]["image"].shape == (2, 3, 32, 32)
    model.seen.clear()
    trainer().predict(model, data)
    assert names_of(model.seen) == sorted(NAMES)


def test_another_size_than_the_models_is_refused(make_set: Maker) -> None:
    data = FolderSegmentation(make_set(NAMES), num_workers=0, image_size=48)
    with pytest.raises(ValueError, match="image_size is 48, the model's 32: leave out the data's"):
        trainer().validate(Model(), data)


def test_prediction_needs_no_data_set(make_set: Maker, tmp_path: Path) -> None:
    class Nothing(SegmentationData):
        classes = ("polyp",)

        def fetch(self) -> None:
            raise AssertionError("fetched")

        find = fetch  # type: ignore[assignment]

    model = Model()
    images = make_set(["a"]) / "images"
    trainer().predict(model, Nothing(tmp_path / "none", num_workers=0, predict_root=images))
    assert model.seen[0]["image"].shape == (1, 3, 32, 32)


def test_stands_without_a_trainer_and_pickles(make_set: Maker) -> None:
    data = FolderSegmentation(make_set(NAMES), num_workers=0, image_size=16)
    data.setup("fit")
    loader = pickle.loads(pickle.dumps(data)).train_dataloader()
    assert next(iter(loader))["image"].shape == (4, 3, 16, 16)
    again = pickle.loads(pickle.dumps(loader.dataset))  # with its augmentation used
    assert torch.equal(again[1, 0]["image"], loader.dataset[1, 0]["image"])


def test_other_number_of_classes(make_set: Maker) -> None:
    with pytest.raises(
        ValueError, match=r"FolderSegmentation has 1 classes \(foreground\), but Model has num_classes 3"
    ):
        trainer().test(Model(num_classes=3), FolderSegmentation(make_set(NAMES), num_workers=0))
