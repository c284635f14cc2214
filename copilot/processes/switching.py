"""The kill switch from a shell, for when the pages are down: `copilot switch …`."""

from __future__ import annotations

import click

from copilot.processes.answers import json_option, show

_scope = click.argument("scope", metavar="SCOPE")
_reason = click.option("--reason", required=True, help="Why; it stands in the record and on top of every page.")


@click.group()
def switch() -> None:
    """Kill switches: stop everything, one agent or one tool.

    SCOPE is all, agent:NAME or tool:NAME. Nothing it covers starts after the command returns, approved or not; what is
    already running cannot be called back.
    """


@switch.command("throw")
@_scope
@_reason
def switch_throw(scope: str, reason: str) -> None:
    """Stop everything, one agent or one tool; SCOPE is all, agent:NAME or tool:NAME."""
    from copilot.processes import console

    console.throw_switch(scope, reason=reason)
    click.echo(f"The kill switch is on for {scope}. Nothing it covers starts any more, and review deadlines stand still.")


@switch.command("release")
@_scope
@_reason
def switch_release(scope: str, reason: str) -> None:
    """Let it start again; SCOPE is all, agent:NAME or tool:NAME."""
    from copilot.processes import console

    console.release_switch(scope, reason=reason)
    click.echo(f"Released for {scope}. Work goes on, and deadlines moved on by as long as it was on.")


@switch.command("list")
@json_option
def switch_list(as_json: bool) -> None:
    """List the kill switches that are on."""
    from copilot.processes import console

    rows = console.switched_on()
    lines = [f"{row['scope']:<32} since {row['since']} by {row['by']}: {row['reason']}" for row in rows]
    show(rows, as_json=as_json, text="\n".join(lines) or "No kill switch is on.")
