"""One request on its way outside: what is checked before it leaves, measured while it comes back, and recorded afterwards."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2

from copilot import config
from copilot.gateway import addresses, outlog

Resolve = Callable[[str, int], list[str]]

FOREVER = float("inf")
_MOST_ADDRESSES = 8


class Forbidden(httpx2.ConnectError):
    """No connection was made: the address is not one we may call. `code` says why, for the record."""

    def __init__(self, code: str, host: str) -> None:
        super().__init__(f"{host}: {code}")
        self.code = code
        self.host = host


class TooLong(httpx2.TransportError):
    """The answer outgrew its limit, as sent or unpacked."""


@dataclass(frozen=True, slots=True)
class Way:
    """How one client may go outside: for whom, to which private place besides the listed ones, and within which bounds."""

    purpose: str
    allow: addresses.Listed
    limit: int
    total: float | None


@dataclass(slots=True)
class Trip:
    """One request; `until` is by `time.monotonic`."""

    way: Way
    method: str
    host: str
    port: int
    started: float
    until: float
    status: int | None = None
    refused: str | None = None
    received: int = 0
    unpacked: int = 0
    _unpack: zlib._Decompress | None = None
    _recorded: bool = field(default=False)

    def judged(self, resolve: Resolve) -> list[addresses.Address]:
        """Every address of the host, resolved once; Forbidden when a single one of them may not be called."""
        literal = addresses.as_address(addresses.plain(self.host))
        found = [literal] if literal is not None else self._resolved(resolve)
        lists = (addresses.parse(config.current().outbound_allow), self.way.allow)
        for address in found:
            code = addresses.refusal(address, host=self.host, port=self.port, lists=lists)
            if code is not None:
                raise self._no(code)
        return found

    def _resolved(self, resolve: Resolve) -> list[addresses.Address]:
        answers: list[list[str]] = []

        def ask() -> None:
            try:
                answers.append(resolve(self.host, self.port))
            except (OSError, UnicodeError):
                answers.append([])

        asking = threading.Thread(target=ask, daemon=True, name="resolve")  # getaddrinfo knows no time-out
        asking.start()
        asking.join(None if self.until == FOREVER else max(0.0, self.until - time.monotonic()))
        found = [addresses.as_address(text) for text in (answers[0] if answers else [])[:_MOST_ADDRESSES]]
        if not found:
            raise self._no("name-not-resolved")
        if None in found:  # an address with a zone belongs to one network card
            raise self._no("link-local-address")
        return [address for address in found if address is not None]

    def checked(self, url: httpx2.URL) -> None:
        """Forbidden for what is no plain web address."""
        if url.scheme not in ("http", "https"):
            raise self._no("not-http")
        if url.userinfo:
            raise self._no("credentials-in-address")
        if not self.host:
            raise self._no("no-host")

    def answered(self, status: int, headers: httpx2.Headers) -> httpx2.Headers:
        """Take the status; gives the headers without the packing that `measured` undoes. DecodingError for one we do not know."""
        self.status = status
        packing = headers.get("content-encoding", "identity").strip().lower()
        if packing in ("", "identity"):
            return headers
        if packing not in ("gzip", "x-gzip", "deflate"):
            raise httpx2.DecodingError("the answer is packed in a way that was not asked for")
        self._unpack = zlib.decompressobj(wbits=47)  # gzip or zlib, by its first bytes
        return httpx2.Headers(
            [(name, value) for name, value in headers.multi_items() if name not in ("content-encoding", "content-length")]
        )

    def measured(self, chunk: bytes) -> Iterator[bytes]:
        """The chunk, unpacked; TooLong before more than the limit was taken in."""
        self.received += len(chunk)
        if self._unpack is not None:
            try:
                chunk = self._unpack.decompress(chunk, self.way.limit + 1 - self.unpacked)
            except zlib.error as error:
                raise httpx2.DecodingError("the answer cannot be unpacked") from error
        self.unpacked += len(chunk)
        if self.unpacked > self.way.limit:
            self.refused = "answer-too-long"
            raise TooLong("the answer is too long")
        if time.monotonic() > self.until:
            raise httpx2.ReadTimeout("the time is over")
        if chunk:
            yield chunk

    def over(self) -> None:
        """Record it, once, whatever became of it."""
        if self._recorded:
            return
        self._recorded = True
        outlog.note(
            outlog.Called(
                at=datetime.now(UTC),
                purpose=self.way.purpose[:130],
                method=self.method[:8],
                host=f"{self.host}:{self.port}"[:260],
                status=self.status,
                refused=self.refused,
                bytes=self.received,
                milliseconds=int((time.monotonic() - self.started) * 1000),
            )
        )

    def _no(self, code: str) -> Forbidden:
        self.refused = code
        return Forbidden(code, self.host)


def begin(request: httpx2.Request, way: Way) -> Trip:
    """Start the clock. The whole trip may take as long as the request's read time-out, where it has one."""
    started = time.monotonic()
    read = request.extensions.get("timeout", {}).get("read")
    total = way.total if way.total is not None else read
    url = request.url
    host = url.raw_host.decode("ascii", "replace").strip("[]")
    port = url.port or (443 if url.scheme == "https" else 80)
    return Trip(way, request.method, host, port, started, FOREVER if total is None else started + total)
