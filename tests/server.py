"""A file server on this machine, honest or misbehaving in every way named here."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from graft import download, transfer

BODY = bytes(range(256)) * 2000
HALF = len(BODY) // 2

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Gives each request the next of `answers`, the last one for ever; notes what each request asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.marks = {"ETag": '"one"'}
        self.answers: list[Answer] = [honest]
        self.ranges: list[str | None] = []
        self.go = threading.Event()  # what `held` and `half_held` wait for
        self.url = f"http://127.0.0.1:{self.server_port}/file.bin"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client has left, as one that was killed does."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        answers = self.server.answers
        self.server.ranges.append(self.headers["Range"])
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def send(self, body: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(len(body))} | self.server.marks | named).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def honest(handler: Handler) -> None:
    """Serve the range asked for, if it is asked of the version at hand."""
    if handler.headers.get("If-Range", "") in ("", *handler.server.marks.values()):
        careless(handler)
    else:
        whole(handler)


def careless(handler: Handler) -> None:
    """Serve the range asked for, of whatever version."""
    body = handler.server.body
    start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if start >= len(body):
        handler.send(b"", 416, Content_Range=f"bytes */{len(body)}")
    elif start:
        handler.send(body[start:], 206, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
    else:
        whole(handler)


def whole(handler: Handler) -> None:
    handler.send(handler.server.body)


def misplaced(handler: Handler) -> None:
    handler.send(handler.server.body[1:], 206, Content_Range=f"bytes 1-{len(BODY) - 1}/{len(BODY)}")


def cut(handler: Handler) -> None:
    body = handler.server.body
    handler.send(body[: len(body) // 2], Content_Length=str(len(body)))


def cut_chunked(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n" % len(BODY) + BODY[:HALF])
    handler.close_connection = True


def stall(handler: Handler) -> None:
    cut(handler)
    time.sleep(1)


def trickle(handler: Handler) -> None:
    """Begin well, then send a byte now and then."""
    cut(handler)
    for _ in range(40):
        time.sleep(0.05)
        handler.wfile.write(b"x")


def steady(handler: Handler) -> None:
    """Slow, but not dead: ten times what is asked for."""
    handler.send(b"", Content_Length=str(len(BODY)))
    for start in range(0, len(BODY), step := len(BODY) // 16):
        time.sleep(0.05)
        handler.wfile.write(BODY[start : start + step])


def wrong(handler: Handler) -> None:
    handler.send(handler.server.body[::-1])


def page(handler: Handler) -> None:
    """What a proxy shows in place of the file."""
    handler.send(b"<html><body>Please sign in.</body></html>" * 100, Content_Type="text/html")


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"\x00garbage\r\n\r\n")


def nothing(handler: Handler) -> None:
    """Close the connection without a word."""


def held(handler: Handler) -> None:
    handler.server.go.wait(20)
    honest(handler)


def half_held(handler: Handler) -> None:
    cut(handler)
    handler.server.go.wait(20)


def status(code: int) -> Answer:
    return lambda handler: handler.send(b"", code)


def redirect(to: str) -> Answer:
    return lambda handler: handler.send(b"", 302, Location=to)


@contextmanager
def serving(patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, and downloads that lose their patience within a second."""
    patch.setattr(download, "FIRST_WAIT", 0.01)
    patch.setattr(download, "ATTEMPTS", 3)
    patch.setattr(transfer, "TIMEOUT", 0.4)
    patch.setattr(transfer, "LEAST", 1000)
    patch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.go.set()
            server.shutdown()
            thread.join()


def start_download(url: str, path: Path, stderr: int | None = None) -> subprocess.Popen[str]:
    """A process that says "ready" on its standard output and downloads."""
    code = (
        "import sys; from pathlib import Path; from graft.download import download\n"
        "print('ready', flush=True); download(sys.argv[1], Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, url, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
