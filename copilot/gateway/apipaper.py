"""Where an OpenAPI document comes from: a file beside the tools file, or the web, held to its hash where one is given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copilot import config
from copilot.errors import SetupError
from copilot.gateway import entries, outbound

_LONGEST = 10_000_000


def fetched(entry: Mapping[str, Any]) -> bool:
    """Whether the document of an `[[openapi]]` table comes from the web."""
    place = entry.get("document")
    return isinstance(place, str) and place.lower().startswith(("https://", "http://"))


def unpinned(entry: Mapping[str, Any]) -> bool:
    """Whether somebody else decides at every start what the document says."""
    return fetched(entry) and entry.get("sha256") is None


def read(entry: Mapping[str, Any], *, where: str, folder: Path) -> Any:
    """The document's content; SetupError when it cannot be had or is not the one that was pinned."""
    place, wanted = entries.text(entry, "document", where=where), entry.get("sha256")
    raw = _fetched(place, where, wanted) if fetched(entry) else _from_file(folder / place, where)
    found = hashlib.sha256(raw).hexdigest()
    if wanted is not None and wanted != found:
        raise SetupError(f"{where}: the document has changed: its SHA-256 is {found}. Look at it, then write that in sha256.")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{where}: the document is no JSON (YAML is not read; convert it first).") from error


def _from_file(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"{where}: the document {path} cannot be read ({type(error).__name__}).") from error


def _fetched(place: str, where: str, wanted: Any) -> bytes:
    """A document held to a hash is kept in the data folder, so that starting again needs nobody else to be up."""
    settings = config.current()
    url = entries.address(
        place, "document", where=where, allow=settings.outbound_allow, example="https://api.example.com/openapi.json, or a file"
    )
    kept = settings.data_dir / "documents" / f"{wanted}.json" if isinstance(wanted, str) and wanted.isalnum() else None
    if kept is not None and kept.is_file():
        return kept.read_bytes()
    try:
        answer = outbound.request("GET", url, purpose="document", timeout=20, limit=_LONGEST)
    except (outbound.NotSent, outbound.Broken) as error:
        raise SetupError(f"{where}: the document could not be fetched. {error}") from error
    if answer.status != 200:
        raise SetupError(f"{where}: the document could not be fetched; the answer was {answer.status}.")
    if kept is not None and hashlib.sha256(answer.content).hexdigest() == wanted:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(answer.content)
    return answer.content
