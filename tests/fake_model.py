"""A model that does what its script says, behind a real socket: it speaks chat completions over HTTP, well or badly."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class FakeModel:
    """The script still to be played and every request received; with an empty script it says `done`."""

    url: str
    script: list[Reply] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def will(self, *replies: Reply) -> None:
        """Play these next, in order."""
        self.script.extend(replies)

    @property
    def last(self) -> list[dict[str, Any]]:
        """The messages of the latest request."""
        messages: list[dict[str, Any]] = self.requests[-1]["messages"]
        return messages


@contextmanager
def running() -> Iterator[FakeModel]:
    """A fake model on a free loopback port."""
    model = FakeModel("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            model.at.append(time.monotonic())
            model.requests.append(json.loads(body) | {"_headers": {name.lower(): value for name, value in self.headers.items()}})
            reply = model.script.pop(0) if model.script else says("done")
            try:
                reply(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            pass  # a reply that breaks the connection on purpose

    server = Server(("127.0.0.1", 0), Handler)
    model.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in ({"content-type": "application/json"} | (headers or {})).items():
        handler.send_header(name, value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def completion(message: dict[str, Any], finish: str = "stop", *, usage: Any = None) -> Reply:
    """A well-formed completion with this message."""
    body = {
        "id": "cmpl", "object": "chat.completion", "created": 0, "model": "scripted-1",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": None} | message}],
        "usage": usage if usage is not None else {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip
    return raw(json.dumps(body))


def says(text: str | None, finish: str = "stop") -> Reply:
    """Only text."""
    return completion({"content": text}, finish)


def calls(*asked: tuple[str, Any], text: str | None = None, finish: str = "tool_calls") -> Reply:
    """Tool calls, each a name and arguments: a dict, or a string sent just as it is. The ids are all the same: ours must not be."""
    made = [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for name, given in asked
    ]
    return completion({"content": text, "tool_calls": made}, finish)


def refuses(text: str = "I cannot help with that.") -> Reply:
    """A refusal in its own field."""
    return completion({"refusal": text})


def raw(body: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """Exactly this body."""
    return lambda handler: _send(handler, status, body.encode("utf-8", "surrogatepass"), headers)


def status(code: int, **headers: str) -> Reply:
    """An error of this status; `retry_after="2"` becomes the header Retry-After."""
    body = json.dumps({"error": {"message": "no", "type": "x"}})
    return raw(body, status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})


def slow(seconds: float, then: Reply) -> Reply:
    """Think this long first."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        then(handler)

    return reply


def drips(seconds: float) -> Reply:
    """Send a byte of white space every 50 ms, for so long."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", "1000000")
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)
        handler.close_connection = True

    return reply


def resets(handler: BaseHTTPRequestHandler) -> None:
    """Break the connection without a word."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def fault(kind: str) -> Reply:
    """One of the ways a model can be of no use, by name."""
    return {
        "truncated": calls(("pay_key", '{"invoice": "i1", "amo'), finish="length"),
        "refused": refuses(),
        "filtered": says("", finish="content_filter"),
        "empty": says(""),
        "no choices": raw(json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []})),
        "choices null": raw('{"choices": null}'),
        "not an object": raw("[1, 2, 3]"),
        "no json": raw("<html>Bad gateway</html>"),
        "plain text": raw("hello", headers={"content-type": "text/plain"}),
        "429": status(429),
        "500": status(500),
        "503": status(503),
        "reset": resets,
    }[kind]
