"""Downloads from a server that misbehaves, to a disk that does, by processes that share and die."""

import hashlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock, Timeout

from graft import download as module
from graft.cache import cache_dir
from graft.download import DownloadError, download
from tests.server import (
    BODY,
    HALF,
    Answer,
    Server,
    cut,
    cut_chunked,
    garbage,
    half_held,
    held,
    honest,
    misplaced,
    nothing,
    page,
    redirect,
    serving,
    stall,
    start_download,
    status,
    trickle,
    whole,
    wrong,
)

SHA256 = hashlib.sha256(BODY).hexdigest()
REST = f"bytes={HALF}-"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as server:
        yield server


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        ([honest], [None]),
        ([cut, honest], [None, REST]),
        ([stall, honest], [None, REST]),
        ([cut, whole], [None, REST]),
        ([cut, status(416), honest], [None, REST, None]),
        ([cut, misplaced, honest], [None, REST, None]),
        ([status(500), honest], [None, None]),
        ([status(429), status(503), honest], [None, None, None]),
        ([nothing, garbage, honest], [None, None, None]),
        ([redirect("/elsewhere"), honest], [None, None]),
        ([cut, redirect("/elsewhere"), honest], [None, REST, REST]),
    ],
    ids=[
        "at once",
        "broken off",
        "stalled",
        "range ignored",
        "range refused",
        "range misunderstood",
        "500 then ok",
        "busy",
        "no HTTP",
        "redirected",
        "redirected after a break",
    ],
)
@pytest.mark.parametrize("sha256", [SHA256, SHA256.upper(), None], ids=["checked", "upper case", "unchecked"])
def test_arrives_whole(
    server: Server, tmp_path: Path, answers: list[Answer], ranges: list[str | None], sha256: str | None
) -> None:
    server.answers = answers.copy()
    path = download(server.url, tmp_path / "new" / "file.bin", sha256=sha256)
    assert path.read_bytes() == BODY
    assert server.ranges == ranges
    assert {file.name for file in path.parent.iterdir()} - {"file.bin.seal"} == {"file.bin", "file.bin.lock"}


@pytest.mark.parametrize(("sha256", "ranges"), [(SHA256, [None, REST]), (None, [None, None])])
def test_without_a_mark_of_the_version_only_a_checksum_lets_resume(
    server: Server, tmp_path: Path, sha256: str | None, ranges: list[str | None]
) -> None:
    server.answers, server.marks = [cut, honest], {}
    assert download(server.url, tmp_path / "file.bin", sha256=sha256).read_bytes() == BODY
    assert server.ranges == ranges


