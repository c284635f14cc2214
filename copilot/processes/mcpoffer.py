"""What an outside agent is offered over MCP: each tool it may use, made from the API's list, and what becomes of a call.

Reads run through the gate. Calling a write only proposes it: the answer tells what the gate made of it, and with
`wait_seconds` also the decision. Everything goes over the REST API with the agent's own credentials; there is no second way in.
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from copilot import client as api
from copilot.client import ApiError, Client, Done, NotDone

Json = dict[str, Any]

LONGEST_WAIT = 300  # seconds one call may wait; an agent asks again

_OWN: dict[str, Json] = {
    "rationale": {"type": "string", "maxLength": 4000, "description": "Why, for the person who decides."},
    "ticket_id": {"type": "string", "description": "The ticket this is about, if there is one."},
    "confidence": {"type": "number", "minimum": 0, "maximum": 1, "description": "How sure you are."},
    "wait_seconds": {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": 0, "description": "Wait so long for the end."},
    "idempotency_key": {
        "type": "string",
        "pattern": "^[!-~]{1,128}$",
        "description": "The same for each repeat of one intention: a repeat then finds the first proposal.",
    },
}
_READ_OWN = ("ticket_id",)
_PROPOSAL = re.compile(r"[A-Za-z0-9_-]{1,130}")
_ID = {"type": "string", "description": "The proposal's id."}


@dataclass(frozen=True, slots=True)
class Offer:
    """One tool as an outside agent sees it. `own` maps the names of our further arguments to what they are called here."""

    name: str
    description: str
    schema: Json
    effect: str
    tool: str = ""
    reversible: bool = True
    own: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a call came to: a sentence, the same as data, and whether it is an error."""

    sentence: str
    data: Json
    error: bool = False


def offers(client: Client) -> dict[str, Offer]:
    """Everything this agent may use, by name, and the calls about its proposals."""
    found = {offer.name: offer for offer in map(_offer, client.tools())}
    return found | _ABOUT_PROPOSALS


def call(client: Client, offer: Offer, arguments: Mapping[str, Any]) -> Told:
    """Do what the agent asked; what the API refuses becomes an error with its sentence, its rule and the next step."""
    try:
        if offer.effect == "read":
            given, own = _apart(offer, arguments)
            return _read(client, offer, given, own)
        if offer.effect == "write":
            given, own = _apart(offer, arguments)
            return _propose(client, offer, given, own)
        return _about(client, offer.name, arguments)
    except ApiError as error:
        return refused(error)


def _offer(tool: Mapping[str, Any]) -> Offer:
    schema = copy.deepcopy(dict(tool["parameters"]))
    taken = schema.setdefault("properties", {})
    schema.setdefault("type", "object")
    reads = tool["effect"] == "read"
    own = tuple((name, f"proposal_{name}" if name in taken else name) for name in (_READ_OWN if reads else _OWN))
    for name, here in own:
        taken[here] = _OWN[name]
    name = f"tool_{tool['name']}" if tool["name"] in _ABOUT_PROPOSALS else str(tool["name"])
    what = str(tool["description"])
    if not reads:
        what = f"{what}\n\nThis proposes it and does not do it at once: rules and people decide. The answer tells where it stands."
    return Offer(name, what, schema, str(tool["effect"]), str(tool["name"]), bool(tool["reversible"]), own)


def _apart(offer: Offer, arguments: Mapping[str, Any]) -> tuple[Json, Json]:
    """The tool's arguments, and ours."""
    ours = {here: name for name, here in offer.own}
    given = {name: value for name, value in arguments.items() if name not in ours}
    return given, {ours[here]: value for here, value in arguments.items() if here in ours and value is not None}


def _read(client: Client, offer: Offer, given: Json, own: Json) -> Told:
    result = client.read(offer.tool, arguments=given, ticket_id=own.get("ticket_id"))
    return Told("", {"result": result})


