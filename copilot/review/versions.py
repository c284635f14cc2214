"""The content of one version: what the tool says it means, and the immutable row with its salted digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from copilot.db import db, new_id
from copilot.errors import BadInput
from copilot.gate import digest, facts, library
from copilot.gateway import reads
from copilot.models import ProposalVersion
from copilot.toolkit import Money, Preview, Tool


@dataclass(frozen=True, slots=True)
class Content:
    """A version before it has a place: normalised arguments, what they amount to, and the tool's own look at them."""

    tool: Tool
    arguments: dict[str, Any]
    canonical: str
    amount: Money | None
    target: str | None
    payee: str | None
    intent: str | None
    preview: Preview
    revision: str | None
    seen: facts.Seen


def look(tool: Tool, arguments: dict[str, Any], *, agent_name: str, ticket_id: str | None, seen: facts.Seen) -> Content:
    """Ask the tool what these (normalised) arguments mean; raises Refused or Unavailable from the tool."""
    return content(tool, arguments, reads.look(tool, arguments, agent_name=agent_name, ticket_id=ticket_id), seen=seen)


def unseen(tool: Tool, arguments: dict[str, Any], *, seen: facts.Seen) -> Content:
    """The content of a draft that the tool was not asked about, or refused to look at; it can only be stored as denied."""
    return content(tool, arguments, reads.Look(Preview(tool.name.replace("_", " ").capitalize()), None), seen=seen)


def content(tool: Tool, arguments: dict[str, Any], shown: reads.Look, *, seen: facts.Seen) -> Content:
    """Put a content together; BadInput when one of the tool's own declarations cannot read the arguments."""
    return Content(
        tool=tool,
        arguments=arguments,
        canonical=digest.canonical(arguments),
        amount=_declared(tool, "amount", tool.amount, arguments),
        target=_text(_declared(tool, "target", tool.target, arguments)),
        payee=_text(_declared(tool, "payee", tool.payee, arguments)),
        intent=_intent(tool, arguments),
        preview=shown.preview,
        revision=shown.revision,
        seen=seen,
    )


def row(
    what: Content, *, proposal_id: str, agent_id: str, version: int, editor_id: str | None, needs_other: bool, at: datetime
) -> dict[str, Any]:
    """The version's row, its digest over a fresh salt included."""
    salt, tool_hash = digest.new_salt(), what.tool.definition_hash
    shown = {
        "consequence": what.preview.consequence,
        "before": dict(what.preview.before),
        "after": dict(what.preview.after),
        "facts": dict(what.preview.facts),
        "known": dict(what.preview.known),
    }
    return {
        "id": new_id("ver"),
        "proposal_id": proposal_id,
        "version": version,
        "arguments": what.canonical,
        "salt": salt,
        "digest": digest.compute(
            proposal_id=proposal_id,
            version=version,
            agent_id=agent_id,
            tool=what.tool.name,
            tool_hash=tool_hash,
            target=what.target,
            target_revision=what.revision,
            arguments=what.canonical,
            salt=salt,
        ),
        "tool_hash": tool_hash,
        "policy_hash": library.in_force().hash,
        "target": what.target,
        "target_revision": what.revision,
        "payee": what.payee,
        "amount_minor": what.amount.minor if what.amount else None,
        "currency": what.amount.currency if what.amount else None,
        "customer_ref": what.preview.customer_id,
        "preview": json.loads(digest.canonical(shown)),
        "editor_id": editor_id,
        "needs_other": needs_other,
        "seen_messages": what.seen.messages,
        "seen_status": what.seen.status,
        "created_at": at,
    }


def write(values: dict[str, Any]) -> None:
    """Store one version row; it is never changed afterwards."""
    db.session.execute(insert(ProposalVersion).values(values))


def _declared(tool: Tool, name: str, read: Callable[[dict[str, Any]], Any] | None, arguments: dict[str, Any]) -> Any:
    if read is None:
        return None
    try:
        return read(arguments)
    except Exception as error:
        message = f"The {name} of {tool.name} cannot be read from these arguments."
        raise BadInput(message, problems={name: "cannot be read from the arguments"}) from error


def _text(value: Any) -> str | None:
    return None if value is None else str(value)[:256]


def _intent(tool: Tool, arguments: dict[str, Any]) -> str | None:
    """The business key as an opaque hash, since it may hold what a customer would not want in an index."""
    key = _declared(tool, "business key", tool.business_key, arguments)
    return None if key is None else hashlib.sha256(digest.canonical([tool.toolbox, *map(str, key)]).encode()).hexdigest()
