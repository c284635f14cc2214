"""The typed client: one connection pool, one identity, a method for each call of the REST API, and one exception."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

Json = dict[str, Any]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_PASSING = frozenset({502, 503, 504})  # answers that say "not now", not "no"
_EARLY = 30.0  # seconds before its end at which an access token is renewed


class ApiError(Exception):
    """The API said no. `problems` maps a field to its sentence; `code` is the machine-readable kind.

    Where a rule of the gate said no, `rule` is its name and `next_step` what could be done instead.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        problems: Mapping[str, str] | None = None,
        code: str = "",
        rule: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.problems = dict(problems or {})
        self.code = code
        self.rule = rule
        self.next_step = next_step


class Unreachable(ApiError):
    """No answer came (`status` is 0). For a request that is not repeatable nobody can tell whether it was done."""

    def __init__(self, detail: str) -> None:
        super().__init__(0, "Copilot could not be reached", detail, code="unreachable")


class Client:
    """One connection pool and one identity; safe to share between threads.

    A request that may be repeated without harm is repeated up to `retries` times when the connection fails or the
    answer is 502, 503 or 504; any other request only when the connection was never made.
    """

    def __init__(
        self,
        base_url: str,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        scope: str | None = None,
        token: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
    ) -> None:
        if (token is None) == (client_id is None or client_secret is None):
            raise ValueError("give either a person's token or client_id with client_secret")
        root = httpx2.URL(base_url.rstrip("/"))
        # A proxy from the environment cannot reach this machine's own loopback, so it is asked only for other hosts.
        self._http = httpx2.Client(base_url=f"{root}/api/v1/", timeout=timeout, trust_env=root.host not in _LOOPBACK)
        self._credentials = (client_id or "", client_secret or "")
        self._scope = scope
        self._personal = token
        self._access = ""
        self._access_until = 0.0
        self._lock = threading.Lock()
        self._timeout = timeout
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    # tickets

    def create_ticket(
        self,
        *,
        external_id: str,
        subject: str,
        body: str,
        customer: Mapping[str, str],
        region: str = "",
        channel: str = "api",
        metadata: Mapping[str, Any] | None = None,
    ) -> Json:
        """Hand in a ticket, once per `external_id`; `created` tells whether this call was the first."""
        content = {
            "external_id": external_id, "subject": subject, "body": body, "customer": dict(customer),
            "region": region, "channel": channel, "metadata": dict(metadata or {}),
        }  # fmt: skip
        return self._call("POST", "tickets", json=content, repeatable=True)

    def add_message(self, ticket_external_id: str, *, external_id: str, author: str, body: str, at: datetime | str | None = None) -> Json:
        """Add a message to a ticket, once per `external_id`; without `at` it was said just now."""
        content: Json = {"external_id": external_id, "author": author, "body": body}
        if at is not None:
            content["at"] = at.isoformat() if isinstance(at, datetime) else at
        return self._call("POST", f"tickets/{_part(ticket_external_id)}/messages", json=content, repeatable=True)

    def set_status(self, ticket_external_id: str, status: str) -> Json:
        """Set a ticket's status: open, pending, solved or closed."""
        return self._call("PATCH", f"tickets/{_part(ticket_external_id)}", json={"status": status}, repeatable=True)

    # tools and proposals

    def tools(self) -> list[Json]:
        """The tools this caller may use, with their JSON Schemas."""
        items: list[Json] = self._call("GET", "tools", repeatable=True)["items"]
        return items

    def read(self, tool: str, *, arguments: Mapping[str, Any], ticket_id: str | None = None) -> Any:
        """The result of a read, through the gate."""
        content: Json = {"arguments": dict(arguments)}
        if ticket_id is not None:
            content["ticket_id"] = ticket_id
        return self._call("POST", f"tools/{_part(tool)}", json=content, repeatable=True)["result"]

    def propose(
        self,
        tool: str,
        *,
        arguments: Mapping[str, Any],
        idempotency_key: str,
        rationale: str = "",
        ticket_id: str | None = None,
        confidence: float | None = None,
    ) -> Json:
        """Propose one write, once per `idempotency_key`; the answer's `state` tells what the gate made of it."""
        content: Json = {"tool": tool, "arguments": dict(arguments), "rationale": rationale}
        if ticket_id is not None:
            content["ticket_id"] = ticket_id
        if confidence is not None:
            content["confidence"] = confidence
        return self._call("POST", "proposals", json=content, headers={"Idempotency-Key": idempotency_key}, repeatable=True)

    def proposals(self, *, state: str | None = None, limit: int = 50, cursor: str | None = None) -> Json:
        """One page of proposals, oldest deadline first: `items`, and `next` as the cursor of the following page or None."""
        query = {"state": state, "limit": limit, "cursor": cursor}
        return self._call("GET", "proposals", params={key: value for key, value in query.items() if value is not None}, repeatable=True)

    def proposal(self, proposal_id: str, *, wait: int = 0) -> Json:
        """One proposal; with `wait`, after its next change or that many seconds (at most 30)."""
        return self._call("GET", f"proposals/{_part(proposal_id)}", params={"wait": wait} if wait else None, repeatable=True, patience=wait)

    def decide(
        self,
        proposal_id: str,
        *,
        verdict: str,
        digest: str,
        arguments: Mapping[str, Any] | None = None,
        reason: Mapping[str, str] | None = None,
    ) -> Json:
        """Approve, edit or reject exactly what `digest` names; ApiError 409 when it changed or is decided."""
        content: Json = {"verdict": verdict, "digest": digest}
        if arguments is not None:
            content["arguments"] = dict(arguments)
        if reason is not None:
            content["reason"] = dict(reason)
        return self._call("POST", f"proposals/{_part(proposal_id)}/decisions", json=content)

    def withdraw(self, proposal_id: str, *, note: str = "") -> Json:
        """Take a proposal back before it runs."""
        return self._call("POST", f"proposals/{_part(proposal_id)}/withdraw", json={"note": note})

    def trace(self, proposal_id: str) -> Json:
        """Everything the record holds about one proposal, in order."""
        return self._call("GET", f"proposals/{_part(proposal_id)}/trace", repeatable=True)

    # autonomy

    def actions(self) -> list[Json]:
        """The actions board: a card per agent and tool."""
        items: list[Json] = self._call("GET", "actions", repeatable=True)["items"]
        return items

    def set_level(self, agent: str, tool: str, *, level: str, reason: str, percent: int = 100) -> Json:
        """Set how much this agent may do alone with this tool; ApiError 409 names the evidence that is missing."""
        content = {"level": level, "reason": reason, "percent": percent}
        return self._call("PUT", f"actions/{_part(agent)}/{_part(tool)}/level", json=content, repeatable=True)

    # the wire

    def _call(
        self,
        method: str,
        path: str,
        *,
        json: Json | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        patience: float = 0,
    ) -> Json:
        renewed = False
        while True:
            bearer = self._bearer()
            response = self._send(
                method, path, json=json, params=params, repeatable=repeatable, timeout=self._timeout + patience,
                headers={"Authorization": f"Bearer {bearer}", **(headers or {})},
            )  # fmt: skip
            if response.status_code == 401 and self._personal is None and not renewed:
                self._forget(bearer)  # it may have been revoked or its key changed; one fresh token decides
                renewed = True
                continue
            return _answer(response)

    def _send(self, method: str, path: str, *, repeatable: bool, **request: Any) -> httpx2.Response:
        attempt = 0
        while True:
            last = attempt >= self._retries
            try:
                response = self._http.request(method, path, **request)
            except httpx2.TransportError as error:
                never_sent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
                if last or not (repeatable or never_sent):
                    raise Unreachable(f"{method} {path}: {str(error) or type(error).__name__}") from error
            else:
                if last or not repeatable or response.status_code not in _PASSING:
                    return response
            time.sleep(min(4.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311 - spreads repeats, guards nothing
            attempt += 1

    def _bearer(self) -> str:
        if self._personal is not None:
            return self._personal
        with self._lock:
            if time.monotonic() >= self._access_until:
                form = {"grant_type": "client_credentials", **({"scope": self._scope} if self._scope else {})}
                asked_at = time.monotonic()
                answer = _answer(self._send("POST", "token", data=form, auth=self._credentials, repeatable=True))
                self._access = str(answer["access_token"])
                lifetime = float(answer["expires_in"])
                self._access_until = asked_at + max(lifetime - _EARLY, lifetime / 2)
            return self._access

    def _forget(self, bearer: str) -> None:
        with self._lock:
            if self._access == bearer:
                self._access_until = 0.0


def _part(text: str) -> str:
    """One path segment: an id may hold a slash."""
    return quote(text, safe="")


def _answer(response: httpx2.Response) -> Json:
    try:
        content = response.json()
    except ValueError:
        content = None
    if response.is_success and isinstance(content, dict):
        return content
    told = content if isinstance(content, dict) else {}
    problems = told.get("problems")
    raise ApiError(
        response.status_code,
        str(told.get("title") or told.get("error") or response.reason_phrase or "No usable answer"),
        str(told.get("detail") or told.get("error_description") or ""),
        problems=problems if isinstance(problems, dict) else None,
        code=str(told.get("code") or told.get("error") or ""),
        rule=str(told.get("rule") or ""),
        next_step=str(told.get("next_step") or ""),
    )
