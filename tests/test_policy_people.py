"""People before the policies: their team counts, and where the policies cannot be evaluated a person can say no and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from copilot import jobs
from copilot.db import transaction
from copilot.errors import NotEntitled
from copilot.gate import policy
from copilot.models import User
from tests.support import work
from tests.support.ledger import Ledger
from tests.support.people import People

pytestmark = pytest.mark.both_databases

OVERFLOW = "9223372036854775807 + context.weekday > 0"
PERMIT = '@id("{0}") @sentence("{0}.") permit (principal, action == Action::"{1}", resource);'


def _install(text: str) -> None:
    old = policy.current()
    policy.install(policy.from_files({"p.cedar": text, "budgets.toml": old.files.get("budgets.toml", "")}))


def test_a_policy_may_speak_of_a_persons_team(agent: str, people: People) -> None:
    team = '@id("team") @sentence("Billing decides.") permit (principal in Team::"billing", action == Action::"approve", resource);'
    _install(PERMIT.format("propose", "propose") + PERMIT.format("alone", "approve_alone") + team)
    proposal_id = work.propose(agent)
    with pytest.raises(NotEntitled) as refused:
        work.approve(proposal_id, people.ana)
    assert refused.value.rule == "policy-approve"
    with transaction():
        person: User = people.ana
        person.team = "billing"
    work.approve(proposal_id, people.ana)
    assert work.state(proposal_id) == "APPROVED"


@pytest.mark.parametrize("action", ["propose", "approve"])
def test_what_cannot_be_evaluated_waits_for_people_and_never_runs_by_itself(agent: str, people: People, book: Ledger, action: str) -> None:
    broken = f'@id("broken") @sentence("Broken.") forbid (principal, action == Action::"{action}", resource) when {{ {OVERFLOW} }};'
    _install("".join(PERMIT.format(name, name) for name in ("propose", "approve")) + PERMIT.format("alone", "approve_alone") + broken)
    proposal_id = work.propose(agent)
    row = work.row(proposal_id)
    assert row.state == "PENDING"
    if action == "propose":
        assert (row.verdict["rule"], row.approvals_required) == ("policy-broken", 2)
        work.approve(proposal_id, people.ana)
        assert work.state(proposal_id) == "PENDING"
        work.approve(proposal_id, people.bo)
        jobs.execute(proposal_id)
        assert work.state(proposal_id) == "SUCCEEDED"
        return
    for person in (people.ana, people.bo):
        with pytest.raises(NotEntitled) as refused:
            work.approve(proposal_id, person)
        assert refused.value.rule == "policy-broken"
    work.reject(proposal_id, people.ana)
    assert work.state(proposal_id) == "REJECTED"
    assert book.effects() == []


def test_another_version_of_the_policies_has_handles_of_its_own() -> None:
    """`replace` copies fields; what was parsed for one set must not answer for another."""
    first = policy.load(None)
    first.ask_all(["approve"], principal=("Person", "u"), parents=[("Role", "admin")], tool=_tool(), context=_context())
    assert replace(first, hash="0")._handles == {}


def _tool() -> policy.Subject:
    from tests.support.tools import counting

    return counting.tools["pay_key"]


def _context() -> dict[str, object]:
    plain = {"level": "suggest", "team": "", "region": "", "channel": "", "ticket_status": "", "hour": 1, "weekday": 1}
    return {**plain, "business_hours": True, "suspicious_text": False, "tainted": True}