def _propose(client: Client, offer: Offer, given: Json, own: Json) -> Told:
    proposal = client.propose(
        offer.tool,
        arguments=given,
        idempotency_key=str(own.get("idempotency_key") or uuid.uuid4().hex),
        rationale=str(own.get("rationale") or ""),
        ticket_id=own.get("ticket_id"),
        confidence=own.get("confidence"),
    )
    return _stands(client, proposal, wait=_seconds(own.get("wait_seconds", 0)))


def _about(client: Client, name: str, arguments: Mapping[str, Any]) -> Told:
    proposal_id = str(arguments.get("proposal_id") or "").strip()
    if not _PROPOSAL.fullmatch(proposal_id):  # such a one would be another address
        return Told("There is no such proposal.", {"status": 404, "code": "not-found"}, error=True)
    if name == "withdraw":
        return _stands(client, client.withdraw(proposal_id, note=str(arguments.get("note") or "")), wait=0)
    wait = _seconds(arguments.get("seconds", 60)) if name == "wait_for_decision" else 0
    return _stands(client, client.proposal(proposal_id), wait=wait)


def _seconds(value: Any) -> float:
    return min(LONGEST_WAIT, max(0.0, float(value))) if isinstance(value, int | float) else 0.0


def _stands(client: Client, proposal: Json, *, wait: float) -> Told:
    """How a proposal stands, after at most `wait` seconds; only what the gate denies is an error."""
    try:
        done = api.wait_for(client, proposal, wait=wait)
    except api.Undecided as error:
        return Told("It waits for a decision. Ask again with wait_for_decision.", _shown(error.proposal, "waiting"))
    except api.Denied as error:
        data = _shown(error.proposal, "denied") | {"rule": error.rule, "next_step": error.next_step}
        return Told(_with_rule(str(error), error.rule, error.next_step), data, error=True)
    except api.Rejected as error:
        return Told(f"{error} Do not propose the same again.", _shown(error.proposal, "rejected") | _because(error))
    except NotDone as error:
        kind = {api.Failed: "failed", api.Unknown: "unknown"}.get(type(error), "taken-back")
        return Told(str(error), _shown(error.proposal, kind))
    return Told(_done(done), _shown(done.proposal, "done") | {"result": done.result, "edited": done.edited})


def _done(done: Done) -> str:
    return "A reviewer changed the arguments, and then it was done with those shown here." if done.edited else "It was approved and done."


def _because(error: api.Rejected) -> Json:
    return {"reason": {"code": error.reason, "note": error.note}}


def _shown(proposal: Json, outcome: str) -> Json:
    kept = ("state", "tool", "arguments", "version", "verdict", "approvals_required", "url")
    return {"proposal_id": proposal["id"], "outcome": outcome} | {name: proposal[name] for name in kept if name in proposal}


def refused(error: ApiError) -> Told:
    """An error of the API in words an agent can act on."""
    sentence = error.detail or error.title
    if error.problems:
        sentence += " " + " ".join(f"{field or 'The whole'} {why}." for field, why in error.problems.items())
    data = {"status": error.status, "code": error.code, "rule": error.rule, "next_step": error.next_step, "problems": error.problems}
    return Told(_with_rule(sentence, error.rule, error.next_step), data, error=True)


def _with_rule(sentence: str, rule: str, next_step: str) -> str:
    parts = [sentence, f"Rule: {rule}." if rule else "", next_step]
    return " ".join(part for part in parts if part)


def _calls(name: str, description: str, **properties: Json) -> Offer:
    schema = {"type": "object", "properties": {"proposal_id": _ID} | properties, "required": ["proposal_id"], "additionalProperties": False}
    return Offer(name, description, schema, "about")


_ABOUT_PROPOSALS = {
    offer.name: offer
    for offer in (
        _calls("proposal_status", "How one of your proposals stands now."),
        _calls(
            "wait_for_decision",
            "Wait until one of your proposals has been decided and done, or until the time is over.",
            seconds={"type": "integer", "minimum": 1, "maximum": LONGEST_WAIT, "default": 60},
        ),
        _calls("withdraw", "Take one of your proposals back before it is done.", note={"type": "string", "maxLength": 2000}),
    )
}
