"""Logging of one process: plain lines on standard error, where the supervisor or whoever started it collects them."""

from __future__ import annotations

import logging
import sys

from copilot.audit import redaction


class _Scrubbed(logging.Formatter):
    """Takes personal values out of the whole entry, tracebacks included: an exception may quote what it choked on."""

    def format(self, record: logging.LogRecord) -> str:
        return redaction.scrub(super().format(record))


def configure() -> None:
    """Log warnings and worse of everybody, and our own from INFO. Called before the application is made."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Scrubbed("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("copilot").setLevel(logging.INFO)
    logging.captureWarnings(True)
