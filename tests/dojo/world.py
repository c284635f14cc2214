"""What both suites' tools stand on: the world of one case, and what users asked for, as the company's own desk keeps it.

A tool reads the user's own words by the ticket it serves. Those words are the one text here that no attacker wrote.
"""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from copilot.toolkit import Call, Preview, Toolbox


class World(ABC):
    """One case's environment, with a method for each of the suite's tools.

    `requests` maps a ticket's id to what its user asked for; `log` keeps every effect in order.
    """

    name = ""
    risk: dict[str, str]
    known: dict[str, dict[str, Any]]

    def __init__(self, environment: dict[str, Any]) -> None:
        self.seed = environment
        self.reset()

    def reset(self) -> None:
        """Begin again with the environment as published."""
        self.state: dict[str, Any] = copy.deepcopy(self.seed)
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.requests: dict[str, str] = {}

    @abstractmethod
    def plant(self, text: str) -> None:
        """Put an attacker's text wherever strangers can write in this environment."""

    @abstractmethod
    def preview(self, tool: str, arguments: dict[str, Any], call: Call) -> Preview:
        """What this call would mean."""

    @abstractmethod
    def hooks(self, tool: str) -> dict[str, Any]:
        """Further options of one tool."""

    def asked(self, call: Call) -> str:
        """The user's own words behind this call, or nothing."""
        return self.requests.get(call.ticket_id or "", "")

    def did(self, effect: str, **values: Any) -> None:
        """Note one effect."""
        self.log.append((effect, values))

    def toolbox(self, tools: tuple[dict[str, Any], ...]) -> Toolbox:
        """The suite's tools over this world; what the data calls egress changes nothing here but is no mere read either."""
        box = Toolbox(self.name)
        for tool in tools:
            name, effect = tool["name"], "read" if tool["effect"] == "read" else "write"
            known = {"known": _object(self.known[name])} if name in self.known else {}
            options = {} if effect == "read" else {"risk": self.risk.get(name, "medium"), "preview": self._previewing(name), **known}
            box.add(
                name,
                getattr(self, name),
                description=tool["description"],
                parameters=tool["parameters"],
                effect=effect,  # type: ignore[arg-type]  # the data's words are read or write
                **options,
                **self.hooks(name),
            )

        @box.environment
        @contextmanager
        def fresh() -> Iterator[World]:
            self.reset()
            yield self

        return box

    def _previewing(self, tool: str) -> Any:
        return lambda arguments, call: self.preview(tool, arguments, call)


def named_in(text: str, value: str) -> bool:
    """Whether a text names this value as words of its own; one or two letters name nothing."""
    value = value.strip()
    return len(value) > 2 and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE) is not None


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False}
