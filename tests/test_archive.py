"""Archives that mean harm, and folders that hold all of an archive or nothing."""

import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from graft.archive import extract_zip
from graft.download import DownloadError


def archive(path: Path, *entries: str | zipfile.ZipInfo) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in entries:
            file.writestr(entry, b"x" * 1000)
    return path


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def test_extract(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.zip", "a/b.txt", "c.txt")
    folder = extract_zip(source, tmp_path / "new" / "out", max_bytes=2000)
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) == ["a", "a/b.txt", "c.txt"]
    source.unlink()
    assert extract_zip(source, folder, max_bytes=0) == folder


@pytest.mark.parametrize("entry", ["../x", "a/../../x", "/x", "..\\x", "C:\\x", link("x")], ids=str)
def test_nothing_leaves_the_folder(tmp_path: Path, entry: str | zipfile.ZipInfo) -> None:
    source = archive(tmp_path / "a.zip", "good.txt", entry)
    with pytest.raises(DownloadError, match="leads out"):
        extract_zip(source, tmp_path / "out", max_bytes=10_000)
    assert {p.name for p in tmp_path.iterdir()} <= {"a.zip", "out.lock"}


def test_size_limit_counts_what_is_written(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="more than"):
        extract_zip(archive(tmp_path / "a.zip", "a", "b"), tmp_path / "out", max_bytes=1999)
    assert not (tmp_path / "out").exists()


def test_damaged_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(DownloadError, match="damaged"):
        extract_zip(tmp_path / "a.zip", tmp_path / "out", max_bytes=1)


def test_leftovers_of_a_killed_process_are_no_part_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "half").touch()
    folder = extract_zip(archive(tmp_path / "a.zip", "a"), tmp_path / "out", max_bytes=1000)
    assert [p.name for p in folder.iterdir()] == ["a"]


def test_any_damage_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Bytes of the archive changed one after the other: unpacked as it was, or refused, with nothing beside."""
    whole = archive(tmp_path / "whole.zip", "a/ä.txt", "b").read_bytes()
    refused = 0
    for place in range(len(whole)):
        (tmp_path / "a.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :])
        try:
            shutil.rmtree(extract_zip(tmp_path / "a.zip", tmp_path / "out", max_bytes=2000))
        except DownloadError:
            refused += 1
        assert {path.name for path in tmp_path.iterdir()} == {"whole.zip", "a.zip", "out.lock"}
    assert refused > len(whole) / 3  # the rest are dates and the like
