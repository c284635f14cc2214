"""Ana decides, Bo decides and manages, Cy may only look, Dee is the admin who owns the agent, Eli decides too."""

from __future__ import annotations

from dataclasses import dataclass

from copilot.db import db, new_id, now, transaction
from copilot.models import Agent, User
from copilot.people import passwords

PASSWORD = "a password for tests"
ROLES = {"ana": "operator", "bo": "manager", "cy": "auditor", "dee": "admin", "eli": "operator"}


@dataclass(frozen=True, slots=True)
class People:
    """Everybody by name; a row is read in the session of whoever asks, so threads may share this."""

    ids: dict[str, str]
    password: str = PASSWORD

    def row(self, name: str) -> User:
        """One person's row."""
        user = db.session.get(User, self.ids[name])
        assert user is not None
        return user

    @property
    def ana(self) -> User:
        """An operator."""
        return self.row("ana")

    @property
    def bo(self) -> User:
        """A manager."""
        return self.row("bo")

    @property
    def cy(self) -> User:
        """An auditor, who only looks."""
        return self.row("cy")

    @property
    def dee(self) -> User:
        """An admin, who owns the agent."""
        return self.row("dee")

    @property
    def eli(self) -> User:
        """A second operator."""
        return self.row("eli")


def add() -> People:
    """Put everybody into the database."""
    hashed = passwords.hash(PASSWORD)
    ids = {name: new_id("user") for name in ROLES}
    with transaction():
        at = now()
        for name, role in ROLES.items():
            address = f"{name}@example.com"
            db.session.add(
                User(id=ids[name], email=address, name=name.title(), role=role, password_hash=hashed, active=True, created_at=at)
            )
    return People(ids)


def add_agent(owner_id: str, *, name: str = "refund-desk", scopes: tuple[str, ...] = (), drafts: bool = True) -> str:
    """Add an agent that may read everything and use these write scopes; gives its id."""
    agent_id = new_id("agent")
    with transaction():
        db.session.add(
            Agent(
                id=agent_id, name=name, owner_id=owner_id, scopes=["*:read", *scopes], secret_hash=new_id("none"),
                enabled=True, drafts=drafts, created_at=now(),
            )
        )  # fmt: skip
    return agent_id
