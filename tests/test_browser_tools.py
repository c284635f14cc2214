"""The tools page in a real browser: usable by everybody, and a foreign definition is accepted without a script."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from copilot import db as database
from copilot.db import db, transaction
from copilot.gate import tools
from copilot.gateway import breaker
from copilot.gateway.adapters import Unknown
from copilot.models import ToolPin
from tests.support.people import People
from tests.test_web_tools import changed_definition

pytest.importorskip("playwright", reason="browser tests need playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="browser tests need axe")
from tests.support import chromium  # noqa: E402 - after the check that it can be imported

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(chromium.path() is None, reason="browser tests need a Chromium: set CHROMIUM_PATH"),
]

BINDING = {
    "address": "POST https://api.bank.example/v1/customers/{customer_id}/orders/{order_id}/refunds",
    "arguments": {"order_id": "path", "amount_minor": "body"},
    "fixed": {"notify": True},
    "auth": {"kind": "oauth2", "token_url": "https://login.bank.example/token", "secret": "file:/etc/copilot/" + "bank_" * 20},
}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture
def suspended(app: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> str:
    """`pay_key` with a foreign definition that waits."""
    return changed_definition(monkeypatch)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_pages_are_usable_by_everybody(
    app: Flask,
    chrome: Any,
    people: People,
    suspended: str,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    scheme: str,
) -> None:
    bound = [dataclasses.replace(tool, binding=BINDING) if tool.name == "pay_both" else tool for tool in tools.current().all()]
    monkeypatch.setattr(tools, "_current", tools.Registry({tool.name: tool for tool in bound}))
    for _ in range(breaker.FAILURES):
        with transaction():
            breaker.heard("pay_lookup", Unknown("The service failed (503)."), database.now())
    found: dict[str, Any] = {}
    with chromium.serving(app) as address, chromium.desk(chrome, address, "dee@example.com", width=width, scheme=scheme) as desk:
        for name, page in {
            "tools": "/tools",
            "tool-suspended": "/tools/pay_key",
            "tool-alone": "/tools/pay_lookup",
            "tool-bound": "/tools/pay_both",
        }.items():
            desk.go(page)
            desk.page.evaluate("document.querySelectorAll('main details').forEach((fold) => { fold.open = true })")
            if desk.overflow() > 0:
                found[f"{name} too wide"] = desk.overflow()
            for problem in axe.Axe().run(desk.page, options=RULES).response["violations"]:
                found[f"{name} {problem['id']}"] = [node["html"][:200] for node in problem["nodes"]][:3]
            if folder := os.environ.get("SCREENSHOTS"):
                desk.page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)
        assert desk.complaints == []
    assert found == {}


def test_a_foreign_definition_is_accepted_without_a_script(app: Flask, chrome: Any, people: People, suspended: str) -> None:
    with chromium.serving(app) as address, chromium.desk(chrome, address, "dee@example.com", scripts=False) as desk:
        desk.go("/tools/pay_key")
        desk.page.get_by_role("button", name="Accept this definition").click()
        desk.page.get_by_text("Accepted. Approvals given for the old definition").wait_for()
    pin = db.session.get_one(ToolPin, "pay_key")
    assert (pin.hash, pin.seen_hash) == (suspended, None)
