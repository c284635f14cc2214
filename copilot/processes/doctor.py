"""`copilot doctor`: what is wrong with this installation, and how to mend it. Changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from copilot import config
from copilot.config import Settings
from copilot.db import db, now
from copilot.errors import CopilotError
from copilot.gate import library, policy, tools
from copilot.gateway import addresses, limits, outbound, sources
from copilot.models import Heartbeat
from copilot.processes import migrate, sample, server, supervisor

_FRESH = timedelta(seconds=30)
_LEAST_DISK = 500_000_000  # bytes
_MOST_SKEW = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `said` is what was found; `mend` says what to do when it is not `ok`."""

    name: str
    ok: bool
    said: str
    mend: str = ""


class _Wrong(Exception):
    """A check found a problem: what is wrong, and how to mend it."""

    def __init__(self, said: str, mend: str) -> None:
        super().__init__(said)
        self.said, self.mend = said, mend


def examine(environ: dict[str, str] | None = None) -> list[Check]:
    """Look at everything; a check that cannot be made because of an earlier problem is left out.

    What a supervisor that runs on the same data folder told its children counts as set, so a sample company is seen as it is.
    """
    environ = dict(os.environ) if environ is None else environ
    found = [Check("Python", ok=True, said=sys.version.split()[0])]
    try:
        settings = config.load(_handed(config.load(environ).data_dir) | environ)
    except CopilotError as error:
        return [*found, Check("settings", ok=False, said=str(error), mend="Correct the setting and run this again.")]
    config.install(settings)
    found.append(Check("settings", ok=True, said=f"data in {settings.data_dir}"))
    found += [_check(name, partial(look, settings)) for name, look in _LOOKS]
    return found + _database(settings)


def _handed(data_dir: Path) -> dict[str, str]:
    try:
        handed = json.loads((data_dir / supervisor.HANDED).read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in handed.items()}


def told(checks: Sequence[Check]) -> str:
    """The checks as lines for a person."""
    lines = []
    for check in checks:
        lines.append(f"{'ok ' if check.ok else 'NO '} {check.name:<18} {check.said}")
        if not check.ok and check.mend:
            lines.append(f"    {'':<18} -> {check.mend}")
    wrong = sum(not check.ok for check in checks)
    return "\n".join([*lines, "", "All is well." if not wrong else f"{wrong} of {len(checks)} checks found a problem."])


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, ok=True, said=look())
    except _Wrong as wrong:
        return Check(name, ok=False, said=wrong.said, mend=wrong.mend)
    except CopilotError as error:
        return Check(name, ok=False, said=str(error), mend="Correct that and run this again.")
    except SQLAlchemyError as error:
        return Check(
            name, ok=False, said=f"The database refused: {type(error).__name__}.", mend="Run `copilot db upgrade`, then this again."
        )


def _database(settings: Settings) -> list[Check]:
    path = migrate.file(settings)
    if path is not None and not path.exists():  # looking inside would make it
        return [Check("database", ok=False, said=f"There is no database at {path}.", mend="Run `copilot db upgrade`, or `copilot up`.")]
    with migrate.bare(settings).app_context():
        schema = _check("database", partial(_schema, settings))
        return [schema, *(_check(name, partial(look, settings)) for name, look in _IN_DATABASE)] if schema.ok else [schema]


def _secret(settings: Settings) -> str:
    settings.secret  # noqa: B018 -- raises with the sentence when there is none
    return "SECRET_KEY is set"


