"""The channels an outbox message leaves by: Slack's incoming webhook."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib import request

from slack_sdk.webhook import WebhookClient, WebhookResponse

_TIMEOUT = 5
_LONGEST_ANSWER = 2_000
_LONGEST_PAUSE = 3_600.0
_HOPELESS = frozenset({400, 401, 403, 404, 410})  # Slack: bad message, revoked or unknown webhook, archived channel

_quiet = logging.getLogger("copilot.notify.slack")
_quiet.setLevel(logging.CRITICAL)  # the SDK would log the webhook's address, which is a secret, and the body


class Undelivered(Exception):
    """The channel did not take the message. `final`: repeating it cannot help; `retry_after`: seconds the channel asked for."""

    def __init__(self, message: str, *, final: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.final = final
        self.retry_after = retry_after


def slack(url: str, message: Mapping[str, Any]) -> None:
    """Post one message (`text`, `blocks`) to a webhook, or raise Undelivered. No redirect is followed, 5 seconds a step.

    The error's words never hold the address: whoever knows it can post.
    """
    try:
        answer = _Webhook(url, timeout=_TIMEOUT, logger=_quiet, retry_handlers=[]).send_dict(dict(message))
    except TimeoutError as error:
        raise Undelivered(f"Slack did not answer within {_TIMEOUT} seconds") from error
    except (OSError, HTTPException, ValueError) as error:
        raise Undelivered(f"Slack could not be reached ({type(error).__name__})") from error
    if answer.status_code == 200:
        return
    raise Undelivered(
        f"Slack answered {answer.status_code}",
        final=answer.status_code in _HOPELESS or 300 <= answer.status_code < 400,
        retry_after=_pause(answer.headers.get("retry-after")),
    )


class _Webhook(WebhookClient):
    """The SDK's client without what urllib adds by itself: it follows no redirect and raises on no status."""

    def _perform_http_request_internal(self, url: str, req: request.Request) -> WebhookResponse:
        opener = request.OpenerDirector()
        for handler in (request.ProxyHandler(), request.HTTPHandler(), request.HTTPSHandler(context=self.ssl)):
            opener.add_handler(handler)
        with opener.open(req, timeout=self.timeout) as answer:
            body = answer.read(_LONGEST_ANSWER).decode("utf-8", "replace")
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return WebhookResponse(url=url, status_code=answer.status, body=body, headers=headers)


def _pause(header: str | None) -> float:
    """The seconds of a Retry-After header; its date form, nonsense and nothing all mean our own back-off."""
    if header is None or not header.strip().isascii() or not header.strip().isdigit():
        return 0.0
    return min(float(header.strip()[:9]), _LONGEST_PAUSE)
