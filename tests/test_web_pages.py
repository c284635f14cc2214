"""Pages: who gets in, what each role sees, and that every page can be made with and without anything to show."""

from __future__ import annotations

import logging
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from gunicorn.config import Config
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from copilot.agents import runs
from copilot.db import db, transaction
from copilot.gate import approvals, switches
from copilot.models import Ticket, UserSession
from copilot.people import accounts, passwords, tokens
from copilot.processes import web as server
from copilot.web import access, problems
from tests.support import browser, work
from tests.support.people import People

EVERYBODY = ("/", "/tickets", "/outcomes", "/escalations", "/actions", "/record", "/?view=all", "/?view=done&risk=high&mine=1", "/counts")
MANAGERS = ("/notifications", "/settings")


@pytest.fixture
def busy(agent: str, people: People) -> dict[str, str]:
    """Something in every list."""
    ticket = work.ticket()
    return {"ticket": ticket, "open": work.propose(agent, ticket_id=ticket), "denied": work.propose(agent, amount_minor=1_000_001)}


@pytest.mark.both_databases
@pytest.mark.parametrize("filled", [False, True])
def test_every_page_can_be_made(client: FlaskClient, people: People, request: pytest.FixtureRequest, filled: bool) -> None:
    made = request.getfixturevalue("busy") if filled else {}
    browser.sign_in(client, "dee@example.com")
    pages = [*EVERYBODY, *MANAGERS, "/people"]
    if filled:
        pages += [
            f"/proposals/{made['open']}",
            f"/proposals/{made['open']}/edit",
            f"/proposals/{made['denied']}",
            f"/tickets/{made['ticket']}",
        ]
        pages += [f"/proposals/{made['open']}/{part}" for part in ("status", "row")]
        pages += [f"/record?q={made['open']}", f"/record?q={made['ticket']}&kind=proposal", f"/?q={made['ticket']}", "/record?before=3"]
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200, (page, answer.text[:2000])


def test_strangers_are_sent_to_sign_in_and_come_back(client: FlaskClient, people: People) -> None:
    answer = client.get("/tickets?status=open")
    assert answer.status_code == 303
    assert answer.location == "/sign-in?next=/tickets?status%3Dopen"
    answer = browser.post(client, "/sign-in", {"email": "ana@example.com", "password": people.password, "next": "/tickets?status=open"})
    assert (answer.status_code, answer.location) == (303, "/tickets?status=open")


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "/a\n/b"]
)
def test_signing_in_never_leads_to_another_site(client: FlaskClient, people: People, target: str) -> None:
    answer = browser.post(client, "/sign-in", {"email": "ana@example.com", "password": people.password, "next": target})
    assert (answer.status_code, answer.location) == (303, "/")


def test_every_route_refuses_strangers_unless_it_is_listed(app: Flask) -> None:
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if rule.endpoint in access.PUBLIC or rule.endpoint.startswith("api."):
            continue
        address = rule.build(dict.fromkeys(rule.arguments, "x"))[1]
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            answer = client.open(address, method=method)
            assert answer.status_code in (303, 400, 401), (rule.endpoint, method, answer.status_code)
            assert "/sign-in" in answer.headers.get("Location", "/sign-in")


def test_an_auditor_looks_everywhere_and_changes_nothing(client: FlaskClient, people: People, busy: dict[str, str]) -> None:
    browser.sign_in(client, "cy@example.com")
    for page in (*EVERYBODY, f"/proposals/{busy['open']}"):
        assert client.get(page).status_code == 200, page
    for page in (*MANAGERS, "/people", "/tickets/new", f"/proposals/{busy['open']}/edit"):
        assert client.get(page).status_code == 403, page
    for address in (f"/proposals/{busy['open']}/approve", f"/proposals/{busy['open']}/reject", "/settings/switches", "/tickets/new"):
        assert browser.post(client, address, {"seen": work.seen(busy["open"])}).status_code == 403, address
    assert work.state(busy["open"]) == "PENDING"


def test_an_operator_has_no_manager_pages(client: FlaskClient, people: People, agent: str) -> None:
    browser.sign_in(client, "ana@example.com")
    for page in (*MANAGERS, "/people"):
        assert client.get(page).status_code == 403
    answer = browser.post(client, f"/actions/{agent}/pay_key/level", {"level": "off", "note": "no"})
    assert answer.status_code == 403
    assert "Change the level" not in client.get("/actions").text


