"""A classification data set for Lightning; each set is a small subclass that says where its images and classes are."""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from graft.cache import cache_dir
from graft.data.base import ImageData
from graft.data.batch import collate
from graft.data.classification.checks import check_files, check_splits
from graft.data.classification.crop import STANDARD_CROP, Crop
from graft.data.classification.dataset import ClassificationDataset, UnlabelledDataset
from graft.data.classification.division import Division, Labelled, choose_shots, halves, hold_out, read_division

__all__ = ["ClassificationData", "Division", "Labelled"]

USED = {"fit": ("train", "val"), "validate": ("val",), "test": ("test", "novel")}


class ClassificationData(ImageData):
    """Loaders of images and labels; their batches are described in `graft.data.classification.dataset.LabelledItem`.

    A subclass sets `folder`, `split_file` and perhaps `images` and `template`, and defines `official`; one that can get
    its files by itself defines `fetch` too.

    Args:
        root: Folder of the data set; null for its folder in the cache.
        shots: Training images of each class, chosen by the seed, and at most 4 of each to validate on; null for all.
        split: "coop" for the split file of CoOp's where it lies in `root`, else and for "official" the set's own split.
        classes: "all"; "base" to train on the first half of the classes and to test on both halves; "novel" for the
            other half alone.
        template: The sentence that a class name is put into, in place of {}; null for the set's own.
        augment: Random cut of the training images; null for their middles.
        kwargs: Options of all data modules.
    """

    collate = staticmethod(collate)
    names: list[str]  # of the classes in use, in the order of their labels
    novel_names: list[str]  # of the other half where this one is "base", else none
    folder: str  # in the cache, as CoOp names it
    split_file: str | None = None  # CoOp's, looked for in `root`
    images: str = "images"  # the folder below `root` that the paths of `split_file` are relative to
    template: str = "a photo of a {}."
    published: bool = True  # the splits are others' and stay as they are, even if an image is in two

    def __init__(
        self,
        root: Path | None = None,
        shots: int | None = None,
        split: Literal["coop", "official"] = "coop",
        classes: Literal["all", "base", "novel"] = "all",
        template: str | None = None,
        augment: Crop | None = STANDARD_CROP,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if shots is not None and shots < 1:
            raise ValueError(f"shots is {shots}, but must be at least 1, or null to train on all images.")
        for name, value, known in (
            ("split", split, ("coop", "official")),
            ("classes", classes, ("all", "base", "novel")),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(known)}.")
        self.names, self.novel_names = [], []  # known once a stage other than prediction is set up
        self.root = cache_dir() / self.folder if root is None else Path(root).expanduser()
        self.shots, self.split, self.half, self.augment = shots, split, classes, augment
        self.template = self.template if template is None else template
        if self.template.count("{}") != 1 or set("{}") & set(self.template.replace("{}", "")):
            raise ValueError(f"template is {self.template!r}, but must hold {{}} once, where the class name goes.")

    def fetch(self) -> None:
        """Put the files in place if they are missing; once a machine."""

    @abstractmethod
    def official(self) -> Division:
        """The set's own division. Where its "val" is empty, a tenth of "train" is held out by a hash of the path."""

    @property
    def num_classes(self) -> int:
        """Number of classes in use."""
        return len(self.names)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage != "predict":  # which needs no data set: a checkpoint knows the classes
            if not self.names:  # once a run, not once a stage
                self._divide()
            check_files([sample for split in USED[stage] for sample in self.samples.get(split, [])])

    def _divide(self) -> None:
        """Set `division`, of all classes and images, `samples`, those in use by split, and the classes' names."""
        used = self.division = self._published()
        if self.shots is not None:
            used = choose_shots(used, self.shots, self.seed, self.root)
        base, novel = halves(used)
        if self.half != "all" and len(novel.names) < 2:
            many = "one class has" if len(used.names) == 1 else f"{len(used.names)} classes have"
            raise ValueError(f"classes is {self.half}, but {many} no halves of two or more; leave the option out.")
        check_splits(used, self.published)
        used = {"all": used, "base": base, "novel": novel}[self.half]
        self.samples = dict(used.splits)
        self.names, self.novel_names = _words(used.names), []
        if self.half == "base":
            self.samples["novel"], self.novel_names = novel.splits["test"], _words(novel.names)
        self.classes = self.names
        many = f"{len(self.samples['train'])} training images" if self.shots is None else f"{self.shots} shots"
        of = "" if self.half == "all" else f"the {self.num_classes} {self.half} classes of "
        rank_zero_info(
            f"{type(self).__name__}: {self.division.origin}, {many} of {of}{len(self.division.names)} classes "
            f"(seed {self.seed})"
        )

    def _published(self) -> Division:
        path = self.root / self.split_file if self.split_file and self.split == "coop" else None
        if path and path.is_file():
            return read_division(path, self.root / self.images)
        division = hold_out(self.official(), self.root)
        note = f" (scores differ from those of CoOp's split: there is no {path})" if path else ""
        return replace(division, origin=f"{division.origin}{note}")

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self._dataset("train", self.augment), training=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(self._dataset("val"))

    def test_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        test = self.loader(self._dataset("test"))
        return [test, self.loader(self._dataset("novel"))] if self.half == "base" else test

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.loader(UnlabelledDataset(self.prediction_folder(), self.side))

    def _dataset(self, split: str, augment: Crop | None = None) -> Dataset[Any]:
        if not self.samples[split]:
            raise ValueError(f"The {split} split of {self.root} ({self.division.origin}) is empty; add images to it.")
        return ClassificationDataset(self.samples[split], self.side, augment, self.seed)


def _words(names: list[str]) -> list[str]:
    """Class names as a sentence has them: CoOp's files write apple_pie, and CoOp itself reads apple pie."""
    return [name.replace("_", " ") for name in names]
