"""The train tasks of tau2's retail and airline through the product: the expected records change, and nothing else does."""

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
    counted = replaying.tau2(replaying.Desk("retail", people))
    assert counted["wrong"] == []
    assert (counted["tasks"], counted["writes done"], counted["writes refused as expected"]) == (74, 119, 1)


@pytest.mark.settings(**figures.settings("airline"))
def test_airline_tasks_change_what_is_expected_and_nothing_else(app: Flask, people: staff.People) -> None:
    counted = replaying.tau2(replaying.Desk("airline", people))
    assert counted["wrong"] == []
    assert (counted["tasks"], counted["writes done"]) == (30, 26)


@pytest.mark.parametrize("domain", ["retail", "airline"])
def test_the_records_a_domain_starts_with_are_as_they_were_read(domain: str) -> None:
    """Worlds share them, so a tool that changed one by mistake would be seen by every later task, and by no comparison."""
    before = data.tables(domain)
    data.read.cache_clear()
    assert data.tables(domain) == before