def test_a_session_ends_with_its_row_and_with_the_account(client: FlaskClient, app: Flask, people: People) -> None:
    browser.sign_in(client, "ana@example.com")
    copied = app.test_client()
    cookie = client.get_cookie("copilot")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.same_site == "Lax"
    copied.set_cookie("copilot", cookie.value)
    assert copied.get("/").status_code == 200
    assert browser.post(client, "/sign-out", {}).status_code == 303
    assert copied.get("/").status_code == 303, "a copy of the cookie is worth nothing after signing out"


def test_a_wrong_password_says_nothing_about_who_exists(client: FlaskClient, people: People) -> None:
    answers = [
        browser.post(client, "/sign-in", {"email": email, "password": "not it"}) for email in ("ana@example.com", "nobody@example.com")
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert all("do not fit together" in answer.text for answer in answers)


def test_guessing_passwords_is_stopped_kindly(client: FlaskClient, people: People) -> None:
    for _ in range(8):
        assert browser.post(client, "/sign-in", {"email": "ana@example.com", "password": "guess"}).status_code == 422
    answer = browser.post(client, "/sign-in", {"email": "ana@example.com", "password": people.password})
    assert answer.status_code == 429
    assert "Wait a minute" in answer.text
    other = browser.post(client, "/sign-in", {"email": "bo@example.com", "password": people.password})
    assert other.status_code == 303, "one account's limit is not another's"


def test_a_stranger_cannot_lock_a_colleague_out(client: FlaskClient, app: Flask, people: People) -> None:
    ana = {"email": "ana@example.com", "password": people.password}
    for _ in range(9):
        answer = browser.post(client, "/sign-in", {**ana, "password": "guess"})
    assert answer.status_code == 429
    elsewhere = app.test_client()
    elsewhere.environ_base["REMOTE_ADDR"] = "10.9.9.9"
    for _ in range(10):
        assert browser.post(elsewhere, "/sign-in", ana).status_code == 303, "and signing in well does not count"


def test_many_addresses_together_are_stopped_too(client: FlaskClient, people: People) -> None:
    def tried(number: int, password: str) -> int:
        token = browser.token(client)
        sent = {"email": "ana@example.com", "password": password, "csrf_token": token}
        answer = client.post("/sign-in", data=sent, environ_overrides={"REMOTE_ADDR": f"10.0.0.{number}"})
        return int(answer.status_code)

    assert {tried(number, "guess") for number in range(60)} == {422}
    assert tried(61, people.password) == 429


def test_signing_in_again_ends_the_session_before(client: FlaskClient, people: People) -> None:
    for email in ("ana@example.com", "ana@example.com", "bo@example.com"):
        browser.sign_in(client, email)
    with transaction():
        secret = accounts.invite("fay@example.com", "Fay", "operator")
    chosen = {"password": "four words in row", "again": "four words in row"}
    assert browser.post(client, f"/link/{secret}", chosen).status_code == 303
    open_ones = db.session.scalars(select(UserSession).where(UserSession.ended_at.is_(None))).all()
    assert [row.user.email for row in open_ones] == ["fay@example.com"]


def test_no_password_is_worked_on_while_others_wait_to_write(client: FlaskClient, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []
    for name in ("hash", "verify"):
        real = getattr(passwords, name)

        def watched(*args: Any, real: Any = real) -> Any:
            held.append(db.session().in_transaction())
            return real(*args)

        monkeypatch.setattr(passwords, name, watched)
    with transaction():
        secret = accounts.invite("fay@example.com", "Fay", "operator")
    browser.sign_in(client, "ana@example.com")
    browser.post(client, f"/link/{secret}", {"password": "four words in row", "again": "four words in row"})
    assert held == [False, False]


def test_a_form_without_its_token_does_nothing(client: FlaskClient, people: People, busy: dict[str, str]) -> None:
    browser.sign_in(client, "ana@example.com")
    answer = client.post(f"/proposals/{busy['open']}/approve", data={"seen": work.seen(busy["open"])})
    assert answer.status_code == 400
    assert "nothing was done" in answer.text
    assert work.state(busy["open"]) == "PENDING"


def test_a_link_sets_a_password_once(client: FlaskClient, people: People) -> None:
    with transaction():
        secret = accounts.invite("fay@example.com", "Fay", "operator")
    assert "Welcome, Fay" in client.get(f"/link/{secret}").text
    wrong = browser.post(client, f"/link/{secret}", {"password": "four words in row", "again": "something else"})
    assert wrong.status_code == 422
    assert "not the same" in wrong.text
    assert browser.post(client, f"/link/{secret}", {"password": "four words in row", "again": "four words in row"}).status_code == 303
    assert client.get("/").status_code == 200
    assert client.get(f"/link/{secret}").status_code == 404


def test_every_page_carries_a_strict_policy_and_no_inline_script_or_style(
    client: FlaskClient, people: People, busy: dict[str, str]
) -> None:
    browser.sign_in(client, "dee@example.com")
    for page in ("/", f"/proposals/{busy['open']}", f"/proposals/{busy['open']}/edit", "/actions", "/settings", "/nowhere"):
        answer = client.get(page)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        nonce = policy.split("'nonce-")[1].split("'")[0]
        assert f'nonce="{nonce}"' in answer.text
        assert answer.text.count("<script") == 1
        assert "<style" not in answer.text
        for inline in (" style=", " onclick=", " onload=", " onsubmit=", "javascript:"):
            assert inline not in answer.text, (page, inline)
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_page_that_is_not_there_says_so_kindly(client: FlaskClient, people: People) -> None:
    browser.sign_in(client, "ana@example.com")
    for address in ("/nowhere", "/proposals/prop_none", "/tickets/tick_none", "/runs/run_none"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert "To the queue" in answer.text
    assert client.get("/sign-out").status_code == 405
    assert client.get("/?cursor=nonsense").status_code == 422
    assert client.get("/?q=a%00b").status_code == 422
    assert client.get("/record?q=a%00b").status_code == 422


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "made_up", ["0001-01-01T00:00:00+23:59|x", "9999-12-31T23:59:59-23:59|x", "2026-01-01T00:00:00|x", "2026-01-01T00:00:00+00:00|a\0b"]
)
def test_a_made_up_place_in_a_list_is_no_place(client: FlaskClient, people: People, made_up: str) -> None:
    browser.sign_in(client, "bo@example.com")
    cursor = urlsafe_b64encode(made_up.encode()).decode().rstrip("=")
    for page in ("/?", "/?view=all&", "/tickets?", "/escalations?", "/notifications?", "/outcomes?"):
        assert client.get(f"{page}cursor={cursor}").status_code in (200, 422), page
    assert client.get("/outcomes", query_string={"held": cursor}).status_code == 422
    with transaction():
        token = tokens.issue_person(people.bo, "laptop")
    answer = client.get("/api/v1/proposals", query_string={"cursor": cursor}, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 422


def test_the_kill_switch_stands_on_every_page(client: FlaskClient, people: People) -> None:
    browser.sign_in(client, "bo@example.com")
    assert browser.post(client, "/settings/switches", {"scope": "all", "note": ""}).status_code == 422
    assert browser.post(client, "/settings/switches", {"scope": "all", "note": "The bank is <b>down</b>"}).status_code == 303
    assert "The bank is &lt;b&gt;down" in client.get("/tickets").text
    assert browser.post(client, "/settings/switches/release", {"scope": "all", "note": "It is back"}).status_code == 303
    db.session.rollback()
    assert not switches.thrown()


def test_only_an_admin_switches_a_second_person_rule_off(client: FlaskClient, app: Flask, people: People) -> None:
    posted = {"name": "two-people", "on": "no", "note": "Only two of us this week"}
    browser.sign_in(client, "bo@example.com")
    assert browser.post(client, "/settings/rules", posted).status_code == 403
    admin = app.test_client()
    browser.sign_in(admin, "dee@example.com")
    assert browser.post(admin, "/settings/rules", posted).status_code == 303
    assert "Only two of us this week" in admin.get("/settings").text
    db.session.rollback()
    assert switches.rules_off() == {"two-people"} | approvals.DEFAULT_OFF


def test_auto_is_refused_in_words_until_the_numbers_are_there(client: FlaskClient, people: People, agent: str) -> None:
    browser.sign_in(client, "bo@example.com")
    answer = browser.post(client, f"/actions/{agent}/pay_key/level", {"level": "auto", "note": "It looks fine"})
    assert answer.status_code == 409
    assert "needs 52 clean decisions in a row" in answer.text
    assert browser.post(client, f"/actions/{agent}/pay_key/level", {"level": "off", "note": "Too many wrong accounts"}).status_code == 303
    assert "Too many wrong accounts" in client.get("/actions").text


def test_a_ticket_typed_in_is_taken_once_however_often_one_clicks(client: FlaskClient, people: People, agent: str) -> None:
    browser.sign_in(client, "ana@example.com")
    form = browser.form(client.get("/tickets/new").text)
    typed = {**form, "subject": "My parcel", "body": "Where is <b>it</b>?", "customer_id": "c9", "channel": "email"}
    first, second = (browser.post(client, "/tickets/new", typed) for _ in range(2))
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.location == second.location
    shown = client.get(first.location).text
    assert "My parcel" in shown
    assert "Queued" in shown
    bad = browser.post(client, "/tickets/new", {**typed, "subject": "", "customer_email": "x" * 300})
    assert bad.status_code == 422
    assert "Give it a subject" in bad.text
    assert "Where is" in bad.text, "nothing typed is lost"


def test_health_is_open_and_says_what_is_missing(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["checks"] == {
        "database": "ok", "tables": "ok", "redis": "ok", "worker execute": "missing", "worker draft": "missing", "worker upkeep": "missing",
    }  # fmt: skip
    from copilot import jobs

    for queue in ("execute", "draft", "upkeep"):
        jobs.beat(f"{queue}-1", queue)
    assert client.get("/readyz").status_code == 200
    assert 'copilot_waiting{what="pending"} 0.0' in client.get("/metrics").text


@pytest.mark.both_databases
def test_a_database_without_tables_is_named(client: FlaskClient) -> None:
    with db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE heartbeats RENAME TO elsewhere"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json is not None
    assert (answer.json["checks"]["database"], answer.json["checks"]["tables"]) == ("ok", "missing")
    answer = client.get("/metrics")
    assert (answer.status_code, "copilot db upgrade" in answer.text) == (503, True)


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "page", ["/", "/nowhere", "/sign-in", "/proposals/x", "/healthz", "/readyz", "/metrics", "/events", "/static/nothing.css"]
)
def test_without_the_database_every_page_still_answers(
    client: FlaskClient, app: Flask, people: People, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    browser.sign_in(client, "ana@example.com")
    db.session.remove()
    db.engine.dispose()
    app.testing = False

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("the server is gone"))

    monkeypatch.setattr(db.engine.pool, "connect", away)
    answer = client.get(page)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    if page == "/healthz":
        assert answer.status_code == 200
        return
    assert answer.status_code == 503
    if page in ("/", "/nowhere", "/sign-in", "/proposals/x"):
        assert "Nothing was lost" in answer.text
        assert "gone" not in answer.text
        assert answer.headers["Retry-After"] == "5"
        assert answer.text.count("<script") == 0


def test_a_page_about_an_error_that_fails_is_plain_text(client: FlaskClient, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise RuntimeError("no templates today")

    monkeypatch.setattr(problems, "render_template", broken)
    browser.sign_in(client, "ana@example.com")
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert "No page has this address" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_an_error_of_the_database_quotes_no_values(app: Flask, people: People) -> None:
    with pytest.raises(SQLAlchemyError) as caught, transaction():
        db.session.execute(text("SELECT * FROM nowhere WHERE email = :email"), {"email": "ana@example.com"})
    assert "ana@example.com" not in str(caught.value)


def test_what_the_web_server_itself_logs_holds_no_personal_values(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        lines = server._Lines(Config())
        try:
            raise ValueError("ana@example.com is no number")
        except ValueError:
            lines.exception("Error handling request /?q=ana@example.com")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
    written = "".join(capsys.readouterr())
    assert "ValueError" in written
    assert "[email]" in written
    assert "ana@example.com" not in written


def test_tickets_nobody_drafts_for_are_listed(client: FlaskClient, people: People, agent: str) -> None:
    browser.sign_in(client, "cy@example.com")
    assert "Tickets no agent works on" not in client.get("/escalations").text
    alone, taken, solved = work.ticket(), work.ticket(), work.ticket()
    with transaction():
        runs.queue(taken, agent)
        db.session.get_one(Ticket, solved).status = "solved"
    page = client.get("/escalations").text
    assert "Tickets no agent works on" in page
    assert f"/tickets/{alone}" in page
    assert f"/tickets/{taken}" not in page
    assert f"/tickets/{solved}" not in page


def test_a_colour_choice_is_kept_and_never_leads_elsewhere(client: FlaskClient, people: People) -> None:
    browser.sign_in(client, "ana@example.com")
    answer = browser.post(client, "/theme", {"theme": "dark", "back": "//evil.example"})
    assert answer.location == "/"
    assert 'data-bs-theme="dark"' in client.get("/").text
    browser.post(client, "/theme", {"theme": "system", "back": "/tickets"})
    assert "data-bs-theme" not in client.get("/").text
