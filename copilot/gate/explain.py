"""What a default deny would have needed, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def missing(policies: Any, given: Any, context: Mapping[str, Any], action: str) -> str:
    """What the nearest permit would have needed."""
    return ""


def plain(name: str) -> str:
    """A field's name as people read it."""
    return name.replace("_", " ")
