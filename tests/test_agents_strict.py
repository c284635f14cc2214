"""Tool schemas in the model's strict mode, and its answers back in the tool's own shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jsonschema_rs
from pydantic import BaseModel, Field

from copilot.agents import strict
from copilot.toolkit import Tool, Toolbox

box = Toolbox("strictly")


class Line(BaseModel):
    sku: Annotated[str, Field(max_length=10)]
    count: int = 1
    gift: str | None = None


@box.tool(effect="read", risk="low")
def plain(order: str, limit: Annotated[int, Field(ge=1, le=5)] = 3, kind: Literal["a", "b"] = "a", note: str | None = None) -> None:
    """Plain."""


@box.tool(effect="read", risk="low")
def nested(lines: list[Line], main: Line | None = None) -> None:
    """Nested."""


@box.tool(effect="read", risk="low")
def free(anything: dict[str, Any]) -> None:
    """Free."""


def function(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = strict.definition(tool)["function"]
    return made


def test_every_property_is_required_and_what_may_be_left_out_may_be_null() -> None:
    made = function(box.tools["plain"])
    assert made["strict"] is True
    parameters = made["parameters"]
    assert parameters["required"] == ["order", "limit", "kind", "note"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["limit"] == {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "null"}]}
    assert parameters["properties"]["order"] == {"type": "string"}
    jsonschema_rs.validator_for(parameters).validate({"order": "x", "limit": None, "kind": "b", "note": None})


def test_nested_objects_are_tight_too() -> None:
    parameters = function(box.tools["nested"])["parameters"]
    assert parameters["$defs"]["Line"]["required"] == ["sku", "count", "gift"]
    assert parameters["$defs"]["Line"]["properties"]["sku"] == {"type": "string"}


def test_a_schema_that_strict_mode_cannot_say_is_sent_as_it_is() -> None:
    made = function(box.tools["free"])
    assert "strict" not in made
    assert made["parameters"] == box.tools["free"].parameters


def test_nulls_in_place_of_left_out_fields_disappear_and_real_ones_stay() -> None:
    plain_one, nested_one = box.tools["plain"].parameters, box.tools["nested"].parameters
    assert strict.relaxed(plain_one, {"order": "x", "limit": None, "kind": None, "note": None}) == {"order": "x", "note": None}
    given = {"lines": [{"sku": "a", "count": None, "gift": None}], "main": {"sku": "b", "count": None, "gift": "x"}}
    assert strict.relaxed(nested_one, given) == {"lines": [{"sku": "a", "gift": None}], "main": {"sku": "b", "gift": "x"}}
    assert strict.relaxed(nested_one, {"lines": [], "main": None}) == {"lines": [], "main": None}


def test_what_does_not_fit_is_left_for_the_gate_to_refuse() -> None:
    parameters = box.tools["plain"].parameters
    assert strict.relaxed(parameters, {"order": None, "else": None}) == {"order": None, "else": None}
    assert strict.relaxed(parameters, "text") == "text"
    assert strict.relaxed({"$ref": "#/$defs/gone"}, {"a": None}) == {"a": None}
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert strict.relaxed(loop, {"a": None}) == {"a": None}
