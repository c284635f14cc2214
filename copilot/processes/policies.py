"""The commands about policies: `copilot policy …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from copilot.processes.answers import json_option, show

_directory = click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def policy() -> None:
    """Policies: what agents may propose, what runs alone, and who decides."""


@policy.command("check")
@_directory
@json_option
def policy_check(directory: Path | None, as_json: bool) -> None:
    """Load a policy folder against the installed tools and run its tests; without DIRECTORY the one that is configured."""
    from copilot.processes import policyfolder

    found = policyfolder.examine(directory)
    show(found, as_json=as_json, text=_told(found), ok=found["ok"])


@policy.command("vocabulary")
@_directory
def policy_vocabulary(directory: Path | None) -> None:
    """Print every word that policies may use here: the facts, the installed tools' arguments, the folder's budgets."""
    from copilot.processes import policyfolder

    click.echo(policyfolder.vocabulary(directory))


@policy.command("replay")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 3650), help="How far back.")
@json_option
def policy_replay(directory: Path, days: int, as_json: bool) -> None:
    """Judge what was recorded again with the policies in DIRECTORY, and say what would have gone otherwise."""
    from copilot.processes import policyreplay

    found = policyreplay.replay(directory, days=days)
    show(found, as_json=as_json, text=policyreplay.told(found))


def _told(found: dict[str, Any]) -> str:
    lines = [f"{found['directory']}: {found['policies']} policies and {found['budgets']} budgets, without a mistake."]
    lines += [found["note"]] if found["note"] else []
    for case in found["cases"]:
        lines.append(f"  {'ok    ' if case['ok'] else 'FAILED'}  {case['name']}")
        if not case["ok"]:
            lines.append(
                f"          expected {case['expected']}; got {case['got']}, decided by {case['rule'] or 'nothing'}: {case['reason']}"
            )
    failed = sum(not case["ok"] for case in found["cases"])
    lines.append(f"{len(found['cases'])} cases, {failed} failed." if found["cases"] else "There are no cases; write some in tests.toml.")
    if found["cases"] and found["unreached"]:
        lines.append(f"No case is decided by: {', '.join(found['unreached'])}.")
    lines += [f"{sentence[0].upper()}{sentence[1:]}" for sentence in found["absent"]]
    return "\n".join(lines)
