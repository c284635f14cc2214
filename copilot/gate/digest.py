"""What was seen = what was approved = what runs: one digest over exactly the content of a version."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import rfc8785

from copilot.errors import BadInput


def canonical(value: Any) -> str:
    """RFC 8785 JSON text of a value; BadInput when it has none (floats out of range, lone surrogates)."""
    try:
        return rfc8785.dumps(value).decode()
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise BadInput(f"This value cannot be written down exactly: {error}") from error


def new_salt() -> str:
    """256 random bits, hex: keeps a logged digest from being a guessable hash of an address."""
    return secrets.token_hex(32)


def compute(
    *,
    proposal_id: str,
    version: int,
    agent_id: str,
    tool: str,
    tool_hash: str,
    target: str | None,
    target_revision: str | None,
    arguments: str,
    salt: str,
) -> str:
    """SHA-256 (hex) of the version's canonical content; `arguments` are the stored canonical bytes."""
    content = {
        "agent": agent_id,
        "tool": tool,
        "tool_definition": tool_hash,
        "target": target,
        "target_revision": target_revision,
        "arguments": json.loads(arguments),
        "proposal": proposal_id,
        "version": version,
        "salt": salt,
    }
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()
