"""One MCP server as this process talks to it: the present list of its tools, and a call with what is known about its effect."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from copilot.gateway import plainschema
from copilot.gateway.mcpwire import TEXT, Lost, Said, Wire
from copilot.toolkit import Arguments, Call, ToolError, ToolRefused

FRESH = 60.0  # seconds for which a list of tools counts as the server's present one

_MOST_PAGES = 20

Offered = Mapping[str, Mapping[str, Any]]


class Server:
    """A server's connection and the list of its tools as last seen; safe to share between threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tools: dict[str, str] = {}  # our name -> theirs
        self._wire: Wire | None = None
        self._lock = threading.Lock()
        self._offered: Offered = {}
        self._until = 0.0

    def connect(self, wire: Wire) -> None:
        """Use this connection; it may call `changed`."""
        self._wire = wire

    @property
    def wire(self) -> Wire:
        """The connection."""
        assert self._wire is not None
        return self._wire

    def changed(self) -> None:
        """The server said that its list is another by now."""
        self._until = 0.0

    def offered(self, *, seconds: float) -> Offered:
        """What it offers now by its own names, fetched when the last list is older than FRESH; raises Lost or Said."""
        until = time.monotonic() + seconds
        if not self._lock.acquire(timeout=seconds):
            raise Lost("it was still being asked for its tools when the time was over", sent=False)
        try:
            if time.monotonic() >= self._until:
                self._until = time.monotonic() + FRESH  # set first: a notice that comes meanwhile makes this list old again
                self._offered = {}
                self._offered = _listed(self.wire, until)
            return self._offered
        except BaseException:
            self._until = 0.0
            raise
        finally:
            self._lock.release()

    def call(self, theirs: str, arguments: Arguments, *, call: Call, writes: bool, harmless_errors: bool, structured: bool) -> Any:
        """Run one of its tools and give its answer as plain JSON; ToolRefused and ToolError say what is known otherwise.

        `structured` is whether it declared what its answer looks like. A write carries the idempotency key and the one-use
        token beside its arguments, for a server that wants to look at them.
        """
        params: dict[str, Any] = {"name": theirs, "arguments": arguments}
        if writes:
            params["_meta"] = {"copilot/idempotency-key": call.idempotency_key, "copilot/token": call.token}
        left = call.seconds_left(datetime.now(UTC))
        if left <= 0:  # nobody waits for it any more, and what they were told must stay true
            raise ToolError(f"The time was over before the server {self.name} could be called.", happened=False if writes else None)
        try:
            answer = self.wire.ask("tools/call", params, seconds=left)
        except Lost as error:
            happened = False if writes and not error.sent else None
            raise ToolError(f"The server {self.name} gave no answer: {error}.", happened=happened) from error
        except Said as error:
            if error.ran:
                raise ToolError(f"The server {self.name} answered with an error: {error}") from error
            raise ToolRefused(f"The server {self.name} did not take the call: {error}") from error
        if answer.get("isError") is True:
            said = plainschema.cleaned(_text(answer), TEXT) or "It gave no reason."
            if writes and not harmless_errors:
                raise ToolError(f"The tool reported an error, and its server does not say whether anything happened: {said}")
            raise ToolRefused(said)
        if "structuredContent" not in answer and not isinstance(answer.get("content"), list):
            raise ToolError(f"The server {self.name} gave an answer that is no result.")  # it wants something of us that we do not offer
        if structured and answer.get("structuredContent") is None:
            raise ToolError("The tool's answer does not fit its declared schema.", happened=True)
        return _plain(answer)


def _listed(wire: Wire, until: float) -> Offered:
    found: dict[str, Mapping[str, Any]] = {}
    cursor: dict[str, Any] = {}
    for _ in range(_MOST_PAGES):
        page = wire.ask("tools/list", cursor, seconds=max(0.0, until - time.monotonic()))
        tools = page.get("tools")
        for tool in tools if isinstance(tools, list) else []:
            if isinstance(tool, dict):
                found.setdefault(str(tool.get("name")), tool)  # the first of two with one name, whatever the order of the next page
        if not isinstance(page.get("nextCursor"), str):
            break
        cursor = {"cursor": page["nextCursor"]}
    return found


def _plain(answer: Mapping[str, Any]) -> Any:
    """The structured answer, else its text; whatever else there is (pictures, links) is named and left out."""
    if answer.get("structuredContent") is not None:
        return answer["structuredContent"]
    found: dict[str, Any] = {"text": _text(answer)}
    blocks = [block for block in answer.get("content") or [] if isinstance(block, dict)]
    left_out = sorted({str(block.get("type"))[:40] for block in blocks if block.get("type") != "text"})
    return found | ({"left_out": left_out} if left_out else {})


def _text(answer: Mapping[str, Any]) -> str:
    blocks = answer.get("content")
    texts = [block.get("text") for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    return "\n".join(text for text in texts if isinstance(text, str))
