"""Wrong calls from outside through the product: 663 that must change nothing, and 133 writes that GPT-4o really drafted."""

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
def test_wrong_calls_change_nothing(app: Flask, people: staff.People) -> None:
    counted = replaying.negative(replaying.Desk("retail", people))
    assert counted["changed_state"] == []
    assert counted["stopped_by"] == {"schema": 238, "policy": 18, "facts": 295, "tool": 112}
    assert counted["by_mistake"]["ownership"] == {"facts: own-customer-only": 73}
    assert counted["the_tool_alone_would_have_done"] == 73


@pytest.mark.settings(**figures.settings("airline"))
def test_the_written_policy_stops_what_breaks_a_written_rule(app: Flask, people: staff.People) -> None:
    counted = replaying.gpt4o(replaying.Desk("airline", people))

    assert counted["drafts"] == 133
