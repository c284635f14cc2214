"""The commands about people and agents: `copilot users …` and `copilot agents …`."""

from __future__ import annotations

import re
from datetime import timedelta
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


_reason = click.option("--reason", default="", help="Why; it stands in the record.")


def _doubtful(answer: dict[str, Any]) -> None:
    """Warn of scopes that no installed tool answers to; on the command line they are granted all the same."""
    for doubt in answer.pop("doubts"):
        click.echo(f"Warning: {doubt}", err=True)


@click.group()
def agents() -> None:
    """Agents and other programs, each with its own scopes and an owner."""


@agents.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="TOOL:EFFECT",
    help="May be given again; *:read means every read. Bounds follow: issue_refund:write;region=EU;customer=cus_1.",
)
@click.option("--owner", required=True, metavar="EMAIL", help="Who answers for it; never approves what it proposes.")
@click.option("--team", help="Whose budgets it draws on, and a fact for policies.")
@click.option("--drafts", is_flag=True, help="Give it every new ticket to draft for.")
@json_option
def agents_add(name: str, scopes: tuple[str, ...], owner: str, team: str | None, drafts: bool, as_json: bool) -> None:
    """Add an agent and print its secret, once."""
    answer = _console().add_agent(name, scopes=scopes, owner=owner, drafts=drafts, team=team)
    _doubtful(answer)
    show(answer, as_json=as_json, text=_SECRET.format(**answer))


@agents.command("list")
@json_option
def agents_list(as_json: bool) -> None:
    """List the agents."""
    rows = _console().list_agents()
    lines = (f"{r['name']:<24} {r['owner']:<30} {_off(r['enabled']):<9}{' '.join(r['scopes'])}" for r in rows)
    show(rows, as_json=as_json, text="\n".join(lines))


_UNITS = {"": timedelta(0), "s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class _Span(click.ParamType[timedelta]):
    """A length of time such as 90m, 24h or 7d; 0 for none."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or say how it is written."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"0|(\d{1,6})([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is no length of time: write 90m, 24h or 7d, or 0.", param, ctx)
        return int(found[1] or 0) * _UNITS[found[2] or ""]


@agents.command("rotate")
@click.argument("name")
@click.option("--overlap", type=_Span(), default="24h", show_default=True, help="How long the old secret works on, at most 30d.")
@click.option(
    "--now", "at_once", is_flag=True, help="End the old secret and every token at once, as after a leak; the same as --overlap 0."
)
@_reason
@json_option
def agents_rotate(name: str, overlap: timedelta, at_once: bool, reason: str, as_json: bool) -> None:
    """Give an agent a new secret and print it, once."""
    answer = _console().rotate_agent(name, overlap=timedelta(0) if at_once else overlap, reason=reason)
    until = answer["old_secret_until"]
    ends = f"The old secret works until {until}." if until else "The old secret and every token ended."
    show(answer, as_json=as_json, text=f"{_SECRET.format(**answer)}\n{ends}")


@agents.command("disable")
@click.argument("name")
@_reason
def agents_disable(name: str, reason: str) -> None:
    """Shut an agent out at once."""
    _console().disable_agent(name, reason=reason)
    click.echo(f"{name} can no longer do anything.")


@agents.command("enable")
@click.argument("name")
@_reason
def agents_enable(name: str, reason: str) -> None:
    """Let a disabled agent in again, with the secret and scopes it has."""
    _console().enable_agent(name, reason=reason)
    click.echo(f"{name} may sign in again. Tokens from before stay ended.")


@agents.command("scopes")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, metavar="TOOL:EFFECT", help="What it may use from now on, and nothing else. May be given again."
)
@click.option("--none", "nothing", is_flag=True, help="Take everything from it.")
@click.option("--reason", default="", help="Why; it stands in the record. Needed for a change.")
@json_option
def agents_scopes(name: str, scopes: tuple[str, ...], nothing: bool, reason: str, as_json: bool) -> None:
    """Show what an agent may use, or replace it.

    Like everything on this command line it holds at once: whoever may run it owns the installation. On the pages
    anything wider waits for a second person.
    """
    if scopes and nothing:
        raise click.UsageError("Give --scope or --none, not both.")
    answer = _console().agent_scopes(name, scopes=scopes if scopes or nothing else None, reason=reason)
    _doubtful(answer)
    show(answer, as_json=as_json, text="\n".join(answer["scopes"]) or f"{name} may use nothing.")


@agents.command("review")
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 365), default=30, show_default=True, help="How far back to look.")
@json_option
def agents_review(name: str, days: int, as_json: bool) -> None:
    """Compare what an agent may use with what it used; changes nothing."""
    answer = _console().review_agent(name, days=days)
    lines = [f"{each['scope']:<40} {each['uses']:>7}  {each['sentence']}" for each in answer["findings"]]
    less = ["", "This would do:", *(f"  {scope}" for scope in answer["after"])] if answer["after"] != answer["before"] else []
    show(answer, as_json=as_json, text="\n".join([*lines, *less]))
