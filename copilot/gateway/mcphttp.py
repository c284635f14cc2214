"""An MCP server elsewhere (streamable HTTP): each message is one guarded request, its answer JSON or a stream of events."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from copilot.errors import SetupError
from copilot.gateway import mcpwire, outbound
from copilot.gateway.mcpwire import Lost, Message

_SESSION = re.compile(r"[!-~]{1,256}\Z")
_NOT_TAKEN = {
    400: "it could not read the message",
    401: "it does not accept our credentials",
    403: "it does not accept our credentials",
    404: "there is no MCP server at this address",
    405: "there is no MCP server at this address",
    406: "it does not speak the protocol as Copilot does",
    413: "it does not take so long a message",
    415: "it does not speak the protocol as Copilot does",
    429: "it asks for fewer calls",
}  # statuses that prove that nothing ran, since they are given before a message is looked at; no other does


class Http:
    """The connection to one address; safe to share between threads. `changed` hears that its list of tools did."""

    def __init__(self, name: str, url: str, headers: Callable[[], Mapping[str, str]], *, changed: Callable[[], None]) -> None:
        self._name = name
        self._url = url
        self._headers = headers
        self._changed = changed
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._version: str | None = None  # None: we have not greeted yet

    def ask(self, method: str, params: Message, *, seconds: float) -> Message:
        """Send one request; a session the server no longer knows is begun anew, once, for then it ran nothing."""
        until = time.monotonic() + seconds
        session = self._greeted(until)
        try:
            return self._ask(method, params, until)
        except _Forgotten:
            with self._lock:
                if self._session == session:
                    self._version = None
            self._greeted(until)
            return self._ask(method, params, until)

    def close(self) -> None:
        """Forget the session; the server ends it by itself."""
        with self._lock:
            self._session = self._version = None

    def _greeted(self, until: float) -> str | None:
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Lost("it was still greeting when the time was over", sent=False)
        try:
            if self._version is None:
                self._session = None
                try:
                    self._version = mcpwire.agreed(self._ask("initialize", mcpwire.greeting(), until))
                    self._post(mcpwire.notification("notifications/initialized"), until)
                except (Lost, mcpwire.Said) as error:
                    self._version = None
                    raise Lost(str(error), sent=False) from error
            return self._session
        finally:
            self._lock.release()

    def _ask(self, method: str, params: Message, until: float) -> Message:
        number = next(self._numbers)
        answer = self._post(mcpwire.request(number, method, params), until)
        if method == "initialize":
            self._session = _session(answer)
        for message in _messages(answer):
            if mcpwire.is_answer(message):
                if message["id"] == number:
                    return mcpwire.result(message)
            elif message.get("method") == mcpwire.LIST_CHANGED:
                self._changed()
            elif (reply := mcpwire.reply(message)) is not None:
                with suppress(Lost):  # that this did not arrive says nothing of our own question, which did
                    self._post(reply, until)
        raise Lost("its answer was none to our question", sent=True)

    def _post(self, message: Message, until: float) -> outbound.Answer:
        left = until - time.monotonic()
        if left <= 0:
            raise Lost("the time was over", sent=False)
        headers = self._proof() | {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        if self._session:
            headers["mcp-session-id"] = self._session
        if self._version:
            headers["mcp-protocol-version"] = self._version
        content = mcpwire.encoded(message)
        try:
            answer = outbound.request(
                "POST", self._url, purpose=f"mcp:{self._name}", headers=headers, content=content, timeout=left, limit=mcpwire.MESSAGE_BYTES
            )
        except ValueError as error:
            raise Lost("its headers cannot be written as HTTP", sent=False) from error
        except outbound.NotSent as error:
            raise Lost(str(error), sent=False) from error
        except outbound.Broken as error:
            raise Lost(str(error), sent=True) from error
        if answer.status == 404 and self._session:
            raise _Forgotten("it no longer knows our session", sent=False)
        if answer.status == 400 and self._session:
            self._version = None  # some servers say so of a session they forgot; the next call greets anew
        if answer.status in _NOT_TAKEN:
            raise Lost(f"{_NOT_TAKEN[answer.status]} (status {answer.status})", sent=False)
        if answer.status >= 300:
            raise Lost(f"it answered with status {answer.status}", sent=True)
        return answer

    def _proof(self) -> dict[str, str]:
        try:
            return dict(self._headers())
        except SetupError as error:
            raise mcpwire.without_secret(error) from error


def _session(answer: outbound.Answer) -> str | None:
    """The session the server began, if it keeps any; Lost when its name is none that a header can carry back."""
    given = answer.headers.get("mcp-session-id")
    if given is not None and not _SESSION.match(given):
        raise Lost("it began a session with an unusable name", sent=False)
    return given


class _Forgotten(Lost):
    """The server ended the session since; it did not look at the message."""


def _messages(answer: outbound.Answer) -> Iterator[Message]:
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/event-stream":
        yield from mcpwire.decoded(answer.content)
        return
    data: list[str] = []
    for line in [*answer.content.decode("utf-8", "replace").splitlines(), ""]:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield from mcpwire.decoded("\n".join(data))
            data = []
