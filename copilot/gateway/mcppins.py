"""Which definition of a foreign tool people accepted, and what to do when the server suddenly shows another.

The first definition seen is the one the tools file was written for, so it is pinned. Any other suspends the tool, on every
path, until an admin has looked at the difference and accepted exactly what they saw; a definition that comes and goes does
not lift that by itself. The process that runs then still uses the old definition, so it goes on refusing until it is restarted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import rfc8785
from sqlalchemy import inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from copilot import db as database
from copilot.audit import log
from copilot.db import db, transaction
from copilot.errors import BadInput, Conflict, NotEntitled, NotFound, SetupError
from copilot.gate import glyphs
from copilot.models import ToolPin, User

Definition = dict[str, Any]

DESCRIPTION = 2_000  # characters of a description that are kept
_BYTES = 64_000  # of a whole definition

_pins: Any = ToolPin.__table__


def definition(offered: Mapping[str, Any]) -> Definition:
    """What of a tool in a server's list a person accepts; BadInput says why it cannot be offered to anybody."""
    output = offered.get("outputSchema")
    kept = {
        "name": str(offered.get("name") or ""),
        "description": str(offered.get("description") or "")[:DESCRIPTION],
        "inputSchema": offered.get("inputSchema"),
        "outputSchema": output if isinstance(output, dict) else None,
        "annotations": offered.get("annotations") if isinstance(offered.get("annotations"), dict) else {},
    }
    if not isinstance(kept["inputSchema"], dict) or not isinstance(kept["inputSchema"].get("properties", {}), dict):
        raise BadInput("it does not say which arguments it takes")
    try:
        size = len(rfc8785.dumps(kept))
    except (rfc8785.CanonicalizationError, ValueError, RecursionError) as error:
        raise BadInput("its definition is not plain JSON") from error
    if size > _BYTES:
        raise BadInput(f"its definition is longer than {_BYTES:,} bytes")
    return kept


def fingerprint(accepted: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a definition."""
    return hashlib.sha256(rfc8785.dumps(dict(accepted))).hexdigest()


def presentable(found: Definition) -> None:
    """BadInput when a definition holds characters that hide what it says."""
    if any(glyphs.suspicious(text) for text in glyphs.strings(found)):
        raise BadInput("its definition holds hidden or look-alike characters, as text that wants to deceive does")


def accepted(tools: Iterable[str]) -> dict[str, Definition]:
    """The accepted definitions of these tools, as far as there are any; SetupError when the database cannot tell."""
    try:
        if not inspect(db.engine).has_table(_pins.name):
            raise SetupError("The database has no place yet for what foreign tools say they do. Run `copilot db upgrade`.")
        rows = db.session.execute(select(_pins.c.tool, _pins.c.definition).where(_pins.c.tool.in_(list(tools)))).all()
        return {row.tool: dict(row.definition) for row in rows}
    except OperationalError as error:
        raise SetupError("The accepted definitions of foreign tools could not be read: the database does not answer.") from error
    finally:
        database.read_again()


def first_seen(tool: str, *, source: str, found: Definition) -> None:
    """Pin the first definition anybody saw, in the caller's transaction; a second process that comes later changes nothing."""
    presentable(found)
    dialect = postgresql if db.engine.dialect.name == "postgresql" else sqlite
    at, hashed = database.now(), fingerprint(found)
    row = {"tool": tool, "source": source, "definition": found, "hash": hashed, "accepted_at": at}
    made = db.session.execute(dialect.insert(_pins).values(row).on_conflict_do_nothing().returning(_pins.c.tool)).scalar_one_or_none()
    if made is not None:
        log.append("tool.pinned", tool, at=at, source=source, definition=hashed)


def saw(tool: str, found: Definition | None) -> None:
    """Remember what the server shows now (None: the tool is gone), where it is not what was accepted."""
    shown = found or {}
    hashed = fingerprint(shown)
    with database.fresh_context():  # tools run in threads that have no session
        if not _differs(db.session.get(ToolPin, tool), hashed):
            return
        with transaction():
            pin = db.session.get(ToolPin, tool, with_for_update=True)
            if pin is None or not _differs(pin, hashed):
                return
            kind = "tool.suspended" if pin.seen_hash is None else "tool.changed_again"
            pin.seen, pin.seen_hash, pin.seen_at = shown, hashed, database.now()
            log.append(kind, tool, definition=pin.hash, seen=hashed)


def suspended(tool: str, *, using: str | None = None) -> str | None:
    """Why this tool may not be used now, in a sentence; None when it may. `using` is the definition this process goes by."""
    pin = db.session.execute(select(_pins.c.hash, _pins.c.seen_hash).where(_pins.c.tool == tool)).one_or_none()
    if pin is None:
        return None
    if pin.seen_hash is not None:
        return (
            f"The server behind {tool.replace('_', ' ')} changed what the tool says it does, so it is suspended. "
            "An admin can look at the difference on the tools page and accept it."
        )
    if using is not None and pin.hash != using:
        return f"A new definition of {tool.replace('_', ' ')} was accepted. It can be used again once Copilot has been restarted."
    return None


def pins() -> list[ToolPin]:
    """Every pinned tool by name, for the tools page: `definition` was accepted; `seen`, when there is one, waits for a person."""
    return list(db.session.scalars(select(ToolPin).order_by(ToolPin.tool)))


def accept(tool: str, *, by: User, seen_hash: str) -> None:
    """Accept the definition an admin has just looked at, in the caller's transaction; Conflict when it is another by now."""
    if by.role != "admin" or not by.active:
        raise NotEntitled("Only an admin may accept what a foreign tool says it does.", rule="admin-only")
    pin = db.session.get(ToolPin, tool, with_for_update=True)
    if pin is None:
        raise NotFound("There is no such foreign tool.")
    if pin.seen_hash != seen_hash or pin.seen is None:
        raise Conflict("The definition is not the one you were shown. Look at it again.")
    if "inputSchema" not in pin.seen:
        raise BadInput("The server no longer offers this tool, or in a form that cannot be used, so there is nothing to accept.")
    try:
        presentable(pin.seen)
    except BadInput as error:
        raise BadInput(f"This definition cannot be accepted: {error}.") from error
    log.append("tool.accepted", tool, by=by.id, before=pin.hash, after=seen_hash)
    pin.definition, pin.hash, pin.accepted_by, pin.accepted_at = pin.seen, seen_hash, by.id, database.now()
    pin.seen = pin.seen_hash = pin.seen_at = None


def _differs(pin: ToolPin | None, hashed: str) -> bool:
    """Whether this definition is other than the last one we know of."""
    return pin is not None and hashed != (pin.seen_hash or pin.hash)
