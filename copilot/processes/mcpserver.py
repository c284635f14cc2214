"""The command `copilot mcp`: Copilot's tools for an outside agent that speaks MCP, with that agent's own credentials."""

from __future__ import annotations

from pathlib import Path

import click

from copilot.client import Client

_WHAT_IT_NEEDS = "`copilot mcp` needs one more package: install it with  pip install 'mcp>=2.3'"


@click.command("mcp")
@click.option(
    "--url", envvar="COPILOT_URL", default="http://127.0.0.1:8000", show_default=True, help="Where Copilot is. [env: COPILOT_URL]"
)
@click.option("--client-id", envvar="COPILOT_CLIENT_ID", required=True, help="The agent's name or id. [env: COPILOT_CLIENT_ID]")
@click.option("--client-secret-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file with the agent's secret.")
@click.option("--scope", help="Only these of the agent's scopes, with blanks between.")
@click.option(
    "--http", "port", type=click.IntRange(0, 65535), help="Serve HTTP on this port of 127.0.0.1 instead of standard input and output."
)
def command(url: str, client_id: str, client_secret_file: Path | None, scope: str | None, port: int | None) -> None:
    """Offer Copilot's tools to an outside agent over MCP: reads run through the gate, writes become proposals.

    The agent's secret comes from --client-secret-file or COPILOT_CLIENT_SECRET. With --http callers need the bearer token in
    COPILOT_MCP_TOKEN; without that setting one is made and printed when it starts.
    """
    try:
        from copilot.processes import mcpdoor
    except ModuleNotFoundError as error:
        raise click.ClickException(_WHAT_IT_NEEDS) from error
    with Client(url, client_id=client_id, client_secret=_secret(client_secret_file), scope=scope) as client:
        if port is None:
            mcpdoor.serve_stdio(client)
        else:
            mcpdoor.serve_http(client, port=port)


def _secret(file: Path | None) -> str:
    """The agent's secret; it is no option of the command, where every user of the machine could read it."""
    import os

    found = file.read_text().strip() if file else os.environ.get("COPILOT_CLIENT_SECRET", "").strip()
    if not found:
        raise click.ClickException("The agent's secret is missing: set COPILOT_CLIENT_SECRET, or name a file with --client-secret-file.")
    return found
