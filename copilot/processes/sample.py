"""Seeds the sample company's people, agents and credentials; repeats change nothing but the secrets handed out."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, inspect, select

from copilot.audit import holders
from copilot.db import db, now, transaction
from copilot.errors import NotFound, SetupError
from copilot.gate import tools
from copilot.models import Agent, ApiToken, Holder, User
from copilot.people import accounts, passwords, principals, tokens

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
_MARK = "sample-company"  # the job in `holders` that says whose database this is
_LABEL = "scripted operator"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the sample company's own programs sign in with, and its people (address, role) with their one password."""

    client_id: str
    client_secret: str
    tokens: tuple[str, ...]
    people: tuple[tuple[str, str], ...] = tuple((email, role) for email, _, role in PEOPLE)
    password: str = PASSWORD


def check(*, demo: bool) -> None:
    """Keep the sample company, whose passwords everybody knows, and real installations out of each other's databases.

    Reads only, and on any database: one that is empty or of an older version has nothing to keep apart yet.
    """
    if not {"holders", "users", "agents"} <= set(inspect(db.session.connection()).get_table_names()):
        return
    seeded = db.session.execute(select(Holder.job).where(Holder.job == _MARK)).first() is not None
    if seeded and not demo:
        raise SetupError(
            "This database belongs to the sample company, whose passwords everybody knows: start it with `copilot demo`, "
            "or choose another with DATABASE_URL or COPILOT_DATA_DIR."
        )
    others = sum(db.session.execute(select(func.count()).select_from(table)).scalar_one() for table in (User, Agent))
    if demo and not seeded and others:
        raise SetupError(
            "This database holds people or agents that are not the sample company's, and stays as it is: "
            "give `copilot demo` a data folder of its own with --data, and unset DATABASE_URL."
        )


def seed(*, tokens_too: bool) -> Credentials:
    """Make what is missing, and give the helpdesk a new secret; `tokens_too` also issues the scripted operators' tokens."""
    with transaction():
        check(demo=True)
        holders.hold(_MARK, "copilot demo", 0)
    end_tokens()
    for email, name, role in PEOPLE:
        if not _exists(email):
            with transaction():
                secret = accounts.invite(email, name, role)
            hashed = passwords.hash(PASSWORD)
            with transaction():
                accounts.follow(secret, hashed=hashed)
    with transaction():
        _agent(DRAFTER, ["*:read", *(f"{tool.name}:write" for tool in tools.current().all() if tool.effect == "write")], drafts=True)
        secret = _agent(SOURCE, ["tickets:write"], drafts=False) or principals.rotate(SOURCE)
    issued = []
    for email, _, _ in PEOPLE[:2] if tokens_too else ():
        with transaction():
            issued.append(tokens.issue_person(accounts.find(email), _LABEL))
    return Credentials(client_id=SOURCE, client_secret=secret, tokens=tuple(issued))


def end_tokens() -> None:
    """End the scripted operators' tokens, those of a run that was killed included."""
    with transaction():
        query = select(ApiToken).where(ApiToken.label == _LABEL, ApiToken.revoked_at.is_(None), ApiToken.expires_at > now())
        for token in db.session.execute(query).scalars().all():
            tokens.withdraw_person(token.id, by=None)


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
