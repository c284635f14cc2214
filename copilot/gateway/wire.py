"""Network streams that connect to the addresses that were judged and to no other, and end when the whole time is over.

httpcore asks a backend for a connection by name; ours has the addresses already. A read time-out alone starts anew with
every byte, so each operation gets at most what is left of the total.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore2

from copilot.gateway.addresses import Address

_Option = Any  # httpcore's SOCKET_OPTION, which it does not export


def left(until: float, timeout: float | None, *, late: type[httpcore2.TimeoutException]) -> float | None:
    """The seconds an operation may take: its own time-out, but no more than what is left until `until`."""
    if until == float("inf"):
        return timeout
    remaining = until - time.monotonic()
    if remaining <= 0:
        raise late("the time is over")
    return remaining if timeout is None else min(timeout, remaining)


class Backend(httpcore2.NetworkBackend):
    """Connects to the first of these addresses that answers, whatever name it is asked for."""

    def __init__(self, addresses: Sequence[Address], until: float) -> None:
        self._addresses, self._until = addresses, until
        self._real = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - httpcore's signature; the name was resolved and judged before
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_Option] | None = None,
    ) -> httpcore2.NetworkStream:
        """One connection; ConnectError when no address takes it."""
        failure: Exception = httpcore2.ConnectError("no address")
        for address in self._addresses:
            seconds = left(self._until, timeout, late=httpcore2.ConnectTimeout)
            try:
                stream = self._real.connect_tcp(str(address), port, seconds, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
                continue
            return Stream(stream, self._until)
        raise failure


class Stream(httpcore2.NetworkStream):
    """A connection whose every operation ends by `until`."""

    def __init__(self, stream: httpcore2.NetworkStream, until: float) -> None:
        self._stream, self._until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes."""
        return self._stream.read(max_bytes, left(self._until, timeout, late=httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All bytes."""
        self._stream.write(buffer, left(self._until, timeout, late=httpcore2.WriteTimeout))

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """The same connection encrypted; the certificate is checked against the name, not the address."""
        seconds = left(self._until, timeout, late=httpcore2.ConnectTimeout)
        return Stream(self._stream.start_tls(ssl_context, server_hostname, seconds), self._until)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore wants to know about the socket."""
        return self._stream.get_extra_info(info)
