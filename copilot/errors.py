"""Every error Copilot raises on purpose, with the HTTP status each becomes.

CopilotError
├── BadInput            422  the request says something that cannot be; `problems` names each field
├── NotFound            404
├── Conflict            409  somebody or something was faster; nothing was written
│   ├── StaleDigest          the proposal changed since it was shown
│   ├── AlreadyDecided       someone else decided first
│   ├── ForbiddenArc         the state machine has no such step
│   └── DuplicateIntent      another open or executed proposal has the same business key
├── NotEntitled         403  this person or agent may not do this, with the rule's name
├── NotAuthenticated    401
├── Refused             409  the gate said no; carries rule and reason
├── Unavailable         503  something we need is down; try again
└── SetupError          500  settings or installation are wrong; one sentence says how to mend it
"""

from __future__ import annotations

from collections.abc import Mapping


class CopilotError(Exception):
    """Base of the tree. `title` is for people; `str(error)` is the sentence shown."""

    status = 500
    title = "Something went wrong"
    code = "error"


class BadInput(CopilotError):
    """The request says something that cannot be. `problems` maps a field to its sentence."""

    status = 422
    title = "Please check what you entered"
    code = "bad-input"

    def __init__(self, message: str, *, problems: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.problems = dict(problems or {})


class NotFound(CopilotError):
    """There is no such thing, or not for this person."""

    status = 404
    title = "Not found"
    code = "not-found"


class Conflict(CopilotError):
    """Somebody or something was faster; nothing was written."""

    status = 409
    title = "This changed in the meantime"
    code = "conflict"


class StaleDigest(Conflict):
    """The proposal changed since it was shown."""

    title = "The proposal changed since you opened it"
    code = "stale-digest"


class AlreadyDecided(Conflict):
    """Someone else decided first."""

    title = "Someone else decided this first"
    code = "already-decided"


class ForbiddenArc(Conflict):
    """The state machine has no such step."""

    title = "That step is not possible from here"
    code = "forbidden-arc"


class DuplicateIntent(Conflict):
    """Another open or executed proposal has the same business key."""

    title = "The same thing is already proposed or done"
    code = "duplicate-intent"


class NotEntitled(CopilotError):
    """This person or agent may not do this. `rule` names the rule that said so."""

    status = 403
    title = "You may not do this"
    code = "not-entitled"

    def __init__(self, message: str, *, rule: str = "not-entitled") -> None:
        super().__init__(message)
        self.rule = rule


class NotAuthenticated(CopilotError):
    """No valid credential came with the request."""

    status = 401
    title = "Sign in first"
    code = "not-authenticated"


class Refused(CopilotError):
    """The gate said no. `rule` is the deciding rule's name."""

    status = 409
    title = "The gate refused this"
    code = "refused"

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message)
        self.rule = rule


class Unavailable(CopilotError):
    """Something we need is down or stopped; trying again later may work. `rule` names a rule of the gate that stopped it."""

    status = 503
    title = "Not available at the moment"
    code = "unavailable"

    def __init__(self, message: str, *, rule: str | None = None) -> None:
        super().__init__(message)
        self.rule = rule


class SetupError(CopilotError):
    """Settings or installation are wrong; the sentence says how to mend it."""

    title = "The installation needs attention"
    code = "setup"
