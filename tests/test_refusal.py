"""A bug keeps its traceback: only what is meant for the user is shortened to a sentence."""

from pathlib import Path

import pytest

from graft.modules import SamSegmentation
from graft.refusal import refused
from tests.place import place, run


def test_a_bug_in_a_worker_process(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        at.patch.setattr("graft.data.segmentation.resized.fit_image", None)
        with pytest.raises(TypeError, match="Original Traceback"):
            run("fit", "--config=tiny.yaml", "--data.num_workers=1")


def test_a_mistake_in_a_module_that_lightning_refuses(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        at.patch.setattr(SamSegmentation, "training_step", lambda self, *_: self.log("loss", object()))
        with pytest.raises(ValueError, match="cannot be logged"):
            run("fit", "--config=tiny.yaml")


def test_a_file_that_a_library_misses(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "gone").read_text()
    assert refused(missing.value) is None


def test_no_error_and_one_that_was_never_raised() -> None:
    assert refused(None) is None
    assert refused(ValueError("a value")) is None
