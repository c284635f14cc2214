"""The values drafting works with: the work of one claim, what is written down of it, and how a draft can end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from copilot.audit.redaction import Known
from copilot.toolkit import Arguments, Tool

ChatMessage = dict[str, Any]

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Work:
    """One claim of one run: the conversation so far (redacted), what may be used, and what is used up.

    `fence` proves the claim. `marks` turns a redaction mark back into its value, `known` are values to be marked.
    """

    run_id: str
    fence: int
    ticket_id: str
    agent_id: str
    requester_id: str | None
    messages: tuple[ChatMessage, ...]
    tools: tuple[Tool, ...]
    known: tuple[Known, ...] = ()
    marks: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    tokens: int = 0
    heard: int = 0  # how many of the customer's messages the conversation holds


@dataclass(frozen=True, slots=True)
class Entry:
    """One step to be written down; `kind` is prompt, model, read, proposal, outcome or note. `message` is redacted."""

    kind: str
    message: ChatMessage | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    proposal_id: str | None = None
    milliseconds: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    model: str | None = None


Record = Callable[[Sequence[Entry], Mapping[str, str]], None]
"""Writes steps and the marks so far, and renews the lease; raises when the claim is lost."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The agent is done, and at least one of its actions was carried out; `text` is its own closing word: hostile."""

    text: str


@dataclass(frozen=True, slots=True)
class Wants:
    """The agent wants one action done: schema-valid arguments with the real values, in the model's words why: hostile.

    `call_id` is ours and unique within the run, so the same call leads to the same proposal however often it is repeated.
    """

    tool: str
    arguments: Arguments
    rationale: str
    confidence: float | None
    call_id: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """A person has to go on; `code` for machines, `reason` a sentence of ours for people."""

    code: str
    reason: str


Ending = Finished | Wants | Stuck


def storable(value: Any) -> Any:
    """A JSON value without the characters no database takes: NUL and halves of surrogate pairs."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {storable(key): storable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [storable(part) for part in value]
    return value
