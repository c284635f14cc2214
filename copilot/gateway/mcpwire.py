"""What is said between Copilot and an MCP server: JSON-RPC messages, the greeting, and what we never offer.

Our own and small on purpose: every answer has a size limit and a deadline, HTTP goes through the one guarded client, and of
all that a server may ask of its client (sampling, elicitation, roots) nothing exists here. Stateless; the connections are in
`mcpstdio` and `mcphttp`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from copilot.audit import ownsecrets
from copilot.errors import SetupError
from copilot.gateway import plainschema

Message = dict[str, Any]

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # newest first; the first is what we ask for
TEXT = 2_000  # characters of a server's own words that are passed on
MESSAGE_BYTES = 4_000_000  # a list of many tools with long schemas; results have a limit of their own

LIST_CHANGED = "notifications/tools/list_changed"

_NOT_RUN = frozenset({-32700, -32600, -32601, -32602})  # the server could not read the call, so it ran nothing


class Lost(Exception):
    """No usable answer came. `sent` is whether the server may have got the request; when not, nothing happened."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Said(Exception):
    """The server answered with an error; `ran` is False when it says it could not even read the call."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.ran = code not in _NOT_RUN


class Wire(Protocol):
    """One server's connection. `ask` returns the result, or raises Lost or Said."""

    def ask(self, method: str, params: Message, *, seconds: float) -> Message:
        """Send one request and wait at most so long for its result."""

    def close(self) -> None:
        """End it; a later `ask` begins anew."""


def without_secret(error: SetupError) -> Lost:
    """What it means for a call that one of our secrets cannot be had any more: nothing was sent."""
    return Lost(f"one of its secrets cannot be had. {str(error).rstrip('.')}", sent=False)


def request(number: int, method: str, params: Message) -> Message:
    """A request that is answered under this number."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def notification(method: str) -> Message:
    """A message that nobody answers."""
    return {"jsonrpc": "2.0", "method": method}


def greeting() -> Message:
    """The parameters of `initialize`: who we are, and that we offer nothing to the server."""
    try:
        number = version("copilot")
    except PackageNotFoundError:  # run from a folder nobody installed
        number = "0"
    return {"protocolVersion": VERSIONS[0], "capabilities": {}, "clientInfo": {"name": "copilot", "version": number}}


def agreed(result: Message) -> str:
    """The protocol version the server chose; Lost when it is none we speak."""
    chosen = result.get("protocolVersion")
    if chosen not in VERSIONS:
        raise Lost(f"it speaks a version of the protocol that Copilot does not ({ascii(chosen)[:40]})", sent=False)
    return str(chosen)


def encoded(message: Mapping[str, Any]) -> bytes:
    """One line of JSON."""
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def decoded(line: bytes | str) -> list[Message]:
    """The messages of one line: usually one, a batch in the older versions, none when it is no JSON-RPC. No secret comes back in it."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    try:
        found = ownsecrets.without_in(json.loads(text))
    except (ValueError, RecursionError):
        return []
    return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]


def is_answer(message: Message) -> bool:
    """Whether this answers a request of ours."""
    return "id" in message and "method" not in message


def reply(message: Message) -> Message | None:
    """What we say to something the server wants of us: that we are alive, or that it is not offered; None needs no answer."""
    if "method" not in message or "id" not in message:
        return None
    if message["method"] == "ping":
        return {"jsonrpc": "2.0", "id": message["id"], "result": {}}
    return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "Copilot does not offer this."}}


def result(message: Message) -> Message:
    """The result an answer holds; Said when it is an error, Lost when it is neither."""
    error = message.get("error")
    if isinstance(error, dict):
        code = error.get("code")
        raise Said(
            code if isinstance(code, int) else 0, plainschema.cleaned(str(error.get("message") or "The server gave no reason."), TEXT)
        )
    found = message.get("result")
    if not isinstance(found, dict):
        raise Lost("its answer was no result", sent=True)
    return found
