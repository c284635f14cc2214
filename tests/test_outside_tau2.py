"""Train tasks from outside through the product: the expected records change, and nothing else does."""

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
def test_retail_tasks_change_what_is_expected_and_nothing_else(app: Flask, people: staff.People) -> None:
    counted = replaying.replay(replaying.Desk("retail", people))
    assert counted["wrong"] == []
    assert (counted["tasks"], counted["writes done"], counted["writes refused as expected"]) == (74, 119, 1)
    assert replaying.untouched("retail")


@pytest.mark.both_databases
@pytest.mark.settings(**figures.settings("airline"))
def test_airline_tasks_change_what_is_expected_and_nothing_else(app: Flask, people: staff.People) -> None:
    counted = replaying.replay(replaying.Desk("airline", people))
    assert counted["wrong"] == []
    assert (counted["tasks"], counted["writes done"]) == (30, 26)
    assert replaying.untouched("airline")


@pytest.mark.skipif(data.folder("tau1") is None, reason="COPILOT_TEST_DATA has no data/tau1")
@pytest.mark.settings(**figures.settings("earlier"))
def test_every_fifth_earlier_retail_task_changes_what_is_expected(app: Flask, people: staff.People) -> None:
    """The whole of them, 768 writes, is a figure."""
    counted = replaying.replay(replaying.Desk("earlier", people), every=5)
    assert counted["wrong"] == []
    assert counted["tasks"] == 100
    assert replaying.untouched("earlier")
