"""An HTTP API of a payments company behind a real socket: OAuth tokens, orders, refunds under a key, and every way to misbehave."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CLIENT, PASSWORD = "copilot at the bank", "far-end-client-secret-1"
SCOPES = {"orders:read", "refunds:write"}


@dataclass
class Seen:
    """One request as it came over the wire; `path` is raw."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class FarEnd:
    """`plan` answers used up one a request (tokens aside), `writes` one a POST: a status, or the name of a misbehaviour."""

    url: str = ""
    plan: list[int | str] = field(default_factory=list)
    writes: list[int | str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    granted: list[str] = field(default_factory=list)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    life: int = 3600
    revision: int = 1
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def calls(self) -> list[Seen]:
        """Every request but those for tokens."""
        return [each for each in self.seen if each.path != "/token"]


_ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "refundable_minor"],
    "properties": {
        "id": {"type": "string"},
        "refundable_minor": {"type": "integer"},
        "customer": {"type": "object", "properties": {"id": {"type": "string"}, "email": {"type": "string", "nullable": True}}},
        "revision": {"type": "integer"},
        "secret_note": {"type": "string", "writeOnly": True},
    },
}
_REFUND: dict[str, Any] = {
    "type": "object",
    "required": ["amount_minor", "currency", "id"],
    "properties": {
        "id": {"type": "string", "readOnly": True},
        "amount_minor": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "description": "cents\u200b, \u202enot euros"},
        "currency": {"$ref": "#/components/schemas/Currency"},
        "memo": {"type": "string", "maxLength": 40, "nullable": True},
        "notify": {"type": "boolean", "default": True},
    },
}
_OK: dict[str, Any] = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}
_PLACE: dict[str, Any] = {"name": "order_id", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 40}}
_COMPONENTS: dict[str, Any] = {
    "responses": {"Order": _OK},
    "schemas": {
        "Order": _ORDER,
        "Refund": {"allOf": [_REFUND]},
        "Currency": {"type": "string", "enum": ["EUR", "USD"]},
        "Tree": {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
            },
        },
    },
}


def document(url: str) -> dict[str, Any]:
    """Its OpenAPI document, in the 3.0 dialect."""
    paper = {
        "openapi": "3.0.3",
        "info": {"title": "Payments", "version": "1"},
        "servers": [{"url": url}],
        "paths": {
            "/orders/{order_id}": {
                "parameters": [_PLACE],
                "get": {
                    "operationId": "getOrder",
                    "summary": "Read an order.",
                    "responses": {"200": {"$ref": "#/components/responses/Order"}},
                },
            },
            "/orders/{order_id}/refunds": {
                "post": {
                    "operationId": "refund",
                    "summary": "Refund an order.",
                    "parameters": [_PLACE, {"name": "X-Region", "in": "header", "schema": {"type": "string", "maxLength": 200}}],
                    "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refund"}}}},
                    "responses": {"201": {"description": "done"}},
                }
            },
            "/orders": {
                "get": {
                    "operationId": "findOrders",
                    "parameters": [
                        {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                        {"name": "open", "in": "query", "schema": {"type": "boolean"}},
                        {"name": "fields", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "string"}}},
                        {"name": "api-version", "in": "query", "required": True, "schema": {"type": "string"}},
                    ],
                    "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}}},
                }
            },
        },
        "components": _COMPONENTS,
    }
    fresh: dict[str, Any] = json.loads(json.dumps(paper))  # a test may bend its own
    return fresh


def tools_file(folder: Path, url: str, *, tools: str, auth: str | None = None, more: str = "", paper: Any = None) -> Path:
    """Write a tools file with this document beside it; `tools` are its `[[openapi.tool]]` tables."""
    (folder / "payments.json").write_text(json.dumps(paper or document(url)))
    proof = auth or f'{{ kind = "oauth2", token_url = "{url}/token", client_id = "{CLIENT}", secret = "env:FAR_END_SECRET" }}'
    file = folder / "tools.toml"
    file.write_text(f'[[openapi]]\nname = "payments"\ndocument = "payments.json"\nauth = {proof}\ntimeout = 5\n{more}\n{tools}')
    return file


