"""`python -m tests.outside.figures [tau1|tau2|negative|gpt4o] [--json]`: the outside figures, whole, in an installation of their own.

COPILOT_TEST_DATA names the folder with the data. The last line printed is one JSON object; the exit code is 0 only if
every task came out as expected and no wrong call changed anything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from argon2 import profiles

from copilot import app as application
from copilot import config
from copilot.db import db
from copilot.people import passwords
from tests.outside import data, replaying
from tests.support import databases
from tests.support import people as staff


def settings(domain: str) -> dict[str, str]:
    """The settings that put one domain's tools and written policy behind the gate."""
    about = replaying.DOMAINS[domain]
    return {"COPILOT_TOOLKITS": about.toolkit, "COPILOT_POLICY_DIR": str(data.POLICIES / about.policies)}


@contextmanager
def installation(domain: str) -> Iterator[replaying.Desk]:
    """A whole installation on a database of its own, with the staff and one agent."""
    passwords.PROFILE = profiles.CHEAPEST
    with tempfile.TemporaryDirectory(prefix="copilot-outside-") as name:
        folder = Path(name)
        environ = {
            "DATABASE_URL": databases.sqlite_copy(databases.sqlite_template(folder), folder),
            "SECRET_KEY": "figures only, 32 or more characters long",
            "COPILOT_DATA_DIR": name,
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "COPILOT_MODEL": "none",
        }
        with application.create_app(config.load(environ | settings(domain))).app_context():
            try:
                yield replaying.Desk(domain, staff.add())
            finally:
                db.session.remove()
                db.engine.dispose()


def _in(domain: str, measure: Callable[[replaying.Desk], dict[str, Any]]) -> dict[str, Any]:
    with installation(domain) as desk:
        return {**measure(desk), "shared_records_untouched": replaying.untouched(domain)}


FIGURES: dict[str, Callable[[], dict[str, Any]]] = {
    "tau1": lambda: _in("earlier", replaying.replay),
    "tau2": lambda: {domain: _in(domain, replaying.replay) for domain in ("retail", "airline")},
    "negative": lambda: _in("retail", replaying.negative),
    "gpt4o": lambda: _in("airline", replaying.gpt4o),
}


def _good(figures: dict[str, Any]) -> bool:
    """Whether nothing went otherwise anywhere in these figures, however deep."""
    bad = ("wrong", "changed_state")
    return all(
        _good(value) if isinstance(value, dict) else not value if name in bad else value if name == "shared_records_untouched" else True
        for name, value in figures.items()
    )


def main() -> int:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", nargs="?", choices=sorted(FIGURES))
    parser.add_argument("--json", action="store_true", help="print one line of JSON only")
    asked = parser.parse_args()
    if data.folder("tau2") is None:
        click.echo("COPILOT_TEST_DATA names no folder with data/tau2 in it.", err=True)
        return 2
    for name in [name for name in os.environ if name.startswith("COPILOT_") and name != "COPILOT_TEST_DATA"]:
        del os.environ[name]  # the machine's own settings have no say in a figure
    measured = {name: measure() for name, measure in FIGURES.items() if asked.figure in (None, name)}
    if not asked.json:
        click.echo(json.dumps(measured, indent=2))
    click.echo(json.dumps(measured))
    return 0 if _good(measured) else 1


if __name__ == "__main__":
    sys.exit(main())
