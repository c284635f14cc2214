"""The registry of tools: loaded once when a process starts, asked by name everywhere."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from copilot.errors import NotFound, SetupError
from copilot.gate import schema
from copilot.toolkit import Tool, Toolbox, ToolDefinitionError


@dataclass(frozen=True, slots=True)
class Registry:
    """All tools of an installation by name; names are unique across toolboxes."""

    by_name: dict[str, Tool] = field(default_factory=dict)

    def find(self, name: str) -> Tool | None:
        """The tool, or None."""
        return self.by_name.get(name)

    def get(self, name: str) -> Tool:
        """The tool; NotFound with a sentence when no toolkit provides it."""
        tool = self.by_name.get(name)
        if tool is None:
            raise NotFound(f"There is no tool called {name[:80]!r}.")
        return tool

    def all(self) -> tuple[Tool, ...]:
        """Every tool, by name."""
        return tuple(self.by_name[name] for name in sorted(self.by_name))


def registry(boxes: Iterable[Toolbox]) -> Registry:
    """Build a registry; SetupError names a tool that two toolboxes claim, or whose schema does not compile."""
    by_name: dict[str, Tool] = {}
    for box in boxes:
        for name, tool in box.tools.items():
            if name in by_name:
                raise SetupError(f"Two toolboxes, {by_name[name].toolbox} and {box.name}, both have a tool called {name}; rename one.")
            schema.compile_for(tool)
            by_name[name] = tool
    return Registry(by_name)


def load(references: Iterable[str], *, more: Iterable[Toolbox] = ()) -> Registry:
    """Import every `module:attribute` of COPILOT_TOOLKITS; SetupError says which failed and why.

    `more` are toolboxes that come from elsewhere: HTTP APIs and MCP servers.
    """
    boxes = []
    for reference in references:
        module, _, attribute = reference.partition(":")
        if "" not in sys.path:
            sys.path.insert(0, "")  # a toolkit beside the working directory needs no packaging
        try:
            box = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ToolDefinitionError) as error:
            raise SetupError(f"COPILOT_TOOLKITS: {reference} could not be loaded: {error}") from error
        if not isinstance(box, Toolbox):
            raise SetupError(f"COPILOT_TOOLKITS: {reference} is not a Toolbox.")
        boxes.append(box)
    return registry([*boxes, *more])


_current = Registry()


def install(tools: Registry) -> None:
    """Make these the process's tools."""
    global _current
    _current = tools


def current() -> Registry:
    """The process's tools."""
    return _current
