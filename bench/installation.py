"""An installation of its own for a measurement: the sample company's tools and policies on a fresh database."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copilot import config
from copilot.app import create_app
from copilot.db import db
from copilot.processes import migrate

POLICIES = Path(config.__file__).parent / "demo" / "policies"


@contextmanager
def fresh(url: str | None = None) -> Iterator[None]:
    """A migrated database at this address, or SQLite in a folder that is removed, with the application's context."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        settings = config.load(
            {
                "DATABASE_URL": url or f"sqlite:///{Path(folder) / 'bench.sqlite3'}",
                "COPILOT_DATA_DIR": folder,
                "SECRET_KEY": "a bench guards nothing, but needs a key",
                "COPILOT_TOOLKITS": "copilot.demo.tools:shop",
                "COPILOT_POLICY_DIR": str(POLICIES),
                "COPILOT_MODEL": "none",
            }
        )
        migrate.upgrade(settings)
        with create_app(settings, web=False).app_context():
            yield
            db.session.remove()
            db.engine.dispose()
