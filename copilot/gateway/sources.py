"""The tools file (TOML): which tools come from HTTP APIs and from MCP servers, beside those written in Python."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from copilot.errors import SetupError
from copilot.gateway import apipaper, entries, mcptools, openapi, secrets
from copilot.toolkit import Toolbox

_TABLES = frozenset({"openapi", "mcp"})


def load(file: Path | None) -> list[Toolbox]:
    """A toolbox for each `[[openapi]]` and `[[mcp]]` table; SetupError names the table, the tool and what to change."""
    if file is None:
        return []
    return apis(file) + [
        mcptools.load(entry, name=entries.text(entry, "name", where="An [[mcp]] table")) for entry in _read(file).get("mcp", [])
    ]


def apis(file: Path) -> list[Toolbox]:
    """Those of `load` that come from HTTP APIs: they need no database."""
    return [openapi.load(entry, folder=file.parent) for entry in _read(file).get("openapi", [])]


def warnings(file: Path | None) -> list[str]:
    """What `copilot doctor` says of the file: secrets that are not set or that everybody may read, and documents nobody pinned."""
    if file is None:
        return []
    content = _read(file)
    found = [
        f"The document of {entry.get('name')} is fetched at every start and held to no hash, so whoever serves it can change what is sent. "
        "Look at it, then write its SHA-256 in sha256, or keep it beside the file."
        for entry in content.get("openapi", [])
        if apipaper.unpinned(entry)
    ]
    for reference in sorted(set(_references(content))):
        try:
            secrets.resolve(reference)
        except SetupError as error:
            found.append(str(error))
        if secrets.exposed(reference):
            found.append(f"The secret {reference} can be read by every user of this machine; take that right away (chmod o-r).")
    return found


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"The tools file {file} cannot be read ({type(error).__name__}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"The tools file {file} is no TOML: {error}") from error
    entries.known(content, _TABLES, where=f"The tools file {file}")
    for table in content:
        entries.tables(content, table, where=f"The tools file {file}")
    return content


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, str) and secrets.is_reference(node):
        yield node
    for part in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _references(part)
