"""Reading tables of the tools file: what must be there, what may be, and a sentence for everything else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from copilot.errors import SetupError
from copilot.gateway import addresses


def known(table: Any, options: Iterable[str], *, where: str) -> None:
    """SetupError when it is no table or has an option nobody knows: a misspelt one would silently mean nothing."""
    if not isinstance(table, Mapping):
        raise SetupError(f"{where} is a table.")
    strange = sorted(set(table) - set(options))
    if strange:
        raise SetupError(f"{where} has {', '.join(strange)}, which means nothing here; there are {', '.join(sorted(options))}.")


def text(table: Any, option: str, *, where: str) -> str:
    """A text that must be there."""
    found = table.get(option) if isinstance(table, Mapping) else None
    if not isinstance(found, str) or not found.strip():
        raise SetupError(f"{where} needs {option}, a text.")
    return found


def tables(table: Mapping[str, Any], option: str, *, where: str) -> list[Mapping[str, Any]]:
    """A list of tables that must not be empty."""
    found = table.get(option)
    if not isinstance(found, list) or not found or not all(isinstance(part, Mapping) for part in found):
        raise SetupError(f"{where} needs at least one {option}.")
    return found


def address(given: Any, option: str, *, where: str, allow: Iterable[str], example: str) -> str:
    """A web address without user name or fragment; https, so that nobody on the way reads or answers, unless its host is in `allow`."""
    try:
        parts = urlsplit(given) if isinstance(given, str) else urlsplit("")
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host or parts.fragment or "@" in parts.netloc:
        raise SetupError(f"{where}: {option} is a web address, such as {example}.")
    listed, literal = addresses.parse(allow), addresses.as_address(addresses.plain(host))
    open_ = listed.names_it(host, port or 80) or (literal is not None and listed.holds(literal))
    if parts.scheme == "http" and not open_:
        raise SetupError(
            f"{where}: {option} has to begin with https, because {host} is not listed for outbound calls; "
            "list it in COPILOT_OUTBOUND_ALLOW only if nobody else can reach what lies between."
        )
    return str(given)
