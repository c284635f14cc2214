"""Who may approve and when approvals suffice: the one rule, as two tables."""

from __future__ import annotations

import pytest

from copilot.gate import approvals
from copilot.gate.approvals import OTHER_THAN_EDITOR, TWO_PEOPLE, Reviewer


@pytest.mark.parametrize(
    ("reviewer", "rule"),
    [
        (Reviewer("ana", "operator", True, True), None),
        (Reviewer("bo", "manager", True, True), None),
        (Reviewer("dee", "admin", True, True), None),
        (Reviewer("cy", "auditor", True, True), "role"),
        (Reviewer("eve", "intern", True, True), "role"),
        (Reviewer("ana", "operator", False, True), "inactive-account"),
        (Reviewer("ana", "operator", True, False), "policy-approve"),
        (Reviewer("requester", "admin", True, True), "requester-never-approves"),
        (Reviewer("typist", "operator", True, True), "requester-never-approves"),
        (Reviewer("owner", "admin", True, True), "owner-never-approves"),
    ],
)
def test_who_may_decide(reviewer: Reviewer, rule: str | None) -> None:
    refused = approvals.refusal(reviewer, requesters={"requester", "typist"}, owner_id="owner")
    assert (refused and refused[0]) == rule


NONE_OFF: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("approvers", "required", "editor", "needs_other", "off", "satisfied"),
    [
        ([], 1, None, False, NONE_OFF, False),
        (["ana"], 1, None, False, NONE_OFF, True),
        (["ana"], 2, None, False, NONE_OFF, False),
        (["ana", "ana"], 2, None, False, NONE_OFF, False),
        (["ana", "bo"], 2, None, False, NONE_OFF, True),
        (["ana"], 2, None, False, frozenset({TWO_PEOPLE}), True),
        ([], 2, None, False, frozenset({TWO_PEOPLE}), False),
        (["ana"], 1, "ana", False, NONE_OFF, True),  # save and approve
        (["ana"], 2, "ana", False, NONE_OFF, False),
        (["ana", "bo"], 2, "ana", False, NONE_OFF, True),
        (["ana"], 1, "ana", True, NONE_OFF, False),  # the edit raised the amount or moved the target
        (["ana", "bo"], 1, "ana", True, NONE_OFF, True),
        (["bo"], 1, "ana", True, NONE_OFF, True),
        (["bo"], 2, "ana", True, NONE_OFF, False),
        (["ana"], 2, "ana", True, frozenset({TWO_PEOPLE}), False),
        (["ana"], 1, "ana", True, frozenset({OTHER_THAN_EDITOR}), True),
        (["ana"], 2, "ana", True, frozenset({OTHER_THAN_EDITOR}), False),
        (["ana"], 2, "ana", True, frozenset({OTHER_THAN_EDITOR, TWO_PEOPLE}), True),
        ([], 0, "ana", True, NONE_OFF, False),
        ([], 1, None, True, frozenset({OTHER_THAN_EDITOR, TWO_PEOPLE}), False),
    ],
)
def test_when_approvals_suffice(
    approvers: list[str], required: int, editor: str | None, needs_other: bool, off: frozenset[str], satisfied: bool
) -> None:
    raisers = [editor] if needs_other and editor else []
    standing = approvals.standing(approvers, required=required, raisers=raisers, rules_off=off)
    assert standing.satisfied is satisfied
    assert (standing.missing is None) is satisfied
