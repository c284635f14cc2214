"""Makes an installation ready before any process works on it: checks, migrates once, adopts the policies, seeds the sample company.

The supervisor runs this as a task of its own, so that it stays small itself. One JSON object on standard output: `problem`
with a sentence and exit code 1, or the sample company's credentials.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from copilot import config
from copilot.app import create_app
from copilot.config import Settings
from copilot.db import db, transaction
from copilot.errors import CopilotError
from copilot.gate import library, policy
from copilot.processes import migrate, ready, sample


def main(arguments: list[str]) -> int:
    """Prepare; with `--tokens` also issue the scripted operators' tokens. With `--end-tokens`, only end those."""
    try:
        settings = config.load()
        answer = _end_tokens(settings) if "--end-tokens" in arguments else _prepare(settings, tokens_too="--tokens" in arguments)
    except CopilotError as error:
        ready.say(error)
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _prepare(settings: Settings, *, tokens_too: bool) -> dict[str, object]:
    ready.model(settings)
    path = migrate.file(settings)
    if path is None or path.exists():
        with migrate.bare(settings).app_context():
            migrate.schema()  # says in one sentence when it cannot be reached
            sample.check(demo=settings.demo)  # before a table of somebody else's is touched
            db.session.remove()
    migrate.upgrade(settings)
    app = create_app(settings, web=False)
    with app.app_context():
        with transaction():
            library.adopt(policy.current())
        if not settings.demo:
            return {}
        return dataclasses.asdict(sample.seed(tokens_too=tokens_too))


def _end_tokens(settings: Settings) -> dict[str, object]:
    with create_app(settings, web=False).app_context():
        sample.end_tokens()
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
