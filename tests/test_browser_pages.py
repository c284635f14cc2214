"""Every page in a real browser: no accessibility problem that axe finds, nothing wider than the window, nothing refused by the policy."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from copilot.db import db, transaction
from copilot.gate import changes, library, policy, switches
from copilot.models import Proposal
from copilot.notify import outbox
from tests.support import work
from tests.support.people import People

pytest.importorskip("playwright", reason="browser tests need playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="browser tests need axe")
from tests.support import chromium  # noqa: E402 - after the check that it can be imported

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(chromium.path() is None, reason="browser tests need a Chromium: set CHROMIUM_PATH"),
]


@pytest.fixture
def busy(app: Flask, agent: str, people: People) -> list[str]:
    """Something on every page, hostile text among it; gives the pages."""
    ticket = work.ticket()
    plain = work.propose(agent, ticket_id=ticket)
    hostile = work.propose(agent, memo="unbroken" * 55 + " p\u0430ypal \u202e\u200b <b>bold</b>\nanother line", account="c1/" + "w" * 36)
    unknown, held, rejected = work.propose(agent), work.propose(agent), work.propose(agent)
    with transaction():
        db.session.get_one(Proposal, unknown).state = "OUTCOME_UNKNOWN"
        db.session.get_one(Proposal, held).state = "HELD"
        switches.throw("tool:pay_capped", by=people.bo, reason="The purse is being counted")
        library.adopt(policy.current())
        files = {**policy.current().files, "more.cedar": '@id("more") @sentence("No more.") forbid (principal, action, resource);'}
        draft = library.draft(files, by=people.dee, comment="Stricter <b>now</b>").id
        changes.ask("scopes", agent, {"before": ["pay_key:write"], "scopes": ["*:read", "pay_key:write"]}, by=people.dee, reason="It reads")
        outbox.add("outcome_unknown", subject=unknown, dedupe="one", fields={"tool": "pay_key", "reason": "No answer in time."})
    work.reject(rejected, people.eli)
    work.edit(plain, people.eli, save_only=True, amount_minor=900)
    work.propose(agent, amount_minor=1_000_001)
    work.sequence()
    cards = [f"/proposals/{proposal}" for proposal in (plain, hostile, unknown, rejected)]
    lists = ["/", "/?view=all", "/tickets", f"/tickets/{ticket}", "/tickets/new", "/outcomes", "/escalations", "/actions", "/record"]
    gate = [
        "/policies",
        "/policies/new",
        f"/policies/{draft}",
        "/changes",
        "/agents",
        f"/agents/{agent}",
        "/tools",
        "/tools/pay_key",
        "/budgets",
    ]
    return [*lists, *cards, f"{cards[0]}/edit", f"{cards[1]}/edit", *gate, "/notifications", "/people", "/settings", "/nowhere"]


EVERYTHING = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
WHAT_A_THEME_CHANGES = ["color-contrast", "target-size"]  # the rest is the same page at another width


@pytest.mark.parametrize(
    ("width", "scheme", "rules"),
    [(1440, "light", EVERYTHING), (1024, "dark", WHAT_A_THEME_CHANGES), (390, "light", WHAT_A_THEME_CHANGES), (390, "dark", EVERYTHING)],
)
def test_every_page_is_usable_by_everybody(
    app: Flask, chrome: Any, busy: list[str], people: People, width: int, scheme: str, rules: list[str]
) -> None:
    found: dict[str, Any] = {}
    with chromium.serving(app) as address, chromium.desk(chrome, address, "dee@example.com", width=width, scheme=scheme) as desk:
        for page in busy:
            desk.go(page)
            desk.page.evaluate("document.querySelectorAll('main details').forEach((fold) => { fold.open = true })")
            wide = desk.overflow()
            if wide > 0:
                found[f"{page} too wide"] = wide
            problems = axe.Axe().run(desk.page, options={"runOnly": rules}).response
            for problem in problems["violations"]:
                found[f"{page} {problem['id']}"] = [
                    node["html"][:200] + " :: " + node["failureSummary"][:300] for node in problem["nodes"]
                ][:3]
        complaints = [line for line in desk.complaints if "404" not in line]
    assert found == {}
    assert complaints == []


def test_the_doors_are_usable_by_everybody(app: Flask, chrome: Any) -> None:
    with chromium.serving(app) as address:
        for scheme in ("light", "dark"):
            context = chrome.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
            page = context.new_page()
            for path in ("/sign-in", "/link/none"):
                page.goto(address + path)
                assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
                assert axe.Axe().run(page).response["violations"] == [], path
            context.close()
