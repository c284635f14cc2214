"""How every command answers: text for a person, or one JSON object for a script."""

from __future__ import annotations

import json
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for a script.")


def show(answer: Any, *, as_json: bool, text: str, ok: bool = True) -> None:
    """Print the answer; exit code 1 when it is not a good one."""
    click.echo(json.dumps(answer, default=str) if as_json else text)
    if not ok:
        raise SystemExit(1)
