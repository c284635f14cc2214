"""Makes an installation ready before any process works on it: migrates once, checks what must hold, seeds the sample company.

The supervisor runs this as a task of its own, so that it stays small itself. One JSON object on standard output: `problem`
with a sentence and exit code 1, or the sample company's credentials.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from copilot import config
from copilot.app import create_app
from copilot.errors import CopilotError, SetupError
from copilot.processes import migrate, sample


def main(arguments: list[str]) -> int:
    """Prepare; with `--tokens` also issue the scripted operators' tokens."""
    try:
        settings = config.load()
        if not settings.model:
            raise SetupError(
                "COPILOT_MODEL is not set: name the model that drafts (with OPENAI_API_KEY, and OPENAI_BASE_URL for another provider), "
                "or try `copilot demo`, which brings an offline one."
            )
        migrate.upgrade(settings)
        app = create_app(settings, web=False)
        answer: dict[str, object] = {}
        if settings.demo:
            with app.app_context():
                answer = dataclasses.asdict(sample.seed(tokens_too="--tokens" in arguments))
    except CopilotError as error:
        sys.stdout.write(json.dumps({"problem": str(error)}) + "\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
