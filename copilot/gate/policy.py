"""Cedar policies: loaded once, validated against the vocabulary, asked with parsed handles.

Default deny. Four questions are asked of an agent (`read`, `propose`, `approve_alone`: does one approval suffice,
`run_unattended`) and one of a person (`approve`). A missing permit always leads to the stricter side: no
`propose` refuses, no `approve_alone` means two people, no `run_unattended` means a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cedarpy
from cedarpy import pst

from copilot.errors import BadInput, SetupError
from copilot.gate import folder, rules
from copilot.gate import vocabulary as words
from copilot.gate.budgets import BudgetRule
from copilot.gate.calendar import Calendar
from copilot.gate.folder import Statement
from copilot.toolkit import Tool

STARTER = Path(__file__).with_name("starter")
_MOST_HANDLES = 4096

Uid = tuple[str, str]  # type and id, such as ("Role", "manager")


class Subject(Protocol):
    """What policies may know of a tool: of a registered one, or of one as a recorded verdict remembers it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def effect(self) -> str:
        """`read` or `write`."""

    @property
    def risk(self) -> str:
        """`low`, `medium` or `high`."""

    @property
    def reversible(self) -> bool:
        """Whether it can be undone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question's answer: `allowed`, or not; the deciding policies' ids; `broken` when Cedar could not decide.

    Not allowed with policies: these forbade it, and no error elsewhere could change that. Not allowed without: nothing permitted it.
    """

    allowed: bool
    policies: tuple[str, ...]
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class Policies:
    """A loaded policy folder: parsed handles, its statements and budgets, its calendar, and a hash over all its files.

    `ids` maps Cedar's own names of the policies to ours; `mentions` says which facts a policy asks about.
    """

    handle: Any
    schema: Any
    statements: tuple[Statement, ...]
    ids: dict[str, str]
    sentences: dict[str, str]
    budget_rules: tuple[BudgetRule, ...]
    calendar: Calendar
    vocabulary: words.Vocabulary
    files: dict[str, str]
    hash: str
    _handles: dict[Any, Any] = field(init=False, default_factory=dict, repr=False, compare=False)
    _parts: dict[str, Any] = field(init=False, default_factory=dict, repr=False, compare=False)
    _wanted: dict[str, tuple[tuple[tuple[str, ...], bool], ...]] = field(init=False, default_factory=dict, repr=False, compare=False)

    @property
    def mentions(self) -> dict[str, frozenset[str]]:
        """By policy id, the facts it asks about: `amount_minor`, `used.refunds-per-day`, `args.pay.memo`."""
        return {statement.id: statement.mentions for statement in self.statements}

    @property
    def vocabulary_names(self) -> frozenset[str]:
        """Every fact these policies could ask about."""
        return self.vocabulary.names()

    def sentence(self, policy_id: str) -> str:
        """The plain sentence a policy's author wrote for people."""
        return self.sentences.get(policy_id, "")

    def next_step(self, rule: str) -> str:
        """What can be done about a refusal by this policy, budget or rule of the gate."""
        own = {statement.id: statement.next_step or rules.POLICY_NEXT for statement in self.statements}
        own |= {each.id: each.next_step or rules.BUDGET_NEXT for each in self.budget_rules}
        return own.get(rule) or rules.next_step(rule)

    def limit(self, rule: str) -> int | None:
        """How much this budget holds; None for one that is not in this folder or never refuses."""
        return next((each.limit for each in self.budget_rules if each.id == rule and not each.measure), None)

    def ask(
        self, *, principal: dict[str, str], parents: list[dict[str, str]], action: str, tool: Subject, context: Mapping[str, Any]
    ) -> Answer:
        """Put one question; any evaluation error counts as `broken` and never as an allow."""
        above = [(parent["type"], parent["id"]) for parent in parents]
        return self.ask_all([action], principal=(principal["type"], principal["id"]), parents=above, tool=tool, context=context)[0]

    def ask_all(
        self, actions: Sequence[str], *, principal: Uid, parents: Iterable[Uid] = (), tool: Subject, context: Mapping[str, Any]
    ) -> list[Answer]:
        """Put several questions about the same matter, in their order.

        Each is put to the policies that speak about it, with the facts that these ask for and no others: Cedar spends most
        of its time on reading facts, and the rest on policies about something else.
        They were checked against the vocabulary here, and the policies when they were loaded.
        """
        try:
            facts = self.vocabulary.facts(context)
            given = [json.dumps(self._given(action, context, facts)) for action in actions]
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            return [Answer(False, (), broken=f"a fact does not fit its type: {error}")] * len(actions)
        who = {"type": principal[0], "id": principal[1]}
        what = {"type": "Tool", "id": tool.name}
        entities = self.entities(principal, tuple(parents), tool)
        answers = []
        for action, part in zip(actions, given, strict=True):
            request = {"principal": who, "action": {"type": "Action", "id": action}, "resource": what, "context": part}
            answers.append(self._answer(cedarpy.is_authorized(request, self._about(action), entities)))
        return answers

    def _about(self, action: str) -> Any:
        """The policies that speak about this question, parsed; the others could neither decide it nor go wrong over it."""
        found = self._parts.get(action)
        if found is None:
            whole = self.handle.to_pst().static_policies
            part = {f"policy{number}": whole[f"policy{number}"] for number, each in enumerate(self.statements) if each.concerns(action)}
            found = self._parts[action] = cedarpy.PolicySet.from_pst(pst.PolicySet({}, part, ()))
        return found

    def _given(self, action: str, context: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        wanted = self._wanted.get(action)
        if wanted is None:
            asked = {(each.path, each.exists) for statement in self.statements if statement.concerns(action) for each in statement.asked}
            whole = {path for path, exists in asked if not exists}
            needed = [(path, exists) for path, exists in asked if not (exists and path in whole)]
            wanted = self._wanted[action] = tuple(sorted(needed))
        if any(not path for path, _ in wanted):
            return self.vocabulary.typed(context)  # a policy that compares the context as a whole
        return self.vocabulary.part(context, facts, wanted)

    def entities(self, principal: Uid, parents: tuple[Uid, ...], tool: Subject) -> Any:
        """The parsed handle of everybody concerned, kept for the next time."""
        key = (principal, parents, tool.name, tool.effect, tool.risk, tool.reversible)
        found = self._handles.get(key)
        if found is None:
            if len(self._handles) >= _MOST_HANDLES:
                self._handles.clear()
            found = self._handles[key] = cedarpy.Entities.from_json_str(json.dumps(_entities(principal, parents, tool)), self.schema)
        return found

    def _answer(self, result: cedarpy.AuthzResult) -> Answer:
        decided = tuple(sorted(self.ids.get(reason, reason) for reason in result.diagnostics.reasons))
        errors = result.diagnostics.errors
        if errors or result.decision == cedarpy.Decision.NoDecision:
            forbidden = decided if result.decision == cedarpy.Decision.Deny else ()
            return Answer(False, forbidden, broken="; ".join(map(str, errors)) or "no decision")
        return Answer(result.decision == cedarpy.Decision.Allow, decided)


def _entities(principal: Uid, parents: Iterable[Uid], tool: Subject) -> list[dict[str, Any]]:
    above = [{"type": kind, "id": name} for kind, name in parents]
    attributes = {"effect": tool.effect, "risk": tool.risk, "reversible": tool.reversible}
    return [
        {"uid": {"type": "Tool", "id": tool.name}, "attrs": attributes, "parents": []},
        {"uid": {"type": principal[0], "id": principal[1]}, "attrs": {}, "parents": above},
        *({"uid": uid, "attrs": {}, "parents": []} for uid in above),
    ]


def vocabulary(tools: Iterable[Tool], rules: Iterable[str]) -> str:
    """The Cedar schema of these tools and budgets, as policy authors read it."""
    return words.of(tools, rules).text()


def load(directory: Path | None, tools: Iterable[Tool] = ()) -> Policies:
    """Read a policy folder; without one the careful starter set that ships with Copilot.

    SetupError names the file and the mistake: a policy without @id or @sentence, an id used twice, a misspelt fact, a
    tool that does not exist. Without `tools` their names are not checked and their arguments have no words.
    """
    directory = directory or STARTER
    files = folder.from_disk(directory)
    if not any(name.endswith(".cedar") for name in files):
        raise SetupError(f"COPILOT_POLICY_DIR {directory} holds no .cedar files, so nothing could ever be allowed.")
    try:
        return from_files(files, tools)
    except BadInput as error:
        raise SetupError(f"Policies in {directory}: {error}") from error


def from_files(files: Mapping[str, str], tools: Iterable[Tool] = ()) -> Policies:
    """Read a policy folder given as text by file name; BadInput.problems has a sentence for each file with a mistake."""
    found = folder.read(files, tools=tools)
    handle = cedarpy.PolicySet.from_str(found.text)
    ids = {f"policy{number}": statement.id for number, statement in enumerate(found.statements)}
    told = {name: policy.annotations.get("id") for name, policy in handle.to_pst().static_policies.items()}
    if told != ids:  # Cedar numbers policies in the order of the text; were that ever to change, verdicts would name the wrong ones
        raise SetupError("Cedar numbers the policies in another order than we do; this version of cedarpy does not fit.")
    sentences = {statement.id: statement.sentence for statement in found.statements}
    return Policies(
        handle=handle,
        schema=found.schema,
        statements=found.statements,
        ids=ids,
        sentences=sentences,
        budget_rules=found.budget_rules,
        calendar=found.calendar,
        vocabulary=found.words,
        files=dict(files),
        hash=found.hash,
    )


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
