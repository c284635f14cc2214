"""The one door for HTTP to the outside: tools, the model, Slack, OAuth and MCP servers all go through it.

Each request resolves its host once and connects to exactly what was judged, over a connection of its own: a name that
answers differently the second time (DNS rebinding) gains nothing. Private, loopback, link-local and other special
addresses are refused unless listed; no redirect is followed, no proxy of the environment is used, nothing is tried
twice. Size and total time are bounded, packed answers by their unpacked size. Every request is recorded (`outlog`).
"""

from __future__ import annotations

import functools
import json as jsons
import logging
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore2
import httpx2

from copilot.gateway import addresses, trips, wire
from copilot.gateway.trips import Trip, Way

Forbidden = trips.Forbidden  # what a library over `client` sees of a refusal
TooLong = trips.TooLong

LIMIT = 2_000_000  # bytes of an answer
TIMEOUT = 30.0

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_VALUE = re.compile(r"[\t\x20-\x7e]{0,8000}\Z")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "proxy-authorization", "te", "upgrade"})

for _name in ("httpx2", "httpcore2", "openai"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # below that they log addresses with their queries, headers and prompts


class NotSent(Exception):
    """Nothing left this machine: forbidden, not resolved or not connected. `code` for the record, the text a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Broken(Exception):
    """The request may have arrived, and there is no whole answer. `status` is the answer's, where it began; the text a sentence."""

    def __init__(self, sentence: str, *, status: int | None = None, late: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.late = late


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are lower case. A redirect is an answer like any other: nobody follows it."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as JSON; ValueError when it is none."""
        return jsons.loads(self.content)


def request(
    method: str,
    url: str,
    *,
    purpose: str,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    json: Any = None,
    timeout: float = TIMEOUT,
    limit: int = LIMIT,
    allow: str | None = None,
) -> Answer:
    """One request and its whole answer within `timeout` seconds in all; NotSent or Broken otherwise.

    `allow` is an address from the settings whose own host and port may be private. A header that could carry a line
    break or stand in for one of the connection's own is a ValueError.
    """
    sent = _headers(headers or {})
    if json is not None:
        content = jsons.dumps(json, ensure_ascii=False, allow_nan=False).encode()
        sent.setdefault("content-type", "application/json")
    way = Way(purpose, addresses.origin_of(allow), limit, timeout)
    with _client(way, timeout) as made:
        try:
            given = made.request(method, url, headers=sent, content=content)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise NotSent("not-http", "The address is not a web address, so nothing was sent.") from error
        except Forbidden as error:
            raise NotSent(error.code, sentence(error)) from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            host = httpx2.URL(url).host
            raise NotSent("not-connected", f"{host} could not be reached, so nothing was sent.") from error
        except TooLong as error:
            raise Broken(f"The answer is longer than {limit:,} bytes and was not taken.", status=_status(error)) from error
        except httpx2.TimeoutException as error:
            raise Broken(f"There was no whole answer within {timeout:.0f} seconds.", status=_status(error), late=True) from error
        except httpx2.DecodingError as error:
            raise Broken("The answer is packed in a way that cannot be undone.", status=_status(error)) from error
        except httpx2.HTTPError as error:
            raise Broken("The connection broke before there was a whole answer.", status=_status(error)) from error
    return Answer(given.status_code, {name.lower(): value for name, value in given.headers.items()}, given.content)


def client(*, purpose: str, allow: str | None = None, limit: int = LIMIT, timeout: float = TIMEOUT) -> httpx2.Client:
    """A guarded client for a library that wants its own. A request's read time-out bounds the whole of it.

    A refused address surfaces as `Forbidden`, which is an `httpx2.ConnectError`; an endless answer as `TooLong`.
    """
    return _client(Way(purpose, addresses.origin_of(allow), limit, None), timeout)


def sentence(error: Forbidden) -> str:
    """Why a request was not made, for people."""
    if error.code == "name-not-resolved":
        return f"There is no address for {error.host}, so nothing was sent."
    if error.code == "credentials-in-address":
        return "The address carries a user name or password, so nothing was sent. Give the credentials as a secret reference."
    if error.code in ("not-http", "no-host"):
        return "The address is not a web address, so nothing was sent."
    kind = error.code.removesuffix("-address").replace("-", " ")
    return f"{error.host} leads to a {kind} address that is not listed for outbound calls, so nothing was sent. An admin can list it."


def resolve(host: str, port: int) -> list[str]:
    """Every address of a host as text; OSError when it has none. Tests put a resolver of their own here."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _client(way: Way, timeout: float) -> httpx2.Client:
    return httpx2.Client(
        transport=_Transport(way), follow_redirects=False, timeout=timeout, trust_env=False, headers={"accept-encoding": "identity"}
    )


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if not _TOKEN.match(name) or not _VALUE.match(value) or name.lower() in _OURS:
            raise ValueError(f"the header {name[:40]!r} cannot be sent")
    return {"accept-encoding": "identity"} | {name.lower(): value for name, value in given.items()}


def _status(error: Exception) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


@functools.lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpcore2.default_ssl_context()  # the machine's authorities, or those of SSL_CERT_FILE


@contextmanager
def _on(trip: Trip) -> Iterator[None]:
    """Errors of the wire as httpx names them, with the status if there was one; the trip is recorded when it fails."""
    try:
        yield
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        trip.over()
        known: httpx2.TransportError = getattr(httpx2, type(error).__name__)(str(error))
        known.status = trip.status  # type: ignore[attr-defined]  # read again by `_status`
        raise known from error
    except BaseException as error:
        trip.over()
        if isinstance(error, httpx2.RequestError):
            error.status = trip.status  # type: ignore[attr-defined]  # read again by `_status`
        raise


def _core(asked: httpx2.Request) -> httpcore2.Request:
    url = asked.url
    return httpcore2.Request(
        method=asked.method,
        url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=asked.headers.raw,
        content=asked.stream,
        extensions={key: value for key, value in asked.extensions.items() if key == "timeout"},  # none that moves host or name
    )


class _Transport(httpx2.BaseTransport):
    """A connection per request, to the address that was judged."""

    def __init__(self, way: Way) -> None:
        self._way = way

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        trip = trips.begin(request, self._way)
        with _on(trip):
            trip.checked(request.url)
            backend = wire.Backend(trip.judged(resolve), trip.until)
            pool = httpcore2.ConnectionPool(ssl_context=_tls(), max_connections=1, retries=0, http2=False, network_backend=backend)
            try:
                given = pool.handle_request(_core(request))
                headers = trip.answered(given.status, httpx2.Headers(given.headers))
            except BaseException:
                pool.close()
                raise
        return httpx2.Response(given.status, headers=headers, stream=_Body(given, pool, trip))


class _Body(httpx2.SyncByteStream):
    def __init__(self, given: httpcore2.Response, pool: httpcore2.ConnectionPool, trip: Trip) -> None:
        self._given, self._pool, self._trip = given, pool, trip

    def __iter__(self) -> Iterator[bytes]:
        with _on(self._trip):
            for chunk in self._given.iter_stream():
                yield from self._trip.measured(chunk)

    def close(self) -> None:
        self._given.close()
        self._pool.close()
        self._trip.over()
