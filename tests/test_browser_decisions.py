"""A real browser approves, edits and rejects: by mouse, by keyboard, and with scripts switched off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from copilot import jobs
from copilot.db import db
from tests.support import children, work, workers
from tests.support.ledger import Ledger
from tests.support.people import People

pytest.importorskip("playwright", reason="browser tests need playwright")
from tests.support import chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(chromium.path() is None, reason="browser tests need a Chromium: set CHROMIUM_PATH"),
]

Sit = Callable[..., chromium.Desk]


@pytest.fixture
def sit(app: Flask, people: People, chrome: Any) -> Iterator[Sit]:
    """Seat a person in front of the application; afterwards no window may have complained."""
    with ExitStack() as stack:
        address = stack.enter_context(chromium.serving(app))
        seated: list[chromium.Desk] = []

        def seat(name: str, **options: Any) -> chromium.Desk:
            seated.append(stack.enter_context(chromium.desk(chrome, address, f"{name}@example.com", **options)))
            return seated[-1]

        yield seat
        assert [line for desk in seated for line in desk.complaints if "409" not in line and "422" not in line] == []


@pytest.fixture
def worker(environ: dict[str, str], tmp_path: Path, app: Flask) -> Iterator[None]:
    """A real worker that executes."""
    child = workers.start(environ, tmp_path)
    yield
    children.end(child)


def _paid(book: Ledger) -> list[int]:
    return [effect.amount_minor for effect in book.effects()]


def test_approving_by_mouse_shows_the_effect_without_a_reload(sit: Sit, agent: str, worker: None, book: Ledger) -> None:
    proposal = work.propose(agent)
    desk = sit("ana")
    desk.page.locator(f'[data-proposal="{proposal}"] a.main').click()
    desk.page.get_by_role("button", name="Approve").click()
    desk.page.get_by_text("The other side calls it rcpt-1").wait_for()
    assert desk.page.locator("[data-status] .chip").text_content() == "Done"
    assert _paid(book) == [1000]


def test_approving_by_keyboard_alone(sit: Sit, agent: str, worker: None, book: Ledger) -> None:
    first, second = work.propose(agent), work.propose(agent)
    desk = sit("ana")
    keys = desk.page.keyboard
    keys.press("j")
    keys.press("j")
    keys.press("k")
    keys.press("Enter")
    desk.page.wait_for_url(f"**/proposals/{first}")
    keys.press("a")
    assert desk.page.evaluate("document.activeElement.dataset.key") == "a"
    assert work.state(first) == "PENDING", "one press only goes there"
    keys.press("a")
    desk.page.get_by_text("The other side calls it").wait_for()
    keys.press("j")
    desk.page.wait_for_url(f"**/proposals/{second}")
    keys.press("u")
    desk.page.wait_for_url(re.compile(r"/$"))
    assert _paid(book) == [1000]


@pytest.mark.parametrize("scripts", [True, False])
def test_editing_runs_what_was_typed(sit: Sit, agent: str, worker: None, book: Ledger, scripts: bool) -> None:
    proposal = work.propose(agent, amount_minor=2500)
    desk = sit("ana", scripts=scripts)
    desk.go(f"/proposals/{proposal}")
    desk.page.get_by_role("link", name="Edit").click()
    desk.page.get_by_label("Amount", exact=True).fill("19.90")
    if scripts:
        desk.page.locator("[data-diff]", has_text=re.compile(r"25\.00\W*19\.90")).wait_for()
    desk.page.get_by_label("Wrong amount").check()
    desk.page.get_by_role("button", name="Save and approve").click()
    desk.page.get_by_text("Saved as version 2 and approved").wait_for()
    workers.until(lambda: work.state(proposal) == "SUCCEEDED")
    assert _paid(book) == [1990]


def test_editing_by_keyboard_alone(sit: Sit, agent: str, worker: None, book: Ledger) -> None:
    proposal = work.propose(agent, amount_minor=2500)
    desk = sit("ana")
    desk.go(f"/proposals/{proposal}")
    keys = desk.page.keyboard
    keys.press("e")
    desk.page.wait_for_url("**/edit")
    _tab_to(desk, "arg-amount_minor")
    keys.press("ControlOrMeta+a")
    keys.type("7.00")
    _tab_to(desk, "edit-reason-wrong_action")
    keys.press("ArrowDown")
    keys.press("Enter")
    desk.page.get_by_text("Saved as version 2").wait_for()
    workers.until(lambda: work.state(proposal) == "SUCCEEDED")
    assert _paid(book) == [700]
    db.session.rollback()
    assert work.row(proposal).decisions[0].reason_code == "wrong_amount"


@pytest.mark.parametrize("scripts", [True, False])
def test_rejecting_says_why(sit: Sit, agent: str, book: Ledger, scripts: bool) -> None:
    proposal = work.propose(agent)
    desk = sit("ana", scripts=scripts)
    desk.go(f"/proposals/{proposal}")
    desk.page.locator("summary", has_text="Reject").click()
    desk.page.get_by_label("Missing information").check()
    desk.page.locator("#reject-note").fill("Ask for the invoice first")
    desk.page.get_by_role("button", name="Reject", exact=True).click()
    desk.page.get_by_text("Ana rejected it").wait_for()
    assert "Ask for the invoice first" in (desk.page.locator("[data-status]").text_content() or "")
    assert work.state(proposal) == "REJECTED"
    assert _paid(book) == []


def test_rejecting_by_keyboard_alone(sit: Sit, agent: str) -> None:
    proposal = work.propose(agent)
    desk = sit("ana")
    desk.go(f"/proposals/{proposal}")
    keys = desk.page.keyboard
    keys.press("r")
    keys.press("ArrowDown")
    keys.press("Tab")
    keys.type("Twice the price, r and a and e typed in full")
    keys.press("Tab")
    keys.press("Enter")
    desk.page.get_by_text("Ana rejected it").wait_for()
    decided = work.row(proposal).decisions[0]
    assert (decided.reason_code, decided.note) == ("wrong_amount", "Twice the price, r and a and e typed in full")


def test_approving_without_scripts(sit: Sit, agent: str, worker: None, book: Ledger) -> None:
    proposal = work.propose(agent)
    desk = sit("ana", scripts=False)
    desk.page.locator(f'[data-proposal="{proposal}"] a.main').click()
    desk.page.get_by_role("button", name="Approve").click()
    desk.page.get_by_text("The other side calls it").wait_for()
    assert _paid(book) == [1000]


def test_a_colleague_decides_while_one_reads(sit: Sit, agent: str, people: People) -> None:
    proposal = work.propose(agent)
    desk = sit("ana")
    with desk.page.expect_response("**/events"):
        desk.go(f"/proposals/{proposal}")
    desk.page.wait_for_timeout(300)
    work.reject(proposal, people.eli)
    jobs.proposal_changed(proposal)
    desk.page.get_by_text("This changed while you were looking").wait_for()
    assert desk.page.get_by_text("Eli rejected it").is_visible()
    assert desk.page.get_by_role("button", name="Approve").is_disabled()
    assert desk.page.get_by_text("Exactly this will run").is_visible(), "what one reads does not move"


def test_new_proposals_announce_themselves_and_move_nothing(sit: Sit, agent: str, people: People) -> None:
    first = work.propose(agent)
    desk = sit("ana")
    desk.page.wait_for_timeout(2000)
    before = desk.page.locator("[data-item]").count()
    second = work.propose(agent)
    jobs.proposal_changed(second)
    desk.page.get_by_text("1 new — refresh").wait_for()
    assert desk.page.locator("[data-item]").count() == before
    workers.until(lambda: desk.page.title().startswith("(2)"))
    work.reject(first, people.eli)
    jobs.proposal_changed(first)
    desk.page.locator(f'[data-proposal="{first}"]', has_text="Rejected").wait_for()
    desk.page.get_by_text("1 new — refresh").click()
    desk.page.locator(f'[data-proposal="{second}"]').wait_for()
    assert desk.page.locator(f'[data-proposal="{first}"]').count() == 0


def test_a_stale_window_is_told_and_can_go_on(sit: Sit, agent: str, people: People) -> None:
    proposal = work.propose(agent, amount_minor=2500)
    desk = sit("ana", scripts=False)
    desk.go(f"/proposals/{proposal}")
    work.edit(proposal, people.eli, save_only=True, amount_minor=1500)
    desk.page.get_by_role("button", name="Approve").click()
    desk.page.get_by_role("alert").filter(has_text="changed").wait_for()
    assert work.state(proposal) == "PENDING"
    desk.page.get_by_role("button", name="Approve").click()
    desk.page.get_by_text("Approved. It runs now.").wait_for()
    assert work.state(proposal) == "APPROVED"


def test_the_keys_can_be_switched_off(sit: Sit, agent: str) -> None:
    work.propose(agent)
    desk = sit("ana")
    desk.page.keyboard.press("?")
    desk.page.get_by_label("Use these keys in this browser").uncheck()
    desk.page.get_by_role("button", name="Close").click()
    desk.page.keyboard.press("j")
    assert desk.page.evaluate("document.activeElement.matches('a.main')") is False
    desk.go("/")
    desk.page.keyboard.press("j")
    assert desk.page.evaluate("document.activeElement.matches('a.main')") is False


def _tab_to(desk: chromium.Desk, element_id: str) -> None:
    for _ in range(60):
        desk.page.keyboard.press("Tab")
        if desk.page.evaluate("document.activeElement.id") == element_id:
            return
    raise AssertionError(f"Tab never reached #{element_id}")
