"""Where the children's lines go: to the terminal behind a short name, or to a file each."""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from copilot.processes.family import Sink

_LARGEST = 5_000_000  # bytes per log file; the one before is kept


def to_terminal(name: str, line: str) -> None:
    """Print one line. What a terminal would obey is shown as a mark: a ticket's text may stand in it."""
    sys.stdout.write(f"{name:>9} | {printable(line)}\n")
    sys.stdout.flush()


def to_files(folder: Path) -> Sink:
    """A sink that writes `<folder>/<name>.log`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handlers: dict[str, RotatingFileHandler] = {}

    def write(name: str, line: str) -> None:
        if name not in handlers:
            handlers[name] = RotatingFileHandler(folder / f"{name}.log", maxBytes=_LARGEST, backupCount=1, delay=True)
        handlers[name].emit(logging.LogRecord(name, logging.INFO, "", 0, "%s", (printable(line),), None))

    return write


def printable(line: str) -> str:
    """The line with every control and format character replaced by U+FFFD."""
    return "".join(character if character.isprintable() or character == "\t" else "\ufffd" for character in line)
