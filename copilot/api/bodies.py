"""What requests may hold: strict, bounded, and nothing unknown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from copilot.agents import incoming

ExternalId = Annotated[str, Field(min_length=1, max_length=incoming.LONGEST_ID)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Note = Annotated[str, Field(max_length=4_000)]
Tool = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CustomerBody(_Strict):
    """The customer as the source knows them."""

    id: ExternalId
    name: Annotated[str, Field(max_length=200)] = ""
    email: Annotated[str, Field(max_length=254)] = ""


class TicketBody(_Strict):
    """A new ticket."""

    external_id: ExternalId
    subject: Annotated[str, Field(min_length=1, max_length=incoming.LONGEST_SUBJECT)]
    body: Annotated[str, Field(min_length=1, max_length=incoming.LONGEST_BODY)]
    customer: CustomerBody
    region: Annotated[str, Field(max_length=16)] = ""
    channel: Literal["email", "chat", "phone", "web", "api"] = "api"
    metadata: dict[str, Any] = Field(default_factory=dict)


class MessageBody(_Strict):
    """A message on a ticket; without `at` it was said now."""

    external_id: ExternalId
    author: Literal["customer", "staff", "agent"]
    body: Annotated[str, Field(min_length=1, max_length=incoming.LONGEST_BODY)]
    at: datetime | None = None


class StatusBody(_Strict):
    """A ticket's status."""

    status: Literal["open", "pending", "solved", "closed"]


class ReadBody(_Strict):
    """A call of a reading tool. `ticket_id` is the ticket's id or its external id."""

    arguments: dict[str, Any]
    ticket_id: ExternalId | None = None


class ProposalBody(_Strict):
    """An action to propose. `ticket_id` is the ticket's id or its external id."""

    tool: Tool
    arguments: dict[str, Any]
    rationale: Annotated[str, Field(max_length=20_000)] = ""
    ticket_id: ExternalId | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None


class ReasonBody(_Strict):
    """Why something was edited or rejected; the note is needed for `other` only."""

    code: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
    note: Note = ""


class DecisionBody(_Strict):
    """A verdict on exactly what `digest` names. `arguments` belong to an edit, which is saved and approved at once."""

    verdict: Literal["approve", "edit", "reject"]
    digest: Digest
    arguments: dict[str, Any] | None = None
    reason: ReasonBody | None = None


class WithdrawBody(_Strict):
    """Why a proposal is taken back."""

    note: Note = ""


class LevelBody(_Strict):
    """How much an agent may do alone with a tool."""

    level: Literal["off", "shadow", "suggest", "canary", "auto"]
    percent: Annotated[int, Field(ge=1, le=100)] = 100
    reason: Annotated[str, Field(max_length=1_000)] = ""


class WaitQuery(_Strict):
    """How long to wait for the next change, in seconds."""

    wait: Annotated[float, Field(ge=0, le=30)] = 0


class ProposalsQuery(_Strict):
    """Which proposals, and which page of them."""

    state: Literal[
        "PENDING", "APPROVED", "EXECUTING", "SUCCEEDED", "FAILED", "OUTCOME_UNKNOWN", "REJECTED", "EXPIRED", "WITHDRAWN", "DENIED", "HELD"
    ] | None = None  # fmt: skip
    tool: Tool | None = None
    risk: Literal["low", "medium", "high"] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=400)] | None = None
