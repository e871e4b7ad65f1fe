"""A run whose encoder begins with what does not change computes that once for each image, and learns the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from segment_anything.modeling.image_encoder import PatchEmbed

from graft.adapters import SerialLoRA
from graft.callbacks import Baseline, CachePrefix, ExactResume, Pictures
from graft.data import PolypPhantoms
from graft.data.segmentation import resized
from tests.callbacks.diary import Diary
from tests.e2e import CONFIGS, graft, options, refused
from tests.modules.small import SIDE, Data, Toy, lora, sam, serial, trainer

LAST = {"where": ["image_encoder.blocks.1"]}
DECODER = {"adapter": None, "where": None}
COUNTS = {"train_count": 6, "val_count": 3, "test_count": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the encoder's first layer is given, each time."""
    counts: list[int] = []
    forward = PatchEmbed.forward

    def note(self: PatchEmbed, x: torch.Tensor) -> torch.Tensor:
        counts.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(PatchEmbed, "forward", note)
    return counts


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that are read, in their order."""
    files: list[Path] = []
    image = resized.read_image
    monkeypatch.setattr(resized, "read_image", lambda path: files.append(path) or image(path))
    return files


def fit(
    folder: Path,
    *callbacks: Callback,
    adapt: Any = LAST,
    prompt: str = "none",
    workers: int = 0,
    ckpt_path: Path | None = None,
    side: int = SIDE,
    augment: Any = None,
    **settings: Any,
) -> dict[str, torch.Tensor]:
    """Train for some epochs of three steps; what was trained."""
    seed_everything(0 if ckpt_path is None else 1, verbose=False)
    data = PolypPhantoms(folder / "data", height=40, width=56, batch_size=2, num_workers=workers, augment=augment,
                         **COUNTS)  # fmt: skip
    module = sam(prompt)
    if side != SIDE:
        module = type(module)("tiny", side, None, prompt)
    settings = {"max_epochs": 3, "enable_checkpointing": any(isinstance(c, Diary) for c in callbacks)} | settings
    run = trainer(folder, *callbacks, serial(**adapt), Baseline(), ExactResume(), **settings)
    run.fit(module, data, ckpt_path=ckpt_path)
    return {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}


def alike(entries: list[Any], others: list[Any]) -> bool:
    """Whether two diaries tell of the same steps on the same images, with the same losses and scores."""
    numbers, words = [], []
    for diary in (entries, others):
        numbers.append([e[-1] if e[0] == "batch" else list(e[-1].values()) for e in diary])
        words.append([e[:-1] for e in diary])
    flat = [[x for each in one for x in (each if isinstance(each, list) else [each])] for one in numbers]
    return words[0] == words[1] and flat[0] == pytest.approx(flat[1], abs=1e-5)


@pytest.mark.parametrize(("adapt", "prompt"), [(DECODER, "box"), (LAST, "point")])
def test_each_image_is_embedded_once_and_what_is_learnt_is_the_same(
    adapt: Any, prompt: str, tmp_path: Path, embedded: list[int], read: list[Path]
) -> None:
    plain, cached, again = Diary(), Diary(), Diary()
    expected = fit(tmp_path, plain, adapt=adapt, prompt=prompt)
    assert sum(embedded) == 3 * 6 + 4 * 3
    others = len(read) - sum(embedded) + 2  # the data's own check, and each split's first to see how it becomes pixels
    for diary, images in ((cached, 6 + 3), (again, 0)):
        embedded.clear()
        read.clear()
        found = fit(tmp_path, diary, CachePrefix(), adapt=adapt, prompt=prompt)
        assert sum(embedded) == images
        assert len(read) == images + others
        assert alike(diary.entries, plain.entries)
        assert len(diary.entries) == 9 + 3
        assert all(torch.allclose(found[name], weight, atol=1e-3) for name, weight in expected.items())  # AdamW's step


def test_a_run_that_was_stopped_goes_on_the_same_with_workers_too(tmp_path: Path, embedded: list[int]) -> None:
    diary, resumed = Diary(tmp_path / "moments"), Diary()
    whole = fit(tmp_path, diary, CachePrefix(), max_epochs=2)
    embedded.clear()
    (path,) = [path for path in diary.saved if path.name.startswith("05-")]
    again = fit(tmp_path, resumed, CachePrefix(), ckpt_path=path, workers=2, max_epochs=2)
    assert resumed.entries == diary.entries[diary.saved[path] :] != []
    assert all(torch.equal(again[name], weight) for name, weight in whole.items())
    assert not embedded


def test_what_changes_the_features_has_them_computed_anew(tmp_path: Path, embedded: list[int], cache: Path) -> None:
    def count(**settings: Any) -> int:
        embedded.clear()
        fit(tmp_path, CachePrefix(), **{"max_epochs": 1} | settings)
        return sum(embedded)

    assert count() == 9
    assert count(adapt={**LAST, "adapter": SerialLoRA(rank=3), "train": []}) == 0  # what comes after
    assert count(adapt=DECODER) == 9
    assert count(precision="bf16-mixed") == 9
    assert count(side=2 * SIDE) == 9
    assert count() == 0
    *_, last = sorted((tmp_path / "data").rglob("images/train*"))
    last.touch()
    assert count() == 1
    assert len(list(cache.iterdir())) == 2 * 4  # training and validation images, seen in four ways
    assert not list(cache.rglob("*.part"))


def test_a_damaged_file_is_computed_again(tmp_path: Path, embedded: list[int], cache: Path) -> None:
    expected = fit(tmp_path, CachePrefix(), max_epochs=1)
    one, other, *_ = cache.rglob("*.safetensors")
    one.write_bytes(one.read_bytes()[:-1])
    other.write_bytes(b"")
    embedded.clear()
    with pytest.warns(UserWarning, match=r"safetensors is damaged: the features of its images are computed again"):
        found = fit(tmp_path, CachePrefix(), max_epochs=1)
    assert embedded == [1, 1]
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_mixed_precision_learns_the_same(tmp_path: Path) -> None:
    plain, cached = Diary(), Diary()
    fit(tmp_path, plain, precision="bf16-mixed", max_epochs=1)
    fit(tmp_path, cached, CachePrefix(), precision="bf16-mixed", max_epochs=1)
    assert alike(cached.entries, plain.entries)


COMMAND = ["fit", "--config", str(CONFIGS / "sam_polyp.yaml"), "--model.backbone=tiny", f"--model.image_size={SIDE}",
           "--trainer.callbacks+=CachePrefix", "--trainer.accelerator=cpu", "--trainer.precision=32-true",
           "--data=PolypPhantoms", "--data.batch_size=2", "--data.num_workers=0",
           *options("data", COUNTS | {"height": 40, "width": 56})]  # fmt: skip
TRAINED = ["--adapt.adapter=null", "--adapt.where=null"]


def test_one_line_of_the_command_line_switches_it_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: list[int], read: list[Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = ["--trainer.callbacks.folder=kept", "--data.augment=null", "--data.root=data", "--trainer.max_epochs=2"]
    cli = graft(*COMMAND, *folder, *TRAINED)
    assert sum(embedded) == 6 + 3
    assert len(list(Path("kept").glob("*/*.safetensors"))) == 6 + 3
    assert list(Path(str(cli.trainer.log_dir)).glob("pictures/*.png"))  # of images that no batch held
    assert Pictures in map(type, cli.trainer.callbacks)


def test_augmented_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *COMMAND, "--data.root=data", *TRAINED)
    assert "the training images are augmented: set --data.augment null, or leave CachePrefix out." in said


def test_what_cannot_be_kept_is_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match="the image encoder is trained or adapted from its beginning"):
        fit(tmp_path, CachePrefix(), adapt={})
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=rf"cannot be kept in {tmp_path / 'file'} .*choose another folder"):
        fit(tmp_path, CachePrefix(str(tmp_path / "file")))
    with pytest.raises(ValueError, match="CachePrefix is for SAM's image encoder, and Toy has none: leave it out"):
        trainer(tmp_path, CachePrefix(), lora()).fit(Toy(), Data())
    assert not cache.exists()
