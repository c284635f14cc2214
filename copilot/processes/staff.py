"""The commands about people and agents: `copilot users …` and `copilot agents …`."""

from __future__ import annotations

from typing import Any

import click

from copilot.processes.answers import json_option, show


def _console() -> Any:
    """Imported when a command runs, so that `copilot --help` stays quick."""
    from copilot.processes import console

    return console


def _off(on: bool) -> str:
    return "" if on else "disabled"


@click.group()
def users() -> None:
    """People who sign in."""


_LINK = "Give this link to {email}; it works once, within 72 hours:\n{link}"
_TOKEN = "The API token of {email}, shown only now:\n{token}"  # noqa: S105 -- a sentence
_SECRET = "The secret of {name}, shown only now:\n{secret}"  # noqa: S105 -- a sentence


@users.command("add")
@click.argument("email")
@click.option("--role", required=True, type=click.Choice(["operator", "manager", "auditor", "admin"]))
@click.option("--name", default="", help="How the person is called.")
@json_option
def users_add(email: str, role: str, name: str, as_json: bool) -> None:
    """Add a person and print the one-time link by which they set their password."""
    answer = _console().add_user(email, name=name, role=role)
    show(answer, as_json=as_json, text=_LINK.format(**answer))


@users.command("list")
@json_option
def users_list(as_json: bool) -> None:
    """List everybody."""
    rows = _console().list_users()
    show(rows, as_json=as_json, text="\n".join(f"{r['email']:<40} {r['role']:<9} {_off(r['active'])}" for r in rows))


@users.command("disable")
@click.argument("email")
def users_disable(email: str) -> None:
    """Shut a person out at once; sessions and tokens end."""
    _console().disable_user(email)
    click.echo(f"{email} can no longer sign in.")


@users.command("reset")
@click.argument("email")
@json_option
def users_reset(email: str, as_json: bool) -> None:
    """End a person's password and sessions and print a new one-time link."""
    answer = _console().reset_user(email)
    show(answer, as_json=as_json, text=_LINK.format(**answer))


@users.command("token")
@click.argument("email")
@click.option("--label", default="command line", show_default=True, help="Where the token is used.")
@json_option
def users_token(email: str, label: str, as_json: bool) -> None:
    """Issue a person's token for the API and print it, once; it is good for a year."""
    answer = _console().issue_token(email, label=label)
    show(answer, as_json=as_json, text=_TOKEN.format(**answer))


@users.command("revoke-tokens")
@click.argument("email")
def users_revoke_tokens(email: str) -> None:
    """End every API token of a person at once."""
    count = _console().revoke_tokens(email)
    click.echo(f"{count} tokens of {email} ended.")


@click.group()
def agents() -> None:
    """Agents and other programs, each with its own scopes and an owner."""


@agents.command("add")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, metavar="TOOL:EFFECT", help="May be given again; *:read means every read.")
@click.option("--owner", required=True, metavar="EMAIL", help="Who answers for it; never approves what it proposes.")
@click.option("--drafts", is_flag=True, help="Give it every new ticket to draft for.")
@json_option
def agents_add(name: str, scopes: tuple[str, ...], owner: str, drafts: bool, as_json: bool) -> None:
    """Add an agent and print its secret, once."""
    answer = _console().add_agent(name, scopes=scopes, owner=owner, drafts=drafts)
    show(answer, as_json=as_json, text=_SECRET.format(**answer))


@agents.command("list")
@json_option
def agents_list(as_json: bool) -> None:
    """List the agents."""
    rows = _console().list_agents()
    lines = (f"{r['name']:<24} {r['owner']:<30} {_off(r['enabled']):<9}{' '.join(r['scopes'])}" for r in rows)
    show(rows, as_json=as_json, text="\n".join(lines))


@agents.command("rotate")
@click.argument("name")
@json_option
def agents_rotate(name: str, as_json: bool) -> None:
    """Give an agent a new secret and print it, once; the old one ends."""
    answer = _console().rotate_agent(name)
    show(answer, as_json=as_json, text=_SECRET.format(**answer))


@agents.command("disable")
@click.argument("name")
def agents_disable(name: str) -> None:
    """Shut an agent out at once."""
    _console().disable_agent(name)
    click.echo(f"{name} can no longer do anything.")