def test_waits_longer_and_longer(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr(module, "ATTEMPTS", 5)
    server.answers = [nothing]
    with pytest.raises(DownloadError, match="5 attempts"):
        download(server.url, tmp_path / "file.bin")
    assert waits == [0.01, 0.02, 0.04, 0.08]


@pytest.mark.parametrize(
    ("answer", "requests", "sentence"),
    [
        (status(404), 1, r"answered 404 Not Found\. Check the address"),
        (status(500), 3, "answered 500"),
        (cut, 3, f"{HALF} of {len(BODY)} bytes"),
        (cut_chunked, 3, "IncompleteRead"),
        (stall, 3, "timed out"),
        (trickle, 3, r"only \d+ bytes arrived in"),
        (wrong, 1, f"sent wrong bytes, now removed: .* expected {SHA256}"),
        (page, 1, f"sent wrong bytes, now removed: .* expected {SHA256}"),
        (nothing, 3, "Remote end closed connection"),
        (garbage, 3, "garbage"),
        (redirect("/again"), 5, "infinite loop"),
        (redirect("http://127.0.0.1:no/"), 3, "nonnumeric port: 'no'"),
        (redirect("file:///etc/hostname"), 1, "Redirection to url 'file:///etc/hostname' is not allowed"),
    ],
)
def test_gives_up_in_a_sentence(server: Server, tmp_path: Path, answer: Answer, requests: int, sentence: str) -> None:
    server.answers = [answer]
    with pytest.raises(DownloadError, match=sentence) as error:
        download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert "\n" not in str(error.value)
    assert len(server.ranges) == requests
    assert not (tmp_path / "file.bin").exists()
    resumable = answer in {cut, cut_chunked, stall, trickle}
    assert (tmp_path / "file.bin.part").exists() == resumable  # what may be resumed stays


def test_refused_connection(server: Server, tmp_path: Path) -> None:
    with Server() as gone:
        pass
    with pytest.raises(DownloadError, match="Connection refused, 3 attempts"):
        download(gone.url, tmp_path / "file.bin")


def test_present_file_needs_no_network(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(BODY)
    assert download(server.url, path, sha256=SHA256) == path
    assert download(server.url, path) == path
    assert not server.ranges
    path.write_bytes(BODY[::-1])
    with pytest.raises(DownloadError, match="Delete it"):
        download(server.url, path, sha256=SHA256)


def test_checksum_is_computed_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = download(server.url, tmp_path / "file.bin", sha256=SHA256)
    monkeypatch.setattr(module, "_mismatch", lambda path, sha256: pytest.fail("read again"))
    assert download(server.url, path, sha256=SHA256) == path


def test_a_file_where_a_folder_should_be(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot be written"):
        download(server.url, tmp_path / "file" / "file.bin")


def test_a_folder_without_permission(server: Server) -> None:
    with TemporaryDirectory() as name:  # not pytest's, which is hidden from all but its owner
        folder, user = Path(name), os.geteuid()
        folder.chmod(0o555)
        os.seteuid(user or 65534)  # to the super-user every folder is open
        try:
            with pytest.raises(DownloadError, match=r"cannot be written \(Permission denied\): .*another folder\.$"):
                download(server.url, folder / "file.bin")
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
    assert not server.ranges


def test_full_disk_is_final(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"cannot be written \(No space left on device\): make room there"):
        download(server.url, tmp_path / "file.bin")
    assert len(server.ranges) == 1


def test_what_a_full_disk_holds_is_resumed(server: Server, tmp_path: Path) -> None:
    """A limit on the size of files stops the writing in the middle, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, limits[1]))
    try:
        with pytest.raises(DownloadError, match=r"cannot be written \(File too large\)"):
            download(server.url, tmp_path / "file.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "file.bin.part").read_bytes() == BODY[:HALF]
    assert download(server.url, tmp_path / "file.bin").read_bytes() == BODY
    assert server.ranges == [None, REST]


def test_two_processes_fetch_once(server: Server, tmp_path: Path) -> None:
    server.answers = [held]
    processes = [start_download(server.url, tmp_path / "file.bin") for _ in range(2)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # both have had the time to ask
    server.go.set()
    for process in processes:
        process.communicate(timeout=20)
    assert [process.returncode for process in processes] == [0, 0]
    assert server.ranges == [None]
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_killed_process_leaves_a_part_and_no_lock(server: Server, tmp_path: Path) -> None:
    path, part = tmp_path / "file.bin", tmp_path / "file.bin.part"
    server.answers = [half_held, honest]
    process = start_download(server.url, path)
    until = time.monotonic() + 20
    while time.monotonic() < until and not (part.exists() and part.stat().st_size > HALF - 20_000):
        time.sleep(0.01)
    with pytest.raises(Timeout):
        FileLock(f"{path}.lock", timeout=0).acquire()
    assert not path.exists()
    process.kill()
    process.communicate(timeout=20)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"file.bin{end}" for end in (".lock", ".part", ".part.version")
    ]
    size = part.stat().st_size
    assert HALF - 20_000 < size <= HALF
    assert download(server.url, path).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={size}-"]


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("GRAFT_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "graft"
