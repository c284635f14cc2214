"""Cedar policies: loaded once, validated against the vocabulary, asked with parsed handles.

Default deny. Four questions are asked of an agent (`read`, `propose`, `approve_alone`: does one approval suffice,
`run_unattended`) and one of a person (`approve`). A missing permit always leads to the stricter side: no
`propose` refuses, no `approve_alone` means two people, no `run_unattended` means a person.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy

from copilot.errors import SetupError
from copilot.gate import budgets
from copilot.toolkit import Tool

VOCABULARY = Path(__file__).with_name("vocabulary.cedarschema")
STARTER = Path(__file__).with_name("starter")


@dataclass(frozen=True, slots=True)
class Answer:
    """One question's answer: `allowed`, or not; the deciding policies' ids; `broken` when Cedar could not decide."""

    allowed: bool
    policies: tuple[str, ...]
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class Policies:
    """A loaded policy directory: parsed handles, sentences by policy id, budget rules, and a hash over all of it."""

    handle: Any
    schema: Any
    ids: dict[str, str]
    sentences: dict[str, str]
    budget_rules: tuple[budgets.BudgetRule, ...]
    hash: str

    def sentence(self, policy_id: str) -> str:
        """The plain sentence a policy's author wrote for people."""
        return self.sentences.get(policy_id, "")

    def ask(self, *, principal: dict[str, str], parents: list[dict[str, str]], action: str, tool: Tool, context: dict[str, Any]) -> Answer:
        """Put one question; any evaluation error counts as `broken` and never as an allow."""
        resource = {"type": "Tool", "id": tool.name}
        attributes = {"effect": tool.effect, "risk": tool.risk, "reversible": tool.reversible}
        entities: list[dict[str, Any]] = [
            {"uid": resource, "attrs": attributes, "parents": []},
            {"uid": principal, "attrs": {}, "parents": parents},
            *({"uid": parent, "attrs": {}, "parents": []} for parent in parents),
        ]
        request = {"principal": principal, "action": {"type": "Action", "id": action}, "resource": resource, "context": context}
        result = cedarpy.is_authorized(request, self.handle, entities, self.schema)
        policies = tuple(sorted(self.ids.get(reason, reason) for reason in result.diagnostics.reasons))
        errors = result.diagnostics.errors
        if errors or result.decision == cedarpy.Decision.NoDecision:
            return Answer(False, policies, broken="; ".join(map(str, errors)) or "no decision")
        return Answer(result.decision == cedarpy.Decision.Allow, policies)


def load(directory: Path | None) -> Policies:
    """Read `*.cedar` and `budgets.toml`; without a directory the careful starter set that ships with Copilot.

    SetupError names the file and the mistake: a policy without @id or @sentence, an id used twice, a misspelt attribute.
    """
    directory = directory or STARTER
    files = sorted(directory.glob("*.cedar")) if directory.is_dir() else []
    if not files:
        raise SetupError(f"COPILOT_POLICY_DIR {directory} holds no .cedar files, so nothing could ever be allowed.")
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    rules = budgets.load(directory)
    budget_file = directory / "budgets.toml"
    whole = text + (budget_file.read_text(encoding="utf-8") if budget_file.is_file() else "")
    try:
        schema = cedarpy.Schema.from_str(VOCABULARY.read_text(encoding="utf-8"))
        handle = cedarpy.PolicySet.from_str(text)
        parsed = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    except ValueError as error:
        raise SetupError(f"Policies in {directory} do not parse: {error}") from error
    checked = cedarpy.validate_policies(text, schema)
    if not checked.validation_passed:
        raise SetupError(f"Policies in {directory}: {'; '.join(str(error) for error in checked.errors)}")
    ids = {key: str(policy.get("annotations", {}).get("id", "")) for key, policy in parsed.items()}
    sentences = {ids[key]: str(policy.get("annotations", {}).get("sentence", "")) for key, policy in parsed.items()}
    if not all(ids.values()) or not all(sentences.values()):
        raise SetupError(f"Policies in {directory}: every policy carries @id(…) and @sentence(…).")
    if odd := [name for name in ids.values() if not budgets.ID.fullmatch(name)]:
        raise SetupError(f"Policies in {directory}: @id {odd[0]!r}: use lower-case letters, digits, dots and dashes, at most 64.")
    if len(sentences) != len(ids):
        raise SetupError(f"Policies in {directory}: two policies have the same @id.")
    return Policies(handle, schema, ids, sentences, rules, hashlib.sha256(whole.encode()).hexdigest())


_current: Policies | None = None


def install(policies: Policies) -> None:
    """Make these the process's policies."""
    global _current
    _current = policies


def current() -> Policies:
    """The process's policies; SetupError before `install`."""
    if _current is None:
        raise SetupError("Policies were asked for before they were loaded.")
    return _current
