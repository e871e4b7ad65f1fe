"""SAM's weights and Kvasir-SEG, fetched from a server that misbehaves."""

import hashlib
import io
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from graft.backbones import weights
from graft.data import KvasirSEG
from graft.data.segmentation import kvasir_seg
from graft.download import DownloadError
from tests.server import BODY, HALF, Answer, Server, cut, honest, page, serving, status, whole, wrong

SAM = "sam_vit_b_01ec64.pth"
NAMES = ["a", "b", "c"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server of what stands in for SAM's weights, or of what a test puts there."""
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    with serving(monkeypatch) as server:
        monkeypatch.setattr(weights, "SITE", server.url)
        monkeypatch.setitem(weights.SHA256, SAM, hashlib.sha256(BODY).hexdigest())
        monkeypatch.setattr(kvasir_seg, "URL", server.url)
        monkeypatch.setattr(kvasir_seg, "PAIRS", len(NAMES))
        yield server


def test_sam_arrives_although_the_connection_breaks(server: Server, tmp_path: Path) -> None:
    server.answers = [cut, status(503), honest]
    path = weights.official(SAM)
    assert path == tmp_path / "cache" / "sam" / SAM
    assert path.read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF}-"]


@pytest.mark.parametrize("answer", [wrong, page, cut, status(404), status(500)])
def test_what_is_not_sam_is_refused(server: Server, tmp_path: Path, answer: Answer) -> None:
    server.answers = [answer]
    path = tmp_path / "cache" / "sam" / SAM
    with pytest.raises(DownloadError, match=f"put {server.url}/{SAM} at {path} by hand") as error:
        weights.official(SAM)
    assert "\n" not in str(error.value)
    assert not path.exists()


def picture(value: int = 255) -> bytes:
    pixels = np.zeros((30, 40), np.uint8)
    pixels[5:15, 10:30] = value
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def archive(more: Mapping[str, bytes | zipfile.ZipInfo] = MappingProxyType({}), value: int = 255) -> bytes:
    """A set like the published one, but of three pairs, and with more files in it; the value is that of the polyps."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as members:
        for path in [f"Kvasir-SEG/{kind}/{name}.png" for kind in ("images", "masks") for name in NAMES]:
            members.writestr(path, picture(value))
        for path, content in more.items():
            members.writestr(path, content) if isinstance(content, bytes) else members.writestr(content, b"/etc/passwd")
    return file.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def encrypted() -> bytes:
    """An archive whose first member says, in both its headers, that it needs a password."""
    body = bytearray(archive())
    struct.pack_into("<H", body, body.index(b"PK\x03\x04") + 6, 1)
    struct.pack_into("<H", body, body.index(b"PK\x01\x02") + 8, 1)
    return bytes(body)


def test_kvasir_arrives_although_the_connection_breaks(server: Server, tmp_path: Path) -> None:
    server.body = archive()
    server.answers = [cut, honest]
    data = KvasirSEG()
    data.prepare_data()
    assert [sample.name for sample in data.find()] == NAMES
    assert server.ranges == [None, f"bytes={len(server.body) // 2}-"]
    assert {path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"} == {"Kvasir-SEG"}


def test_kvasir_changed_on_the_server_is_not_spliced(server: Server) -> None:
    server.body, server.answers = archive(), [cut]
    with pytest.raises(DownloadError, match="Run again to go on where it stopped"):
        KvasirSEG().prepare_data()
    server.body, server.marks, server.answers = archive(value=200), {"ETag": '"two"'}, [honest]
    data = KvasirSEG()
    data.prepare_data()
    assert {path.read_bytes() for path in data.root.rglob("*.png")} == {picture(200)}


GOOD = archive()
STRANGE = {
    "a page": (page, b"", "damaged archive"),
    "wrong bytes": (wrong, GOOD, "damaged archive"),
    "truncated": (whole, GOOD[: len(GOOD) // 2], "damaged archive"),
    "empty": (whole, b"", "damaged archive"),
    "a flipped byte": (whole, GOOD[:80] + bytes([GOOD[80] ^ 255]) + GOOD[81:], "damaged archive"),
    "encrypted": (whole, encrypted(), "damaged archive"),
    "a way out": (whole, archive({"../../outside": b"x"}), "leads out of the folder"),
    "a link": (whole, archive({"link": link("Kvasir-SEG/link")}), "leads out of the folder"),
    "a bomb": (whole, archive({"Kvasir-SEG/bomb": bytes(200_000)}), "unpacks to more than"),
    "no image": (whole, archive({"Kvasir-SEG/images/d.png": b"x", "Kvasir-SEG/masks/d.png": b"x"}), "d.png"),
    "a pair too many": (
        whole,
        archive({"Kvasir-SEG/images/d.png": picture(), "Kvasir-SEG/masks/d.png": picture()}),
        "holds 4 pairs of image and mask, but 3 were expected",
    ),
    "another set": (whole, archive().replace(b"Kvasir-SEG", b"Kvasir-XXX"), "Kvasir-SEG/images does not exist"),
}


@pytest.mark.parametrize(("answer", "body", "sentence"), STRANGE.values(), ids=STRANGE)
def test_what_is_not_kvasir_is_refused(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    body: bytes,
    sentence: str,
) -> None:
    monkeypatch.setattr(kvasir_seg, "MAX_BYTES", 100_000)
    if sentence == "d.png":
        monkeypatch.setattr(kvasir_seg, "PAIRS", 4)
    server.body, server.answers = body, [answer]
    with pytest.raises(DownloadError, match=f"{sentence}.* To get Kvasir-SEG by hand, unpack {server.url}") as error:
        KvasirSEG().prepare_data()
    assert "\n" not in str(error.value)
    left = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.suffix != ".lock"}
    assert left == {Path("cache")}


def test_kvasir_where_nothing_can_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(DownloadError, match=r"Kvasir-SEG cannot be written \(File exists\): .* To get Kvasir-SEG by"):
        KvasirSEG().prepare_data()
    assert not server.ranges
