"""A small keep-alive JSON server on loopback, for the sample company's far ends.

A handler is one function from `Request` to `Answer`. It may raise `Hangup`, which resets the connection without a word:
that is how tests make an outcome unknowable.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from copilot.demo import lifeline

LARGEST_BODY = 4_000_000


class Hangup(Exception):
    """Reset the connection instead of answering."""


class BadRequest(Exception):
    """The request cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `path` is still percent-encoded (an id may hold a slash), `headers` have lower-case names.

    `body` is parsed JSON, a form as a dictionary, or None.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: a JSON body, or `events` to be sent one by one as server-sent events."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    events: Iterable[str] | None = None


Handle = Callable[[Request], Answer]


class Server(ThreadingHTTPServer):
    """Loopback only. Python's own server_bind looks its name up in DNS, which can take seconds on a laptop without a network."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, handle: Handle, *, port: int) -> None:
        self.handle = handle
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking DNS for our own name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong, but for a caller that hung up: that is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def run(handle: Handle, *, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; print one line {"port": N} when connections are accepted."""
    lifeline.die_with_parent()
    lifeline.exit_on_signals()
    with Server(handle, port=port) as server:
        print(json.dumps({"port": server.server_port}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet
    server: Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: the ledger is the record, and requests hold personal data."""

    def _serve(self) -> None:
        try:
            answer = self.server.handle(self._read())
        except BadRequest as error:
            self.close_connection = True  # what is left of the body would be read as the next request
            answer = Answer(400, {"detail": str(error)})
        except Hangup:
            self._reset()
            return
        if answer.events is not None:
            self._stream(answer)
            return
        data = json.dumps(answer.body, ensure_ascii=False).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self._finish_head(answer)
        self.wfile.write(data)
        self.wfile.flush()

    def _read(self) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > LARGEST_BODY:
            raise BadRequest(f"send a body of at most {LARGEST_BODY} bytes with its Content-Length")
        raw = self.rfile.read(int(length))
        try:
            body = json.loads(raw) if raw else None
        except (ValueError, RecursionError):
            if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
                raise BadRequest("the body is not JSON") from None
            body = dict(parse_qsl(raw.decode(errors="replace")))
        address = urlsplit(self.path)
        return Request(self.command, address.path, dict(parse_qsl(address.query)), headers, body)

    def _finish_head(self, answer: Answer) -> None:
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _stream(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self._finish_head(answer)
        for event in answer.events or ():
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST, not FIN
        self.close_connection = True