REFUND = """
[[openapi.tool]]
operation = "refund"
name = "refund_order"
effect = "write"
risk = "high"
scopes = ["refunds:write"]
idempotency_header = "Idempotency-Key"
key_lifetime = 86400
token_header = "Copilot-Token"
target = "order:{order_id}"
amount = { minor = "amount_minor", currency = "currency" }
business_key = ["refund", "{order_id}"]
provider_id = "/id"
"""
ORDER = """
[[openapi.tool]]
operation = "getOrder"
name = "get_order"
scopes = ["orders:read"]
"""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    far: FarEnd

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.far.seen.append(Seen(self.command, self.path, headers, body))
        self.close_connection = True
        if self.path == "/token":
            return self._token(headers, body)
        plan = self.far.writes if self.command == "POST" and self.far.writes else self.far.plan
        planned = plan.pop(0) if plan else 0
        if isinstance(planned, str):
            return self._misbehave(planned, body)
        if planned:
            return self._answer(planned, {"error": {"message": f"planned {planned}"}})
        return self._work(headers, body)

    def _token(self, headers: dict[str, str], body: bytes) -> None:
        form = parse_qs(body.decode())
        expected = "Basic " + base64.b64encode(f"{CLIENT.replace(' ', '%20')}:{PASSWORD}".encode()).decode()
        if headers.get("authorization") != expected:
            return self._answer(401, {"error": "invalid_client"})
        scope = form.get("scope", [""])[0]
        self.far.granted.append(scope)
        token = f"far-token-{len(self.far.granted)}-{scope}"
        self.far.tokens[token] = set(scope.split())
        return self._answer(200, {"access_token": token, "expires_in": self.far.life})

    def _allowed(self, headers: dict[str, str], scope: str) -> bool:
        return scope in self.far.tokens.get(headers.get("authorization", "").removeprefix("Bearer "), set())

    def _work(self, headers: dict[str, str], body: bytes) -> None:
        path = urlsplit(self.path).path
        found = re.fullmatch(r"/orders/([^/]+)(/refunds)?", path)
        if found is None:
            return self._answer(200, {"path": self.path, "children": [{"path": "x", "children": []}]})
        order = unquote(found[1])
        if found[2] is None:
            if not self._allowed(headers, "orders:read"):
                return self._answer(401, {})
            if order == "none":
                return self._answer(404, {"detail": "no such order"})
            shown = {"id": order, "refundable_minor": 5000, "customer": {"id": "c1", "email": None}, "revision": self.far.revision}
            return self._answer(200, shown)
        if not self._allowed(headers, "refunds:write"):
            return self._answer(401, {})
        return self._answer(201, self._refund(headers, body))

    def _refund(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        key = headers.get("idempotency-key", f"none-{len(self.far.refunds)}")
        return self.far.refunds.setdefault(key, {"id": f"re_{len(self.far.refunds) + 1}", **json.loads(body)})

    def _misbehave(self, how: str, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        plain = json.dumps({"id": "o1", "refundable_minor": 1}).encode()
        match how:
            case "hang":
                self.far.over.wait(30)
            case "drip":
                self._drip()
            case "reset" | "reset after":
                if how == "reset after":
                    self._refund(headers, body)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case "misfit":
                self._answer(200, {"id": 7})
            case "echo":
                self._answer(200, {"id": "o1", "refundable_minor": 1, "headers": headers})
            case _:
                self._raw(
                    *{
                        "redirect": (303, b"", {"Location": "/elsewhere"}),
                        "no json": (200, b"<h1>hello</h1>", {"Content-Type": "text/html"}),
                        "bomb": (200, gzip.compress(b"0" * 50_000_000), {"Content-Encoding": "gzip"}),
                        "packed": (200, gzip.compress(plain), {"Content-Encoding": "gzip"}),
                        "strange packing": (200, b"{}", {"Content-Encoding": "zstd"}),
                        "long": (200, b'"' + b"x" * 200_000 + b'"', {}),
                    }[how]
                )

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        with suppress(OSError):
            while not self.far.over.wait(0.1):
                self.wfile.write(b" ")

    def _answer(self, status: int, content: Any) -> None:
        self._raw(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _raw(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)


@contextmanager
def serve() -> Iterator[FarEnd]:
    """Run one on a free loopback port."""
    far = FarEnd()
    handler = type("Handler", (_Handler,), {"far": far})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is what we test
    far.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield far
    finally:
        far.over.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
