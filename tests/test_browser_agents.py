"""The pages about agents in a real browser: usable by everybody, and every change possible without a script."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from copilot import db as database
from copilot.people import principals
from tests.support import work
from tests.support.people import People
from tests.test_agents_pages import aged, judged

pytest.importorskip("playwright", reason="browser tests need playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="browser tests need axe")
from tests.support import chromium  # noqa: E402 - after the check that it can be imported

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(chromium.path() is None, reason="browser tests need a Chromium: set CHROMIUM_PATH"),
]

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture
def used(agent: str, people: People) -> str:
    """An agent that uses some of what it may."""
    aged(agent)
    work.propose(agent, ticket_id=work.ticket())
    judged(agent, "read_account", region="EU", times=20)
    judged(agent, "pay_lookup", stage="propose", region="EU", times=20)
    return agent


def look(desk: Any, name: str, found: dict[str, Any]) -> None:
    """Keep what is wrong with the page in front of us; and its picture, where somebody asked for pictures."""
    desk.page.evaluate("document.querySelectorAll('main details').forEach((fold) => { fold.open = true })")
    if desk.overflow() > 0:
        found[f"{name} too wide"] = desk.overflow()
    for problem in axe.Axe().run(desk.page, options=RULES).response["violations"]:
        found[f"{name} {problem['id']}"] = [node["html"][:200] for node in problem["nodes"]][:3]
    if folder := os.environ.get("SCREENSHOTS"):
        desk.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_pages_are_usable_by_everybody(app: Flask, chrome: Any, used: str, width: int, scheme: str) -> None:
    found: dict[str, Any] = {}
    with chromium.serving(app) as address, chromium.desk(chrome, address, "dee@example.com", width=width, scheme=scheme) as desk:
        for name, page in {"agents": "/agents", "agents-new": "/agents/new", "agents-show": f"/agents/{used}"}.items():
            desk.go(page)
            look(desk, f"{name}-{width}", found)
        desk.page.locator("#rotate-note").fill("Every quarter")
        desk.page.get_by_role("button", name="Give it a new secret").click()
        desk.page.get_by_label("Secret").wait_for()
        look(desk, f"agents-secret-{width}", found)
        assert desk.page.get_by_label("Secret").input_value().startswith("cps_")
        assert desk.complaints == []
    assert found == {}


def test_on_a_phone_a_row_is_a_block_that_names_its_columns(app: Flask, chrome: Any, used: str) -> None:
    with chromium.serving(app) as address, chromium.desk(chrome, address, "dee@example.com", width=390) as desk:
        for page in ("/agents", f"/agents/{used}", "/tools", "/record"):
            desk.go(page)
            assert desk.page.evaluate(
                "[...document.querySelectorAll('.table-wrap')].every((each) => each.scrollWidth <= each.clientWidth)"
            ), page
            cells = desk.page.locator("table.stacks tbody tr").first.locator("td")
            tops = [box["y"] for cell in cells.all() if (box := cell.bounding_box())]
            assert tops == sorted(set(tops)), f"{page}: one below the other"
            named = cells.nth(1).evaluate("(cell) => getComputedStyle(cell, '::before').content")
            assert named.strip('"') == cells.nth(1).get_attribute("data-label")


def test_an_agent_is_narrowed_and_shut_out_without_a_script(app: Flask, chrome: Any, used: str) -> None:
    with chromium.serving(app) as address, chromium.desk(chrome, address, "dee@example.com", scripts=False) as desk:
        desk.go(f"/agents/{used}")
        desk.page.get_by_role("button", name="Leave it with these").click()
        desk.page.get_by_text("Done. It holds from the next request").wait_for()
        desk.page.locator("#shut-note").fill("It went wild")
        desk.page.get_by_role("button", name="Disable refund-desk").click()
        desk.page.get_by_text("It is shut out").wait_for()
    database.read_again()
    agent = principals.find(used)
    assert agent.scopes == ["*:read;region=EU", "pay_key:write", "pay_lookup:write;region=EU"]
    assert not agent.enabled
