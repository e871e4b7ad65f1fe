"""Downloads from a server that misbehaves in every way named here."""

import hashlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from graft import download as module
from graft.download import DownloadError, cache_dir, download

BODY = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
HALF = len(BODY) // 2

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Gives each request the next of `answers`, the last one for ever; notes the `Range` of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [whole]
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        answers = self.server.answers
        self.server.ranges.append(self.headers["Range"])
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def send(handler: BaseHTTPRequestHandler, body: bytes, length: int | None = None, code: int = 200) -> None:
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler: BaseHTTPRequestHandler) -> None:
    send(handler, BODY)


def rest(handler: BaseHTTPRequestHandler) -> None:
    start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    send(handler, BODY[start:], code=206)


def cut(handler: BaseHTTPRequestHandler) -> None:
    send(handler, BODY[:HALF], length=len(BODY))


def stall(handler: BaseHTTPRequestHandler) -> None:
    cut(handler)
    time.sleep(1)


def wrong(handler: BaseHTTPRequestHandler) -> None:
    send(handler, BODY[::-1])


def slow(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.5)
    whole(handler)


def status(code: int) -> Answer:
    return lambda handler: send(handler, b"", code=code)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    monkeypatch.setattr(module, "ATTEMPTS", 3)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        ([whole], [None]),
        ([cut, rest], [None, f"bytes={HALF}-"]),
        ([stall, rest], [None, f"bytes={HALF}-"]),
        ([cut, whole], [None, f"bytes={HALF}-"]),
        ([cut, status(416), whole], [None, f"bytes={HALF}-", None]),
        ([status(500), whole], [None, None]),
        ([status(429), status(503), whole], [None, None, None]),
    ],
    ids=["at once", "broken off", "stalled", "range ignored", "range refused", "500 then ok", "busy"],
)
def test_arrives_whole(server: Server, tmp_path: Path, answers: list[Answer], ranges: list[str | None]) -> None:
    server.answers = answers
    path = download(server.url, tmp_path / "new" / "file.bin", sha256=SHA256, md5_prefix=MD5[:8])
    assert path.read_bytes() == BODY
    assert server.ranges == ranges
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize(
    ("answer", "requests", "sentence"),
    [
        (status(404), 1, "answered 404"),
        (status(500), 3, "answered 500"),
        (cut, 3, f"{HALF} of {len(BODY)} bytes"),
        (stall, 3, "timed out"),
        (wrong, 1, f"expected {SHA256}"),
    ],
)
def test_gives_up_in_a_sentence(server: Server, tmp_path: Path, answer: Answer, requests: int, sentence: str) -> None:
    server.answers = [answer]
    with pytest.raises(DownloadError, match=sentence):
        download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert len(server.ranges) == requests
    assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin.part").exists() == (answer in {cut, stall})  # what may be resumed stays


def test_refused_connection(server: Server, tmp_path: Path) -> None:
    with Server() as gone:
        pass
    with pytest.raises(DownloadError, match="3 attempts"):
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
    monkeypatch.setattr(module, "_mismatch", lambda path, checks: pytest.fail("read again"))
    assert download(server.url, path, sha256=SHA256) == path


def test_unwritable_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot be written"):
        download(server.url, tmp_path / "file" / "file.bin")


def test_full_disk_is_final(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="No space left"):
        download(server.url, tmp_path / "file.bin")
    assert len(server.ranges) == 1


def test_two_processes_fetch_once(server: Server, tmp_path: Path) -> None:
    server.answers = [slow]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=download, args=(server.url, tmp_path / "file.bin")) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.ranges) == 1


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("GRAFT_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "graft"
