"""Proposing an action and going on with the decision: what happened as a value, what did not as an exception.

`requires_approval` puts a function behind the gate: calling it runs nothing here. Its arguments become a proposal, a person
or the policy decides, the tool behind the gate acts, and its answer is what the call returns.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from copilot.client.rest import ApiError, Client, Json

P = ParamSpec("P")
R = TypeVar("R")

DAY = 86_400.0

_OPEN = frozenset({"PENDING", "APPROVED", "EXECUTING", "HELD"})
_LONGEST_WAIT = 30  # seconds one request may wait for the next change
_PAUSE = 0.5  # seconds between two requests when the server could not let us wait
_AWAY = frozenset({0, 429, 502, 503, 504})  # what a server says, or does not, while it is restarted; the proposal is safe meanwhile


@dataclass(frozen=True, slots=True)
class Done:
    """It happened. `arguments` are those it ran with: a reviewer may have changed them, and then `edited` is true."""

    result: Any
    arguments: Json
    edited: bool
    proposal: Json


class NotDone(Exception):
    """It did not happen, or nobody knows; the subclass says which. `proposal` is how it stands."""

    def __init__(self, sentence: str, proposal: Json) -> None:
        super().__init__(sentence)
        self.proposal = proposal


class Denied(NotDone):
    """The gate refused it: `rule` is the deciding rule's name, `next_step` what could be done instead."""

    def __init__(self, sentence: str, proposal: Json, *, rule: str, next_step: str) -> None:
        super().__init__(sentence, proposal)
        self.rule = rule
        self.next_step = next_step


class Rejected(NotDone):
    """A person said no: `reason` is the code they chose, `note` their own words. Do not propose the same again."""

    def __init__(self, sentence: str, proposal: Json, *, reason: str, note: str) -> None:
        super().__init__(sentence, proposal)
        self.reason = reason
        self.note = note


class TakenBack(NotDone):
    """It was withdrawn, or nobody decided in time."""


class Failed(NotDone):
    """It was approved, but the tool refused it and nothing happened."""


class Unknown(NotDone):
    """It was approved, and nobody can tell whether it happened. Never repeat it: a person looks into it."""


class Undecided(NotDone):
    """Nobody has decided within the time given; the proposal still waits, and may still be decided or withdrawn."""


def perform(
    client: Client,
    tool: str,
    *,
    arguments: Mapping[str, Any],
    rationale: str = "",
    ticket_id: str | None = None,
    confidence: float | None = None,
    idempotency_key: str | None = None,
    wait: float = DAY,
) -> Done:
    """Propose one write and wait up to `wait` seconds for its end; raises a NotDone when it did not happen.

    Give an `idempotency_key` when the caller may be started again: the same key finds the same proposal.
    """
    proposal = client.propose(
        tool, arguments=arguments, idempotency_key=idempotency_key or uuid.uuid4().hex, rationale=rationale, ticket_id=ticket_id,
        confidence=confidence,
    )  # fmt: skip
    return wait_for(client, proposal, wait=wait)


def wait_for(client: Client, proposal: Json | str, *, wait: float = DAY) -> Done:
    """Wait up to `wait` seconds for the end of a proposal, given by itself or its id; raises a NotDone when it did not happen."""
    until = time.monotonic() + wait
    current = client.proposal(proposal) if isinstance(proposal, str) else proposal
    while current["state"] in _OPEN and (left := until - time.monotonic()) > 0:
        asked = time.monotonic()
        try:
            current = client.proposal(current["id"], wait=max(1, min(_LONGEST_WAIT, round(left))))
        except ApiError as error:
            if error.status not in _AWAY:
                raise
        if current["state"] in _OPEN and time.monotonic() - asked < _PAUSE:
            time.sleep(min(_PAUSE, left))  # as many wait already as the server lets, or it is being started again
    return _ended(client, current)


def requires_approval(
    tool: str,
    *,
    client: Client,
    wait: float = DAY,
    rationale: str | Callable[[Json], str] = "",
    ticket_id: str | Callable[[Json], str | None] | None = None,
    idempotency_key: Callable[[Json], str] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Put a function behind the gate: calling it proposes `tool` with its arguments and waits for the decision.

    The function's body never runs; its name, signature and docstring stay what agent frameworks read. It returns the
    tool's result, also when a reviewer changed the arguments (`perform` tells which they were), and raises Denied,
    Rejected, TakenBack, Failed, Unknown or Undecided. `rationale`, `ticket_id` and `idempotency_key` may be functions of
    the arguments. A coroutine function stays one: it waits without holding up its event loop.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        def ask(*args: P.args, **kwargs: P.kwargs) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            return perform(
                client,
                tool,
                arguments=arguments,
                rationale=rationale(arguments) if callable(rationale) else rationale,
                ticket_id=ticket_id(arguments) if callable(ticket_id) else ticket_id,
                idempotency_key=idempotency_key(arguments) if idempotency_key else None,
                wait=wait,
            ).result

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def asking(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await asyncio.to_thread(ask, *args, **kwargs)

            return cast("Callable[P, R]", asking)
        return cast("Callable[P, R]", functools.wraps(function)(ask))

    return decorate


def _ended(client: Client, proposal: Json) -> Done:
    """What a proposal's state means for whoever proposed it."""
    state, tool = proposal["state"], proposal["tool"]
    outcome = proposal.get("outcome") or {}
    said = str(outcome.get("message") or "")
    if state == "SUCCEEDED":
        edited = proposal["version"] > 1 and _decision(client, proposal["id"], "edit") is not None
        return Done(outcome.get("result"), proposal["arguments"], edited, proposal)
    if state == "DENIED":
        verdict = proposal.get("verdict") or {}
        reason = str(verdict.get("reason") or "a rule forbids it")
        raise Denied(reason, proposal, rule=str(verdict.get("rule") or ""), next_step=str(verdict.get("next_step") or ""))
    if state == "REJECTED":
        decision = _decision(client, proposal["id"], "reject") or {}
        code, note = str(decision.get("reason_code") or "other"), str(decision.get("note") or "")
        told = f" and said: {note}" if note else "."
        raise Rejected(f"A reviewer rejected this ({code.replace('_', ' ')}){told}", proposal, reason=code, note=note)
    if state == "FAILED":
        raise Failed(f"The tool refused it and nothing happened. {said}".strip(), proposal)
    if state in ("EXPIRED", "WITHDRAWN"):
        why = "Nobody decided in time, so it" if state == "EXPIRED" else "It was withdrawn and"
        raise TakenBack(f"{why} will not be done.", proposal)
    if state == "OUTCOME_UNKNOWN":
        raise Unknown("It was approved, but nobody can tell yet whether it happened. Do not repeat it; a person looks into it.", proposal)
    raise Undecided(f"Nobody has decided about this use of {tool} yet; it waits at {proposal['url']}", proposal)


def _decision(client: Client, proposal_id: str, verdict: str) -> Json | None:
    """The latest decision of this kind, with the code and the words of whoever took it."""
    decisions: list[Json] = client.trace(proposal_id)["decisions"]
    return next((decision for decision in reversed(decisions) if decision["verdict"] == verdict), None)
