"""Wrong calls from outside through the product: 663 that must change nothing, and 133 writes that GPT-4o really drafted.

Every call that waits is approved, so no person helps; the figures are exact because nothing in them is left to chance.
"""

from __future__ import annotations

import pytest
from flask import Flask

from tests.outside import data, figures, replaying
from tests.support import people as staff

pytestmark = [
    pytest.mark.skipif(data.folder("tau2") is None, reason="COPILOT_TEST_DATA has no data/tau2"),
    pytest.mark.timeout(600),
]


@pytest.mark.settings(**figures.settings("retail"))
def test_none_of_the_wrong_calls_changes_anything(app: Flask, people: staff.People) -> None:
    counted = replaying.negative(replaying.Desk("retail", people))
    assert counted["changed_state"] == []
    assert counted["stopped_by"] == {"schema": 238, "policy": 18, "facts": 295, "tool": 112}
    assert counted["stopped_without_a_sentence"] == 0
    assert counted["reached_a_person"] == 0
    assert replaying.untouched("retail")


@pytest.mark.settings(**figures.settings("retail"))
def test_only_the_ownership_policy_stops_calls_across_customers(app: Flask, people: staff.People) -> None:
    """The shop itself does all 73 of them for anybody."""
    counted = replaying.negative(replaying.Desk("retail", people), only="ownership")
    assert counted["by_mistake"] == {"ownership": {"facts: own-customer-only": 73}}
    assert counted["the_tool_alone_would_have_done"] == counted["calls"] == 73


@pytest.mark.settings(**figures.settings("airline"))
def test_the_written_policy_stops_every_draft_that_breaks_a_written_rule(app: Flask, people: staff.People) -> None:
    """What is wrong but breaks no written rule (24 of 59) is for a person, who is asked about each.

    The three right drafts that are blocked cancel a reservation which the same run should have moved to business before
    and had not: as it stood, the written policy allows no cancellation.
    """
    counted = replaying.gpt4o(replaying.Desk("airline", people))
    assert counted["drafts"] == 133
    assert (counted["wrong_that_would_have_run"], counted["of_those_stopped_by_the_written_policy"]) == (59, 35)
    assert (counted["of_those_labelled_as_breaking_a_written_rule"], counted["of_those_labelled_stopped"]) == (31, 31)
    assert (counted["right"], counted["right_blocked"]) == (37, 3)
    assert counted["rules"]["right"] == {"cancel-grounds": 3}
    assert sum(counted["stopped_by"]["wrong, the tool refuses"].values()) == 37
    assert "ran" not in counted["stopped_by"]["wrong, the tool refuses"]
    assert replaying.untouched("airline")
