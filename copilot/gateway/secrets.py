"""Secrets by reference: configuration says `env:NAME` or `file:/path`, and the value lives only in this process's memory.

It is read again at every use, so that a rotated file works at once. What was read is protected: the redactor takes it out
of every log line, prompt and message, and tools take it out of what comes back.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from copilot.audit import ownsecrets
from copilot.errors import SetupError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}\Z")
_LONGEST = 16_384


@dataclass(frozen=True, slots=True)
class Secret:
    """A value nobody sees by accident: neither its text nor its representation holds it. `reference` may be shown."""

    reference: str
    _value: str = field(repr=False)

    def __str__(self) -> str:
        return f"<{self.reference}>"

    def reveal(self) -> str:
        """The value itself, for the one header or process it is meant for."""
        return self._value


def resolve(reference: str) -> Secret:
    """Read one secret; SetupError names the reference and what is wrong with it, never the value."""
    kind, _, where = reference.partition(":")
    if kind == "env" and _NAME.match(where):
        value = os.environ.get(where, "")
        missing = f"the environment has no {where}"
    elif kind == "file" and where.startswith("/"):
        value, missing = _read(Path(where))
    else:
        raise SetupError("A secret is given by reference: write env:NAME or file:/absolute/path, not the secret itself.")
    if not value:
        raise SetupError(f"The secret {reference} is not set: {missing}.")
    if not value.isascii() or not value.isprintable():
        raise SetupError(f"The secret {reference} holds line breaks or characters that no header can carry.")
    ownsecrets.protect(value)
    return Secret(reference, value)


def is_reference(text: str) -> bool:
    """Whether a text of the configuration stands for a secret instead of for itself."""
    return text.startswith(("env:", "file:/"))


def exposed(reference: str) -> bool:
    """Whether a secret's file may be read by every user of the machine."""
    kind, _, where = reference.partition(":")
    try:
        return kind == "file" and bool(Path(where).stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _read(path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST + 1)
    except OSError as error:
        return "", f"the file cannot be read ({type(error).__name__})"
    if len(raw) > _LONGEST:
        return "", "the file is too long for a secret"
    try:
        return raw.decode().rstrip("\r\n"), "the file is empty"
    except UnicodeDecodeError:
        return "", "the file is not text"
