"""One pooled, keep-alive connection to the shop, and the honest translation of what went wrong on it.

A 4xx is a refusal: nothing happened. A connection that never opened: nothing happened. Everything else (a time-out, a
reset, a 5xx, an answer that is no JSON) leaves the question open, and is said to.
"""

from __future__ import annotations

import atexit
import os
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx2

from copilot.toolkit import Call, ToolError, ToolRefused

_NEVER_LEFT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
_LIMITS = httpx2.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=30)

_lock = threading.Lock()
_clients: dict[tuple[int, str], httpx2.Client] = {}


def path(*parts: str) -> str:
    """A path whose parts cannot break out of their place, whatever text they hold."""
    if any(part in ("", ".", "..") for part in parts):
        raise ToolRefused("There is no such thing in this shop.")
    return "".join("/" + quote(part, safe="", errors="replace") for part in parts)


def get(where: str, call: Call, **query: str) -> Any:
    """Ask the shop something; the parsed JSON answer."""
    return _send("GET", where, call, query=query)


def post(where: str, call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """Have the shop do something under the call's idempotency key; its answer, which always has an `id`."""
    headers = {"Idempotency-Key": call.idempotency_key}
    if call.token is not None:  # the proof that exactly this was approved; the shop checks it
        headers["Authorization"] = f"Bearer {call.token}"
    if call.ticket_id is not None:
        headers["X-Ticket"] = call.ticket_id
    answer = _send("POST", where, call, body=body, headers=headers)
    if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
        raise ToolError("The shop's answer makes no sense.")
    return answer


def _send(
    method: str, where: str, call: Call, *, query: dict[str, str] | None = None, body: Any = None, headers: dict[str, str] | None = None
) -> Any:
    seconds = call.seconds_left(datetime.now(UTC))
    if seconds <= 0:
        raise ToolError("There was no time left to call the shop.", happened=False)
    try:
        response = _client().request(method, where, params=query or None, json=body, headers=headers, timeout=seconds)
    except (*_NEVER_LEFT, httpx2.InvalidURL, UnicodeError) as error:
        raise ToolError(f"The shop cannot be reached ({type(error).__name__}).", happened=False) from error
    except (httpx2.HTTPError, OSError) as error:
        raise ToolError(f"The line to the shop broke ({type(error).__name__}).") from error
    try:
        answer = response.json()
    except ValueError as error:
        raise ToolError(f"The shop answered {response.status_code} with something unreadable.") from error
    if response.is_success:
        return answer
    said = answer.get("detail") if isinstance(answer, dict) else None
    if response.is_client_error and response.status_code != httpx2.codes.REQUEST_TIMEOUT:
        raise ToolRefused(str(said or f"The shop refused ({response.status_code})."))
    raise ToolError(f"The shop answered {response.status_code}.")


def close() -> None:
    """Give every connection back; the next call opens its own."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


atexit.register(close)


def _client() -> httpx2.Client:
    url = os.environ.get("COPILOT_SHOP_URL", "")
    if not url:
        raise ToolError("COPILOT_SHOP_URL is not set, so there is no shop to call.", happened=False)
    here = (os.getpid(), url)  # a connection must not be shared with a forked child
    with _lock:
        if here not in _clients:
            _clients[here] = httpx2.Client(base_url=url, limits=_LIMITS, trust_env=False)
        return _clients[here]
