"""The channels an outbox message leaves by: Slack's incoming webhook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

_TIMEOUT = 5
_LONGEST_ANSWER = 2_000
_LONGEST_PAUSE = 3_600.0
_HOPELESS = frozenset({400, 401, 403, 404, 410})  # Slack: bad message, revoked or unknown webhook, archived channel


class Undelivered(Exception):
    """The channel did not take the message. `final`: repeating it cannot help; `retry_after`: seconds the channel asked for."""

    def __init__(self, message: str, *, final: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.final = final
        self.retry_after = retry_after


class Answer(Protocol):
    """What this room needs to know of an answer."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in lower case."""


_post: Callable[..., Answer] | None = None


def install_door(post: Callable[..., Answer]) -> None:
    """Tell this room, which stands below the gateway, how one request goes outside: `gateway.outbound.request`."""
    global _post
    _post = post


def slack(url: str, message: Mapping[str, Any]) -> None:
    """Post one message (`text`, `blocks`) to a webhook, or raise Undelivered. No redirect is followed, 5 seconds in all.

    The error's words never hold the address: whoever knows it can post.
    """
    if _post is None:
        raise RuntimeError("no application was created in this process")
    try:
        answer = _post("POST", url, json=dict(message), purpose="slack", timeout=_TIMEOUT, limit=_LONGEST_ANSWER, allow=url)
    except Exception as error:
        if getattr(error, "late", False):
            raise Undelivered(f"Slack did not answer within {_TIMEOUT} seconds") from error
        raise Undelivered("Slack could not be reached") from error
    if answer.status == 200:
        return
    raise Undelivered(
        f"Slack answered {answer.status}",
        final=answer.status in _HOPELESS or 300 <= answer.status < 400,
        retry_after=_pause(answer.headers.get("retry-after")),
    )


def _pause(header: str | None) -> float:
    """The seconds of a Retry-After header; its date form, nonsense and nothing all mean our own back-off."""
    if header is None or not header.strip().isascii() or not header.strip().isdigit():
        return 0.0
    return min(float(header.strip()[:9]), _LONGEST_PAUSE)
