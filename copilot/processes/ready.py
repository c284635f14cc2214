"""What must hold before a part of an installation starts: a model, Redis, tools and rules, a migrated database of its own.

The commands ask before they begin, so that what is wrong is one sentence and not a process that starts and fails for ever. As a
program it prints one JSON object, with `problem` and exit code 1 when something does not hold.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from copilot import config
from copilot.app import create_app
from copilot.config import Settings
from copilot.db import db
from copilot.errors import CopilotError, SetupError
from copilot.processes import migrate, sample

WEB, CLOCK = "web", "clock"
_NEED_A_MODEL = (WEB, "draft")  # who drafts, and who lets people wait for drafts
_NEED_REDIS = config.QUEUES


def check(*parts: str) -> None:
    """SetupError unless these parts (web, clock, a queue) can start here; changes nothing."""
    settings = config.load()
    if any(part in _NEED_A_MODEL for part in parts):
        model(settings)
    if any(part in _NEED_REDIS for part in parts):
        redis(settings)
    migrate.require_file(settings)
    with create_app(settings, web=False).app_context():
        migrate.require()
        sample.check(demo=settings.demo)
        db.session.remove()
        db.engine.dispose()


def model(settings: Settings) -> None:
    """A model to draft with is named, and there is a key or a server of one's own."""
    if not settings.model:
        raise SetupError(
            "COPILOT_MODEL is not set: name the model that drafts (with OPENAI_API_KEY, or OPENAI_BASE_URL for another provider), "
            "or try `copilot demo`, which brings an offline one."
        )
    if not (settings.openai_api_key or settings.openai_base_url):
        raise SetupError(
            "OPENAI_API_KEY is not set: set the key of your model's provider, or OPENAI_BASE_URL to a server that asks for none."
        )


def redis(settings: Settings) -> str:
    """The address of the Redis that workers listen to."""
    if settings.redis_url is None:
        raise SetupError("REDIS_URL is not set and no embedded server runs: start `copilot up`, or set it.")
    return settings.redis_url


def say(problem: CopilotError) -> None:
    """Tell the parent process in a way `problem_in` understands."""
    sys.stdout.write(json.dumps({"problem": str(problem)}) + "\n")


def main(parts: Iterable[str]) -> int:
    """Check these parts."""
    try:
        check(*parts)
    except CopilotError as error:
        say(error)
        return 1
    sys.stdout.write("{}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
