"""Settings from the environment, parsed once, loud on nonsense.

Every setting is a field of `Settings` and a row in the README; `load` raises SetupError with one sentence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from copilot.errors import SetupError

QUEUES = ("execute", "draft", "upkeep")

_PACKAGE = Path(__file__).resolve().parent


def files(name: str) -> Path:
    """The folder `templates`, `static` or `migrations`: inside the package in a wheel, beside it in a checkout.

    Inside comes first: beside an installed package is everybody's site-packages, where another's `static` may lie.
    """
    for candidate in (_PACKAGE / "_files" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise SetupError(f"The folder {name} is missing; install Copilot again.")


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation's settings. Durations are timedeltas, paths absolute."""

    database_url: str
    redis_url: str | None
    secret_key: str | None
    openai_api_key: str | None
    openai_base_url: str | None
    model: str | None
    data_dir: Path
    base_url: str
    timezone: ZoneInfo
    trusted_proxies: int
    toolkits: tuple[str, ...]
    policy_dir: Path | None
    tools_file: Path | None
    outbound_allow: tuple[str, ...]
    slack_webhook_url: str | None
    clock_offset: timedelta
    demo: bool

    @property
    def sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.database_url.startswith("sqlite")

    @property
    def secret(self) -> str:
        """The key that signs cookies and tokens; SetupError when there is none."""
        if not self.secret_key:
            raise SetupError(
                "SECRET_KEY is not set: set it to 32 or more random characters, or start with `copilot up`, which makes and keeps one."
            )
        return self.secret_key


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; SetupError names the first that makes no sense and says what to write instead."""
    env = {key: value.strip() for key, value in (os.environ if environ is None else environ).items() if value.strip()}
    data_dir = Path(env.get("COPILOT_DATA_DIR", "var")).expanduser().resolve()
    demo = env.get("COPILOT_DEMO") == "1"
    secret_key = env.get("SECRET_KEY") or _kept(data_dir / "secret_key")
    if secret_key is not None and len(secret_key) < 16:
        raise SetupError("SECRET_KEY is too short: use 32 or more random characters.")
    toolkits, policies = env.get("COPILOT_TOOLKITS"), env.get("COPILOT_POLICY_DIR")
    if toolkits is None and policies is None:  # one without the other would not fit
        toolkits, policies = _kept(data_dir / "toolkits"), _kept(data_dir / "policy_dir")
    return Settings(
        database_url=_database(env.get("DATABASE_URL"), data_dir),
        redis_url=_redis(env.get("REDIS_URL") or _kept(data_dir / "redis_url")),
        secret_key=secret_key,
        openai_api_key=env.get("OPENAI_API_KEY"),
        openai_base_url=env.get("OPENAI_BASE_URL"),
        model=env.get("COPILOT_MODEL"),
        data_dir=data_dir,
        base_url=_base_url(env.get("COPILOT_BASE_URL") or _kept(data_dir / "base_url") or "http://127.0.0.1:8000"),
        timezone=_timezone(env.get("COPILOT_TIMEZONE", "UTC")),
        trusted_proxies=_count("COPILOT_TRUSTED_PROXIES", env.get("COPILOT_TRUSTED_PROXIES", "0")),
        toolkits=_toolkits(toolkits or ""),
        policy_dir=Path(policies).expanduser().resolve() if policies else None,
        tools_file=Path(env["COPILOT_TOOLS_FILE"]).expanduser().resolve() if "COPILOT_TOOLS_FILE" in env else None,
        outbound_allow=tuple(part.strip() for part in env.get("COPILOT_OUTBOUND_ALLOW", "").split(",") if part.strip()),
        slack_webhook_url=_http("SLACK_WEBHOOK_URL", env.get("SLACK_WEBHOOK_URL")),
        clock_offset=_offset(env.get("COPILOT_CLOCK_OFFSET"), demo),
        demo=demo,
    )


def _kept(file: Path) -> str | None:
    """What the supervisor wrote down for later commands: its secret, the embedded server's address, its own, the sample company's tools."""
    return file.read_text().strip() or None if file.is_file() else None


_current: Settings | None = None


def install(settings: Settings) -> None:
    """Make these the process's settings."""
    global _current
    _current = settings


def current() -> Settings:
    """The process's settings; SetupError before `install`."""
    if _current is None:
        raise SetupError("Settings were asked for before they were read.")
    return _current


def _database(url: str | None, data_dir: Path) -> str:
    if url is None:
        return f"sqlite:///{data_dir / 'copilot.sqlite3'}"
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            url = "postgresql+psycopg://" + url.removeprefix(prefix)
    if not url.startswith(("postgresql+psycopg://", "sqlite:///")):
        raise SetupError("DATABASE_URL is not one we speak: use postgresql://user:password@host/name or sqlite:////absolute/path.")
    if not url.startswith("sqlite") and not _well_formed(url):  # the sentence never quotes it: it may hold a password
        raise SetupError(
            "DATABASE_URL cannot be read: write postgresql://user:password@host:5432/name, and in the password write "
            "@ as %40, / as %2F, : as %3A and % as %25."
        )
    return url


def _well_formed(url: str) -> bool:
    """Whether the address has one user, host, port and name; a stray @ or / would make a part of the password the host's name."""
    from sqlalchemy.engine import make_url  # costs a tenth of a second, which `copilot --help` need not spend
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return False
    return "@" not in f"{parts.host}{parts.database}" and "/" not in (parts.database or "")


def _redis(url: str | None) -> str | None:
    if url is None or url.startswith(("redis://", "rediss://", "unix://")):
        return url
    raise SetupError("REDIS_URL is not one we speak: use redis://host:6379/0, rediss://… or unix:///path/to.sock.")


def _http(name: str, url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SetupError(f"{name} is not a web address: it starts with https:// and has a host.")
    return url


def _base_url(url: str) -> str:
    return str(_http("COPILOT_BASE_URL", url)).rstrip("/")


def _timezone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise SetupError(f"COPILOT_TIMEZONE {name!r} is no time zone: use a name such as Europe/Vienna.") from error


def _count(name: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text):
        raise SetupError(f"{name} is a whole number from 0 to 999.")
    return int(text)


def _toolkits(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
            raise SetupError(f"COPILOT_TOOLKITS entry {name!r}: write module:attribute, for example shop.tools:shop.")
    return names


def _offset(text: str | None, demo: bool) -> timedelta:
    if text is None:
        return timedelta(0)
    if not demo:
        raise SetupError("COPILOT_CLOCK_OFFSET works only with the sample company; unset it.")
    try:
        return timedelta(seconds=float(text))
    except (ValueError, OverflowError) as error:
        raise SetupError("COPILOT_CLOCK_OFFSET is a number of seconds, for example 86400.") from error
