"""A policy folder looked at from the command line: loaded against the installed tools, tested, put into words."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from copilot import config
from copilot.errors import BadInput, SetupError
from copilot.gate import cases, policy, tools
from copilot.toolkit import Tool

NO_TOOLS = "No tools are loaded: set COPILOT_TOOLKITS=module:attribute (the sample company's is copilot.demo.tools:shop)."


def examine(directory: Path | None) -> dict[str, Any]:
    """Load the folder and run its cases; SetupError names the mistake that keeps it from loading."""
    installed = _installed()
    directory = directory or config.load().policy_dir or policy.STARTER
    policies = _load(directory, installed)
    try:
        report = cases.run(policies, installed)
    except BadInput as error:
        raise SetupError(f"Policies in {directory}: {error}") from error
    return {
        "directory": str(directory),
        "hash": policies.hash,
        "policies": len(policies.statements),
        "budgets": len(policies.budget_rules),
        "tools": len(installed),
        "note": None if installed else f"{NO_TOOLS} Without them nothing is checked that speaks of a tool's own arguments.",
        "cases": [asdict(outcome) for outcome in report.outcomes],
        "unreached": list(report.unreached),
        "absent": list(report.absent),
        "ok": report.ok,
    }


def vocabulary(directory: Path | None) -> str:
    """The Cedar schema that this folder's policies are checked against."""
    installed = _installed()
    policies = _load(directory or config.load().policy_dir, installed)
    return policy.vocabulary(installed, [rule.id for rule in policies.budget_rules])


def _load(directory: Path | None, installed: tuple[Tool, ...]) -> policy.Policies:
    """The folder's policies; where words are unknown only because no tool is loaded, the error says that too."""
    try:
        return policy.load(directory, installed)
    except SetupError as error:
        if installed:
            raise
        raise SetupError(f"{error} {NO_TOOLS}") from error


def _installed() -> tuple[Tool, ...]:
    """The installation's tools. Foreign ones need its database, where a person accepted them; Python ones need nothing."""
    settings = config.load()
    if settings.tools_file is None:
        return tools.load(settings.toolkits).all()
    from copilot.app import create_app

    with create_app(settings, web=False).app_context():
        return tools.current().all()
