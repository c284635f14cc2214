"""OAuth 2 client credentials: an access token per tool with the least scope it needs, kept in memory until shortly before it ends."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from copilot.audit import ownsecrets
from copilot.errors import SetupError
from copilot.gateway import outbound, secrets
from copilot.toolkit import ToolError

_EARLY = 30.0  # seconds before its end at which a token is no longer begun with
_USUAL_LIFE = 300
_LONGEST_TOKEN = 7_900  # what still fits a header


@dataclass(frozen=True, slots=True)
class Client:
    """How to ask for a token: `post` sends the credentials in the form, otherwise they go as Basic authorization."""

    token_url: str
    client_id: str
    secret: str  # a reference
    audience: str | None = None
    post: bool = False


class Tokens:
    """The tokens of one client for one set of scopes; safe to share between threads, one fetch at a time."""

    def __init__(self, client: Client, scopes: tuple[str, ...], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._scopes, self._clock = client, scopes, clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._until = 0.0

    def current(self, *, seconds: float) -> str:
        """A token that is good for a while; ToolError that says nothing happened when there is none within so many seconds."""
        if not self._lock.acquire(timeout=seconds):
            raise ToolError("No access token could be had in time, so nothing happened.", happened=False)
        try:
            if self._token is None or self._clock() >= self._until:
                self._fetch(seconds)
            assert self._token is not None
            return self._token
        finally:
            self._lock.release()

    def drop(self, token: str) -> None:
        """The service no longer takes this one: the next call fetches another."""
        with self._lock:
            if self._token == token:
                self._forget()

    def _forget(self) -> None:
        if self._token is not None:
            ownsecrets.unprotect(self._token)
        self._token = None

    def _fetch(self, seconds: float) -> None:
        asked = self._clock()
        self._forget()
        form = {"grant_type": "client_credentials"}
        if self._scopes:
            form["scope"] = " ".join(self._scopes)
        if self._client.audience:
            form["audience"] = self._client.audience
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        try:
            value = secrets.resolve(self._client.secret).reveal()
        except SetupError as error:
            raise ToolError(f"No access token could be had, so nothing happened. {error}", happened=False) from error
        if self._client.post:
            form |= {"client_id": self._client.client_id, "client_secret": value}
        else:
            headers["authorization"] = basic(self._client.client_id, value)
        try:
            answer = outbound.request(
                "POST",
                self._client.token_url,
                purpose="oauth",
                headers=headers,
                content=urlencode(form).encode(),
                timeout=seconds,
                limit=64_000,
            )
            given = answer.json() if answer.status == 200 else None
        except (outbound.NotSent, outbound.Broken, ValueError, RecursionError) as error:
            raise ToolError(f"No access token could be had, so nothing happened. {_why(error)}".strip(), happened=False) from error
        token = given.get("access_token") if isinstance(given, dict) else None
        if not isinstance(token, str) or not 0 < len(token) <= _LONGEST_TOKEN or not token.isascii() or not token.isprintable():
            raise ToolError(f"The token service gave no access token (status {answer.status}), so nothing happened.", happened=False)
        life = given.get("expires_in", _USUAL_LIFE) if isinstance(given, dict) else _USUAL_LIFE
        life = life if isinstance(life, int | float) and not isinstance(life, bool) and life > 0 else _USUAL_LIFE
        ownsecrets.protect(token)
        self._token, self._until = token, asked + max(life - _EARLY, life / 2)


def basic(user: str, password: str) -> str:
    """The Basic authorization of RFC 6749: both parts form-encoded first; it is protected like the secret in it."""
    packed = base64.b64encode(f"{quote(user, safe='')}:{quote(password, safe='')}".encode()).decode()
    ownsecrets.protect(packed)
    return f"Basic {packed}"


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, outbound.NotSent | outbound.Broken) else "Its answer was no JSON."