def _disk(settings: Settings) -> str:
    folder = next(folder for folder in (settings.data_dir, *settings.data_dir.parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    if free < _LEAST_DISK:
        raise _Wrong(f"Only {free // 1_000_000} MB are free under {folder}.", "Free some space, or move COPILOT_DATA_DIR.")
    return f"{free // 1_000_000_000} GB free"


def _redis(settings: Settings) -> str:
    if settings.redis_url is None:
        raise _Wrong("No Redis is set and no embedded one runs.", "Start `copilot up`, or set REDIS_URL.")
    if not server.answers(settings.redis_url):
        raise _Wrong("Redis does not answer.", "Start it (or `copilot up`); work waits in the database meanwhile.")
    return "answers"


def _tools(settings: Settings) -> str:
    registry = tools.load(settings.toolkits)
    limits.check(registry.all())
    if not registry.all() and settings.tools_file is None:
        raise _Wrong("No tools are loaded.", "Set COPILOT_TOOLKITS to your toolbox, for example shop.tools:shop, or COPILOT_TOOLS_FILE.")
    return f"{len(registry.all())} tools; their deadlines, leases and keys fit together"


def _foreign(settings: Settings) -> str:
    addresses.parse(settings.outbound_allow)
    if settings.tools_file is None:
        return "no tools file"
    problems = sources.warnings(settings.tools_file)
    if problems:
        raise _Wrong(" ".join(problems), f"Mend what {settings.tools_file} refers to.")
    boxes = sources.apis(settings.tools_file)
    return f"{sum(len(box.tools) for box in boxes)} tools of {len(boxes)} HTTP APIs; every secret is there"


def _policies(settings: Settings) -> str:
    foreign = settings.tools_file is not None  # then only `copilot policy check` knows every tool: some are kept in the database
    policy.load(settings.policy_dir, () if foreign else tools.load(settings.toolkits).all())
    return f"parsed from {settings.policy_dir}" if settings.policy_dir else "the starter set"


def _in_force(settings: Settings) -> str:
    version = library.current_version()
    if version is None:
        return "the policy folder; it becomes version 1 at the next start"
    said = f"version {version.number}, {'from the folder' if version.source == 'files' else 'published on the page'}"
    if settings.tools_file is not None:
        return f"{said}; whether it can be read with every tool, the settings page says"
    tools.install(tools.load(settings.toolkits))
    policy.install(policy.load(settings.policy_dir, tools.current().all()))
    problem = library.problem()
    if problem is not None:
        raise _Wrong(
            problem, "Nothing is allowed until then: publish a version that can be read, or mend what it speaks about and start again."
        )
    return said


def _model(settings: Settings) -> str:
    if not settings.model:
        raise _Wrong("COPILOT_MODEL is not set.", "Name the model that drafts, with OPENAI_API_KEY.")
    base = settings.openai_base_url or "https://api.openai.com/v1"
    if not (settings.openai_api_key or settings.openai_base_url):
        raise _Wrong("OPENAI_API_KEY is not set.", "Set the key of your model's provider, or OPENAI_BASE_URL to a server without keys.")
    headers = {"Authorization": f"Bearer {settings.openai_api_key}"} if settings.openai_api_key else {}
    host = urllib.parse.urlsplit(base).hostname
    try:
        answer = outbound.request("GET", f"{base.rstrip('/')}/models", headers=headers, purpose="model", timeout=5, allow=base)
    except (outbound.NotSent, outbound.Broken, ValueError) as error:
        raise _Wrong("The model's provider cannot be reached.", "Check OPENAI_BASE_URL and the network.") from error
    if answer.status in (401, 403):
        raise _Wrong("The model's provider refuses the key.", "Correct OPENAI_API_KEY.")
    return f"{settings.model} at {host}" + ("" if answer.status == 200 else " (it lists no models)")


def _slack(settings: Settings) -> str:
    if settings.slack_webhook_url is None:
        return "not set: escalations are shown on the notifications page only"
    parts = urllib.parse.urlsplit(settings.slack_webhook_url)
    try:
        with socket.create_connection((str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)), timeout=5):
            return f"{parts.hostname} is reachable"
    except OSError as error:
        raise _Wrong(
            f"{parts.hostname} cannot be reached.", "Check SLACK_WEBHOOK_URL and the network; notifications wait meanwhile."
        ) from error


def _schema(_: Settings) -> str:
    schema = migrate.schema()
    if schema.problem is not None:
        raise _Wrong(schema.problem, "Nothing was changed.")
    if not schema.current:
        raise _Wrong(f"The database is at revision {schema.revision or 'none'}, and {schema.head} is needed.", "Run `copilot db upgrade`.")
    return f"revision {schema.revision}"


def _writes(_: Settings) -> str:
    try:
        db.session.rollback()
        db.session.execute(text("DELETE FROM holders WHERE job = 'no such job'"))
    except SQLAlchemyError as error:
        raise _Wrong("The database does not let us write.", "Grant the database user write access, or make the file writable.") from error
    finally:
        db.session.rollback()
    return "writes"


def _owner(settings: Settings) -> str:
    sample.check(demo=settings.demo)
    return "the sample company's" if settings.demo else "no sample company in it"


def _skew(_: Settings) -> str:
    before = time.time()
    skew = abs((now() - datetime.now(UTC)).total_seconds()) - (time.time() - before)
    if skew > _MOST_SKEW:
        raise _Wrong(f"The database's clock is {skew:.0f} seconds off this machine's.", "Set both by NTP; deadlines follow the database's.")
    return "the clocks agree"


def _beats(_: Settings) -> str:
    moment = now()
    rows = db.session.execute(select(Heartbeat.kind, func.max(Heartbeat.at)).group_by(Heartbeat.kind))
    newest = dict(rows.all())
    silent = [kind for kind in (*config.QUEUES, "clock") if kind not in newest or moment - newest[kind] > _FRESH]
    if silent:
        raise _Wrong(
            f"No sign of life for {_FRESH.seconds} seconds from: {', '.join(silent)}.",
            "Start them with `copilot worker` and `copilot clock`, or everything with `copilot up`.",
        )
    return "a worker of every queue and the clock are alive"


_LOOKS: tuple[tuple[str, Callable[[Settings], str]], ...] = (
    ("secret key", _secret),
    ("disk", _disk),
    ("redis", _redis),
    ("tools", _tools),
    ("foreign tools", _foreign),
    ("policies", _policies),
    ("model", _model),
    ("slack", _slack),
)
_IN_DATABASE: tuple[tuple[str, Callable[[Settings], str]], ...] = (
    ("database writes", _writes),
    ("database owner", _owner),
    ("clocks", _skew),
    ("processes", _beats),
    ("policies in force", _in_force),
)
