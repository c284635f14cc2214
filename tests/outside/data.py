"""Where the outside data is: below the folder in COPILOT_TEST_DATA, and nowhere without it."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

POLICIES = Path(__file__).with_name("policies")


def folder(*parts: str) -> Path | None:
    """A folder or file of the outside data, or None where there is none."""
    root = os.environ.get("COPILOT_TEST_DATA")
    found = Path(root, "data", *parts) if root else None
    return found if found is not None and found.exists() else None


@lru_cache(maxsize=32)
def read(*parts: str) -> Any:
    """One JSON file of the outside data. It is shared: nobody may change it."""
    found = folder(*parts)
    if found is None:
        raise FileNotFoundError("COPILOT_TEST_DATA has no " + "/".join(("data", *parts)))
    return json.loads(found.read_text(encoding="utf-8"))


def tables(domain: str, *, again: bool = False) -> dict[str, dict[str, Any]]:
    """The records a domain starts with, by table and id; `again`: as they stand in the files, not as others hold them."""
    place, load = folder("tau2", domain, "db"), read.__wrapped__ if again else read
    return {file.stem: load("tau2", domain, "db", file.name) for file in sorted(place.glob("*.json"))} if place else {}
