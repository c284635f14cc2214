"""A webhook server behind a real socket that answers as told: well, busily, wrongly, slowly, elsewhere."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeSlack:
    """`answers` are used up one a request, then 200: (status, headers), or None to let the client wait until the end."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]] | None] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, status: int, **headers: str) -> None:
        """Answer the next unplanned request so; header names take _ for -."""
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}))

    def hang(self) -> None:
        """Take the next unplanned request and never answer it."""
        self.answers.append(None)


@contextmanager
def serve() -> Iterator[FakeSlack]:
    """Run one on a free loopback port."""
    slack = FakeSlack()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            slack.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            planned = slack.answers.pop(0) if slack.answers else (200, {})
            if planned is None:
                slack.over.wait(30)
                self.close_connection = True
                return
            status, headers = planned
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok" if status == 200 else b"no")

        def do_GET(self) -> None:
            slack.elsewhere.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    slack.url = f"http://127.0.0.1:{server.server_port}/services/T0/B0/secret"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield slack
    finally:
        slack.over.set()
        server.shutdown()
        thread.join(10)
        server.server_close()


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
