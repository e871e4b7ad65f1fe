"""Where each data set finds its files, and what it says when they are not there."""

import zipfile
from pathlib import Path

import pytest

from graft.data.segmentation import kvasir_seg
from graft.data.segmentation.cvc_clinicdb import CVCClinicDB
from graft.data.segmentation.kvasir_seg import KvasirSEG
from graft.download import DownloadError
from tests.data.conftest import Maker


def test_cvc_clinicdb(make_set: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=r"grand-challenge\.org/CVCClinicDB/ and .*cache/CVC-ClinicDB/Original"):
        CVCClinicDB().find()
    root = make_set(["1", "2"], suffix=".tif")
    (root / "images").rename(root / "Original")
    (root / "masks").rename(root / "Ground Truth")
    assert [sample.name for sample in CVCClinicDB(root).find()] == ["1", "2"]


@pytest.mark.filterwarnings("ignore:Images in different splits look almost alike")  # a few show one scene
def test_kvasir_root_as_it_is(kvasir: Path) -> None:
    data = KvasirSEG(kvasir, image_size=64, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    assert [len(data.samples[split]) for split in ("train", "val", "test")] == [800, 100, 0]
    batch = next(iter(data.val_dataloader()))
    assert batch["original_size"].tolist() == [[352, 352]] * 4
    assert 0 < batch["mask"].float().mean() < 0.9


def test_kvasir_given_root_is_never_fetched(tmp_path: Path) -> None:
    data = KvasirSEG(tmp_path / "typo")
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match=r"typo does not hold the folders images and masks; .* leave root out"):
        data.find()


@pytest.fixture
def archive(make_set: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive like the published one, but of three pairs; downloading copies it."""
    root, path = make_set(["a", "b", "c"], suffix=".jpg"), tmp_path / "published.zip"
    with zipfile.ZipFile(path, "w") as file:
        for member in root.rglob("*.*"):
            file.write(member, Path("Kvasir-SEG") / member.relative_to(root))
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kvasir_seg, "download", lambda url, to: Path(to).write_bytes(path.read_bytes()) and to)
    return path


def test_kvasir_is_fetched_once(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvasir_seg, "PAIRS", 3)
    data = KvasirSEG()
    data.prepare_data()
    archive.unlink()
    data.prepare_data()
    assert data.root == tmp_path / "cache" / "Kvasir-SEG"
    assert [sample.name for sample in data.find()] == ["a", "b", "c"]


def test_kvasir_fetched_meanwhile_by_another_process(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "cache" / "Kvasir-SEG"
    root.mkdir(parents=True)
    archive.unlink()
    kvasir_seg.fetch_kvasir(root)
    assert root.is_dir()


def test_kvasir_incomplete_is_refused_and_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"holds 3 pairs of image and mask, but 1000 were expected\. To get"):
        KvasirSEG().prepare_data()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_kvasir_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(url: str, path: Path) -> Path:
        raise DownloadError("No network.")

    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    monkeypatch.setattr(kvasir_seg, "download", offline)
    with pytest.raises(DownloadError, match=r"No network\. To get Kvasir-SEG by hand, unpack .*/images .*`make demo`"):
        KvasirSEG().prepare_data()
