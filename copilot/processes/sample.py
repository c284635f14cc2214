"""Seeds the sample company's people, agents and credentials; repeats change nothing but the secrets handed out."""

from __future__ import annotations

from dataclasses import dataclass

from copilot.db import transaction
from copilot.errors import NotFound
from copilot.gate import tools
from copilot.people import accounts, principals, tokens

PASSWORD = "copilot-demo"  # noqa: S105 -- printed at every start; the sample company guards nothing
PEOPLE = (
    ("ana@example.com", "Ana Operator", "operator"),
    ("bo@example.com", "Bo Manager", "manager"),
    ("cy@example.com", "Cy Auditor", "auditor"),
    ("dee@example.com", "Dee Admin", "admin"),
)
OWNER = "dee@example.com"
DRAFTER = "refund-desk"
SOURCE = "helpdesk"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the sample company's own programs sign in with, and its people (address, role) with their one password."""

    client_id: str
    client_secret: str
    tokens: tuple[str, ...]
    people: tuple[tuple[str, str], ...] = tuple((email, role) for email, _, role in PEOPLE)
    password: str = PASSWORD


def seed(*, tokens_too: bool) -> Credentials:
    """Make what is missing, and give the helpdesk a new secret; `tokens_too` also issues the scripted operators' tokens."""
    for email, name, role in PEOPLE:
        if not _exists(email):
            with transaction():
                secret = accounts.invite(email, name, role)
            with transaction():
                accounts.follow(secret, PASSWORD)
    with transaction():
        _agent(DRAFTER, ["*:read", *(f"{tool.name}:write" for tool in tools.current().all() if tool.effect == "write")], drafts=True)
        secret = _agent(SOURCE, ["tickets:write"], drafts=False) or principals.rotate(SOURCE)
    issued = []
    for email, _, _ in PEOPLE[:2] if tokens_too else ():
        with transaction():
            issued.append(tokens.issue_person(accounts.find(email), "scripted operator"))
    return Credentials(client_id=SOURCE, client_secret=secret, tokens=tuple(issued))


def _exists(email: str) -> bool:
    try:
        accounts.find(email)
    except NotFound:
        return False
    return True


def _agent(name: str, scopes: list[str], *, drafts: bool) -> str | None:
    """Add the agent and return its secret; None when it is there already."""
    try:
        principals.find(name)
    except NotFound:
        return principals.add(name, scopes, OWNER, drafts)
    return None
