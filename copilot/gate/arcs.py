"""The life of a proposal: every state, and the one table of arcs between them."""

from __future__ import annotations

PENDING = "PENDING"
APPROVED = "APPROVED"
EXECUTING = "EXECUTING"
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
REJECTED = "REJECTED"
EXPIRED = "EXPIRED"
WITHDRAWN = "WITHDRAWN"
DENIED = "DENIED"
HELD = "HELD"

STATES = (PENDING, APPROVED, EXECUTING, SUCCEEDED, FAILED, OUTCOME_UNKNOWN, REJECTED, EXPIRED, WITHDRAWN, DENIED, HELD)
TERMINAL = frozenset({SUCCEEDED, FAILED, REJECTED, EXPIRED, WITHDRAWN, DENIED})
INITIAL = frozenset({PENDING, APPROVED, DENIED})  # what `propose` may write: waiting, automatic, refused by the gate
FREES_INTENT = frozenset({REJECTED, EXPIRED, WITHDRAWN, DENIED, FAILED})  # nothing happened, so the same may be proposed again

_ARCS: dict[str, frozenset[str]] = {
    PENDING: frozenset({PENDING, APPROVED, REJECTED, EXPIRED, WITHDRAWN, DENIED}),
    APPROVED: frozenset({EXECUTING, PENDING, WITHDRAWN, DENIED, HELD, OUTCOME_UNKNOWN}),
    EXECUTING: frozenset({SUCCEEDED, FAILED, APPROVED, OUTCOME_UNKNOWN}),
    HELD: frozenset({WITHDRAWN, OUTCOME_UNKNOWN}),
    OUTCOME_UNKNOWN: frozenset({SUCCEEDED, FAILED}),
}

# Once a call may have happened, it can no longer be edited, withdrawn or denied.
_AFTER_AN_ATTEMPT: dict[str, frozenset[str]] = {
    APPROVED: frozenset({EXECUTING, HELD, OUTCOME_UNKNOWN}),
    HELD: frozenset({OUTCOME_UNKNOWN}),
}
_ONLY_AFTER_AN_ATTEMPT = frozenset({(APPROVED, OUTCOME_UNKNOWN), (HELD, OUTCOME_UNKNOWN)})


def allowed(before: str, after: str, *, attempts: int = 0) -> bool:
    """Whether a proposal with this many attempts may go from one state to another."""
    if after not in _ARCS.get(before, frozenset()):
        return False
    if attempts:
        return after in _AFTER_AN_ATTEMPT.get(before, _ARCS[before])
    return (before, after) not in _ONLY_AFTER_AN_ATTEMPT
