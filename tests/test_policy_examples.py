"""The shipped policy sets do what they say: their own cases pass, the guide explains every sentence, the command tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from copilot import cli, config
from copilot.demo.tools import shop
from copilot.errors import BadInput
from copilot.gate import approvals, cases, policy, rules, vocabulary
from tests.support import ROOT

GATE = ROOT / "copilot" / "gate"
SETS = {"starter": GATE / "starter", "article": GATE / "examples" / "article", "sample": ROOT / "copilot" / "demo" / "policies"}
TOOLS = tuple(shop.tools.values())
GUIDE = " ".join((ROOT / "docs" / "policies.md").read_text().split())
CASE = '[[case]]\nname = "One"\ntool = "issue_refund"\nexpect = "one person"\n'


@pytest.mark.parametrize("name", SETS)
def test_every_case_gets_its_answer_and_every_policy_decides_one(name: str) -> None:
    report = cases.run(policy.load(SETS[name], TOOLS), TOOLS)
    assert [outcome for outcome in report.outcomes if not outcome.ok] == []
    assert report.outcomes
    assert report.unreached == ()
    assert report.ok


@pytest.mark.parametrize("name", SETS)
def test_every_budget_and_policy_is_explained_in_the_guide(name: str) -> None:
    policies = policy.load(SETS[name], TOOLS)
    sentences = [*policies.sentences.values(), *(rule.sentence for rule in policies.budget_rules)]
    assert [sentence for sentence in sentences if sentence.rstrip(".") not in GUIDE] == []


def test_the_guide_names_every_fact_and_every_field_of_a_case() -> None:
    assert [fact.name for fact in vocabulary.FACTS if f"`{fact.name}{'?' if fact.optional else ''}`" not in GUIDE] == []
    assert [word for word in cases.EXPECTED if word not in GUIDE] == []


@pytest.mark.parametrize(
    "text",
    [
        "[[case",
        "[[other]]",
        "case = 3",
        '[[case]]\nname = "One"\n',
        CASE + "surprise = 1\n",
        CASE.replace("one person", "three people"),
        CASE.replace("one person", "may decide"),
        CASE + 'role = "operator"\n',
        CASE + "facts = 3\n",
        CASE + "facts = { regoin = 'EU' }\n",
    ],
)
def test_cases_with_a_mistake_are_not_run(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        cases.read(text)
    assert set(caught.value.problems) == {"tests.toml"}


def test_a_case_with_a_misspelt_fact_says_what_was_meant() -> None:
    with pytest.raises(BadInput, match="did you mean region"):
        cases.read(CASE + "facts = { regoin = 'EU' }\n")


def test_a_case_whose_arguments_do_not_fit_is_refused_by_the_schema() -> None:
    files = policy.load(SETS["sample"], TOOLS).files | {"tests.toml": CASE + "arguments = { order_id = 'x' }\n"}
    (outcome,) = cases.run(policy.from_files(files, TOOLS), TOOLS).outcomes
    assert (outcome.ok, outcome.got, outcome.rule) == (False, "refused", "schema")


def test_a_budget_for_a_tool_that_does_not_exist_is_reported() -> None:
    files = dict(policy.load(SETS["sample"], TOOLS).files)
    files["budgets.toml"] = files["budgets.toml"].replace('"issue_refund"', '"isue_refund"')
    report = cases.run(policy.from_files(files, TOOLS), TOOLS)
    assert report.absent == ("budget refunds-per-customer-day: there is no tool called isue_refund; did you mean issue_refund?",)
    assert not report.ok


def _check(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.main, ["policy", "check", *words])
    return done.exit_code, done.output


def test_the_command_tells_a_script_and_a_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COPILOT_TOOLKITS", "copilot.demo.tools:shop")
    monkeypatch.chdir(tmp_path)
    code, said = _check(str(SETS["sample"]), "--json")
    found: dict[str, Any] = json.loads(said)
    assert (code, found["ok"], found["unreached"], found["tools"]) == (0, True, [], len(TOOLS))
    assert _check()[0] == 0, "without a folder the starter set"
    for name, text in policy.load(SETS["sample"], TOOLS).files.items():
        (tmp_path / name).write_text(text.replace("100000", "2000"))
    code, said = _check(str(tmp_path))
    assert code == 1
    assert "FAILED  A small refund waits for one person" in said
    assert "decided by no-refund-above-1000" in said


def test_the_settings_of_the_installation_choose_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COPILOT_POLICY_DIR", str(SETS["article"]))
    monkeypatch.chdir(tmp_path)
    assert config.load().policy_dir == SETS["article"]
    code, said = _check()
    assert code == 0
    assert said.startswith(str(SETS["article"]))


# What raises, returns or names a rule in the code, so that none can be without a sentence and a next step.
_NAMED = (
    r'rule="([a-z]+(?:-[a-z]+)*)"',
    r'return "([a-z]+(?:-[a-z]+)*)", f?"[A-Z]',
    r'(?:_stop|refuse|send_back|unknown_instead|Refused|NotClaimed|NotEntitled)\((?:[a-z_.A-Z]+, )?"([a-z]+(?:-[a-z]+)+)"',
)
_ROOMS = ("gate", "gateway", "review", "people", "autonomy", "web", "api")


def test_every_rule_that_says_no_is_in_the_catalogue_and_nothing_else_is() -> None:
    sources = {path: path.read_text() for room in _ROOMS for path in sorted((ROOT / "copilot" / room).rglob("*.py"))}
    raised = {name: path for path, text in sources.items() for shape in _NAMED for name in re.findall(shape, text)}
    assert {name: str(path) for name, path in raised.items() if not rules.known(name)} == {}
    assert set(approvals.RULES) <= set(rules.RULES)
    everything = "".join(text for path, text in sources.items() if path.name != "rules.py") + (ROOT / "copilot" / "errors.py").read_text()
    assert [name for name in rules.RULES if f'"{name}"' not in everything and name != rules.BROKEN] == []
