"""Parts of a file that are gone on with, or are not; connections that are not waited for; the progress bar."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError, URLError

import pytest

from graft.transfer import discard, transfer
from tests import server as answers
from tests.server import BODY, HALF, Answer, Server

OTHER = BODY[::-1] + b"and longer"
DATES = ("Wed, 01 Jan 2025 00:00:00 GMT", "Thu, 02 Jan 2025 00:00:00 GMT")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with answers.serving(monkeypatch) as server:
        yield server


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "file.bin.part"


def break_off(server: Server, part: Path) -> None:
    """Leave half of the file, as a connection that broke off does."""
    server.answers = [answers.cut, answers.honest]
    with pytest.raises(ConnectionError, match=f"{HALF} of {len(BODY)} bytes arrived"):
        transfer(server.url, part, checked=False)
    assert part.read_bytes() == BODY[:HALF]


MARKS = {
    "tag": ({"ETag": '"one"'}, {"ETag": '"two"'}),
    "date": ({"Last-Modified": DATES[0]}, {"Last-Modified": DATES[1]}),
    "weak tag and date": (
        {"ETag": 'W/"one"', "Last-Modified": DATES[0]},
        {"ETag": 'W/"one"', "Last-Modified": DATES[1]},
    ),
}


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("checked", [True, False])
def test_the_same_version_is_resumed(
    server: Server, part: Path, marks: tuple[dict[str, str], ...], checked: bool
) -> None:
    server.marks = marks[0]
    break_off(server, part)
    transfer(server.url, part, checked=checked)
    assert part.read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
def test_another_version_is_begun_afresh(server: Server, part: Path, marks: tuple[dict[str, str], ...]) -> None:
    server.marks = marks[0]
    break_off(server, part)
    server.body, server.marks = OTHER, marks[1]
    transfer(server.url, part, checked=False)
    assert part.read_bytes() == OTHER
    server.body, server.marks = BODY, marks[0]  # and the new version's mark is what is remembered
    part.write_bytes(OTHER[:HALF])
    transfer(server.url, part, checked=False)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("answer", [answers.careless, answers.misplaced])
def test_an_answer_that_is_not_the_rest_is_refused(server: Server, part: Path, answer: Answer) -> None:
    break_off(server, part)
    if answer is answers.careless:
        server.body, server.marks = OTHER, {"ETag": '"two"'}
    server.answers = [answer]
    with pytest.raises(ConnectionError, match="something else than what it was asked for"):
        transfer(server.url, part, checked=True)
    assert not list(part.parent.iterdir())  # so that the next attempt begins afresh


@pytest.mark.parametrize("checked", [True, False])
def test_a_part_of_unknown_version_is_trusted_only_if_checked_later(server: Server, part: Path, checked: bool) -> None:
    server.marks = {}
    break_off(server, part)
    transfer(server.url, part, checked=checked)
    assert part.read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-" if checked else None]


def test_a_part_that_lacks_nothing_is_kept(server: Server, part: Path) -> None:
    """As left by a process that was killed while it computed the checksum."""
    part.write_bytes(BODY)
    transfer(server.url, part, checked=True)
    assert part.read_bytes() == BODY
    part.write_bytes(BODY + b"x")
    with pytest.raises(HTTPError) as error:
        transfer(server.url, part, checked=True)
    error.value.close()
    assert server.ranges == [f"bytes={len(BODY)}-", f"bytes={len(BODY) + 1}-"]
    assert not part.exists()


def test_discard(server: Server, part: Path) -> None:
    break_off(server, part)
    for _ in range(2):
        discard(part)
        assert not list(part.parent.iterdir())


def test_a_slow_server_is_waited_for(server: Server, part: Path) -> None:
    server.answers = [answers.steady]  # takes twice the seconds in which a dead one is given up
    transfer(server.url, part, checked=False)
    assert part.read_bytes() == BODY


def test_a_trickling_server_is_not_waited_for(server: Server, part: Path) -> None:
    server.answers = [answers.trickle]
    with pytest.raises(ConnectionError, match=r"only \d bytes arrived in 0 seconds"):
        transfer(server.url, part, checked=False)
    assert HALF < part.stat().st_size < HALF + 30


@pytest.mark.parametrize("place", ["http.client.HTTPResponse.read1", "graft.transfer.urlopen"])
@pytest.mark.parametrize("kind", [OSError, TimeoutError, SSLError, URLError, HTTPException, ValueError])
def test_a_failing_network_is_not_taken_for_a_failing_disk(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch, place: str, kind: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind(113, "No route\nto host") if kind in (OSError, SSLError) else kind("No route\nto host")

    monkeypatch.setattr(place, fail)
    with pytest.raises(ConnectionError, match=r"^No route to host$"):
        transfer(server.url, part, checked=False)


def test_the_progress_bar_is_for_terminals(server: Server, tmp_path: Path) -> None:
    """It says name, bytes, size and rate on the standard error, and nothing where that is a file."""
    terminal, stderr = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))  # rows and columns
    process = answers.start_download(server.url, tmp_path / "weights.pth", stderr=stderr)
    os.close(stderr)
    assert process.communicate(timeout=20)[0] == "ready\n"
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    words = ("weights.pth", "100%", "512k/512k", "B/s")
    assert [word for word in words if word not in shown] == []
    process = answers.start_download(server.url, tmp_path / "again.pth", stderr=subprocess.PIPE)
    assert process.communicate(timeout=20) == ("ready\n", "")
    assert process.returncode == 0
