"""Deciding on pages without scripts: what was seen is what is decided, conflicts are told, nothing typed is lost."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from copilot.db import db, transaction
from copilot.gate import tools
from copilot.models import Decision, Feedback, Proposal, Run
from copilot.web import filters, money, outcomes, text
from copilot.web import html as inert
from tests.support import browser, work
from tests.support.people import People


@pytest.fixture
def ana(client: FlaskClient, people: People) -> FlaskClient:
    """Ana's browser."""
    browser.sign_in(client, "ana@example.com")
    return client


@pytest.fixture
def eli(app: Flask, people: People) -> FlaskClient:
    """Eli's browser."""
    other = app.test_client()
    browser.sign_in(other, "eli@example.com")
    return other


def _edit(client: FlaskClient, proposal: str, **changes: str) -> Any:
    """Post the edit form as it stands, with changes by the argument's name."""
    form = browser.form(client.get(f"/proposals/{proposal}/edit").text)
    form |= {f"arg/{name}" if name not in ("reason", "note", "step", "seen") else name: value for name, value in changes.items()}
    return browser.post(client, f"/proposals/{proposal}/edit", {"step": "approve", "reason": "wrong_amount", **form})


@pytest.mark.both_databases
def test_approving_decides_what_was_on_screen(ana: FlaskClient, agent: str) -> None:
    proposal = work.propose(agent)
    page = ana.get(f"/proposals/{proposal}").text
    assert browser.form(page)["seen"] == work.seen(proposal)
    answer = browser.post(ana, f"/proposals/{proposal}/approve", {"seen": browser.form(page)["seen"]})
    assert (answer.status_code, answer.location) == (303, f"/proposals/{proposal}")
    assert work.state(proposal) == "APPROVED"
    shown = ana.get(answer.location).text
    assert "Approved. It runs now." in shown
    assert 'http-equiv="refresh"' in shown, "without scripts the page looks again by itself while something moves"


def test_a_card_shows_everything_that_will_run_before_its_buttons(ana: FlaskClient, agent: str) -> None:
    memo = "word " * 90 + "the very end"
    proposal = work.propose(agent, memo=memo, ticket_id=work.ticket())
    page = ana.get(f"/proposals/{proposal}").text
    approve = page.index('data-key="a"')
    for part in ("Pay 10.00 EUR", "€10.00", "amount_minor = 1000", "c1/main", "the very end", work.seen(proposal)[:12]):
        assert page.index(part) < approve, part
    order = [
        "What changes",
        "Exactly this will run",
        "Why you are asked",
        "Facts, fetched by us",
        "Similar decisions",
        "The ticket, as",
        "What the model says",
    ]
    places = [page.index(title) for title in order]
    assert places == sorted(places), "in the order people decide by, the model last"


def test_hostile_text_is_inert_and_its_hidden_parts_are_seen(ana: FlaskClient, agent: str, people: People) -> None:
    trick = "<script>alert(1)</script> p\u0430ypal \u202egnp.exe \u200b\U000e0068\U000e0069 {{ 7*7 }}"
    proposal = work.propose(agent, memo=trick)
    with transaction():
        db.session.get_one(Proposal, proposal).rationale = f'"><img src=x onerror=alert(1)> {trick}'
    page = ana.get(f"/proposals/{proposal}").text
    assert "<script>alert" not in page
    assert "<img" not in page
    for mark in ("U+202E", "U+200B", "hidden text: “hi”", "mixed alphabets", "{{ 7*7 }}"):
        assert mark in page, mark
    for character in "\u202e\u200b\U000e0068":
        assert character not in page
    assert "\u202e" in html.unescape(ana.get(f"/proposals/{proposal}/edit").text), "the form keeps the exact value"


def test_a_stale_page_decides_nothing_and_shows_how_it_stands(ana: FlaskClient, agent: str, people: People) -> None:
    proposal = work.propose(agent)
    old = work.seen(proposal)
    work.edit(proposal, people.eli, save_only=True, amount_minor=900)
    answer = browser.post(ana, f"/proposals/{proposal}/approve", {"seen": old})
    assert answer.status_code == 409
    assert "changed" in answer.text
    assert "€9.00" in answer.text
    assert work.state(proposal) == "PENDING"
    assert browser.form(answer.text)["seen"] == work.seen(proposal), "the page it shows can be decided on"


def test_whoever_is_second_is_told_kindly(ana: FlaskClient, agent: str, people: People) -> None:
    proposal = work.propose(agent)
    shown = work.seen(proposal)
    work.reject(proposal, people.eli)
    answer = browser.post(ana, f"/proposals/{proposal}/approve", {"seen": shown})
    assert answer.status_code == 409
    assert "Someone else decided this first" in answer.text
    assert "Eli rejected it" in answer.text
    assert "Approve <kbd" not in answer.text


def test_rejecting_needs_a_reason_and_other_needs_words(ana: FlaskClient, agent: str) -> None:
    proposal = work.propose(agent)
    seen = work.seen(proposal)
    for posted, said in (
        ({}, "Choose a reason"),
        ({"reason": "other"}, "Say in a few words"),
        ({"reason": "nonsense"}, "Not a valid choice"),
    ):
        answer = browser.post(ana, f"/proposals/{proposal}/reject", {"seen": seen, "note": "", **posted})
        assert answer.status_code == 422, posted
        assert said in answer.text
        assert "data-reject open" in answer.text
    answer = browser.post(
        ana, f"/proposals/{proposal}/reject", {"seen": seen, "reason": "wrong_target", "note": "That is her <b>old</b> account"}
    )
    assert answer.status_code == 303
    shown = ana.get(answer.location).text
    assert "Ana rejected it" in shown
    assert "her &lt;b&gt;old&lt;/b&gt; account" in shown
    feedback = db.session.scalars(select(Feedback).where(Feedback.proposal_id == proposal)).one()
    assert (feedback.kind, feedback.reason_code) == ("reject", "wrong_target")


@pytest.mark.both_databases
def test_an_edit_in_major_units_is_stored_in_minor_ones(ana: FlaskClient, agent: str) -> None:
    proposal = work.propose(agent, amount_minor=2500)
    assert 'value="25.00"' in ana.get(f"/proposals/{proposal}/edit").text
    answer = _edit(ana, proposal, amount_minor="19,90")
    assert answer.status_code == 303, answer.text
    assert work.current(proposal)["amount_minor"] == 1990
    assert work.state(proposal) == "APPROVED"
    shown = ana.get(f"/proposals/{proposal}").text
    assert "What people changed in the draft" in shown
    assert "Saved as version 2 and approved" in shown


def test_raising_the_amount_needs_somebody_else(ana: FlaskClient, eli: FlaskClient, agent: str) -> None:
    proposal = work.propose(agent, amount_minor=1000)
    answer = _edit(ana, proposal, amount_minor="30.00")
    assert "It waits for another person than the editor" in ana.get(answer.location).text
    assert work.state(proposal) == "PENDING"
    assert "Approve <kbd" not in ana.get(f"/proposals/{proposal}").text
    page = eli.get(f"/proposals/{proposal}").text
    assert "somebody other than Ana" in page
    assert browser.post(eli, f"/proposals/{proposal}/approve", {"seen": work.seen(proposal)}).status_code == 303
    assert work.state(proposal) == "APPROVED"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amount_minor": "1,000"}, "EUR has 2 decimal places"),
        ({"amount_minor": "ten"}, "Write the amount as digits"),
        ({"amount_minor": "0"}, "less than the minimum"),
        ({"amount_minor": ""}, "Is required"),
        ({"invoice": "x" * 41}, "longer than 40"),
        ({"currency": '"CHF"'}, "Choose one of the values offered"),
        ({"memo": "other", "reason": "other", "note": ""}, "Say in a few words"),
        ({}, "Nothing is changed yet"),
    ],
)
def test_nothing_typed_is_lost_when_an_edit_is_not_possible(ana: FlaskClient, agent: str, changes: dict[str, str], said: str) -> None:
    proposal = work.propose(agent)
    answer = _edit(ana, proposal, **{"note": "typed with care", **changes})
    assert answer.status_code == 422, answer.text
    assert said in html.unescape(answer.text)
    form = browser.form(answer.text)
    assert form["note"] == changes.get("note", "typed with care")
    for name, value in changes.items():
        if name not in ("reason", "currency", "note"):
            assert form[f"arg/{name}"] == value
    assert work.row(proposal).version == 1


def test_the_gate_judges_an_edit_and_says_no_on_the_form(ana: FlaskClient, agent: str) -> None:
    proposal = work.propose(agent)
    answer = _edit(ana, proposal, amount_minor="10000.01")
    assert answer.status_code == 409
    assert "With these changes it could not run" in answer.text
    assert browser.form(answer.text)["arg/amount_minor"] == "10000.01"
    assert work.row(proposal).version == 1


def test_checking_first_shows_what_the_edit_would_mean(ana: FlaskClient, agent: str) -> None:
    proposal = work.propose(agent, amount_minor=2500)
    answer = _edit(ana, proposal, amount_minor="12.00", step="check", reason="")
    assert answer.status_code == 200
    assert "Pay 12.00 EUR" in answer.text
    assert work.row(proposal).version == 1


def test_two_editors_see_each_other(ana: FlaskClient, agent: str, people: People) -> None:
    proposal = work.propose(agent, amount_minor=2500)
    form = browser.form(ana.get(f"/proposals/{proposal}/edit").text)
    work.edit(proposal, people.eli, save_only=True, amount_minor=2000)
    posted = {**form, "arg/amount_minor": "15.00", "reason": "wrong_amount", "step": "approve"}
    answer = browser.post(ana, f"/proposals/{proposal}/edit", posted)
    assert answer.status_code == 409
    again = browser.form(answer.text)
    assert again["arg/amount_minor"] == "15.00"
    assert again["seen"] == work.seen(proposal)
    assert browser.post(ana, f"/proposals/{proposal}/edit", {**posted, "seen": again["seen"]}).status_code == 303
    assert work.current(proposal)["amount_minor"] == 1500


def test_the_owner_and_the_requester_are_told_why_they_may_not(client: FlaskClient, agent: str, people: People) -> None:
    browser.sign_in(client, "dee@example.com")
    proposal = work.propose(agent)
    page = client.get(f"/proposals/{proposal}").text
    assert "You own the agent that drafted this" in page
    assert "Approve <kbd" not in page
    answer = browser.post(client, f"/proposals/{proposal}/approve", {"seen": work.seen(proposal)})
    assert answer.status_code == 403
    assert "You own the agent" in answer.text
    assert work.state(proposal) == "PENDING"


def test_an_unknown_outcome_is_settled_on_the_desk(ana: FlaskClient, agent: str, people: People) -> None:
    proposal = work.propose(agent, "pay_opaque")
    with transaction():
        row = db.session.get_one(Proposal, proposal)
        row.state, row.attempts = "OUTCOME_UNKNOWN", 1
    assert "Nobody knows whether it happened" in ana.get(f"/proposals/{proposal}").text
    assert proposal in ana.get("/outcomes").text
    assert browser.post(ana, f"/outcomes/{proposal}", {"happened": "yes", "note": ""}).status_code == 422
    assert browser.post(ana, f"/outcomes/{proposal}", {"happened": "yes", "note": "The bank's statement shows it."}).status_code == 303
    assert work.state(proposal) == "SUCCEEDED"
    assert "Every outcome is known" in ana.get("/outcomes").text
    answer = browser.post(ana, f"/outcomes/{proposal}", {"happened": "no", "note": "Too late."})
    assert answer.status_code == 409


def test_the_next_one_leaves_out_what_this_person_cannot_decide(ana: FlaskClient, agent: str, people: People) -> None:
    first, second = work.propose(agent), work.propose(agent)
    work.propose(agent, requester_id=people.ids["ana"])
    browser.post(ana, f"/proposals/{first}/approve", {"seen": work.seen(first)})
    assert f'data-next href="/proposals/{second}"' in ana.get(f"/proposals/{first}").text
    browser.post(ana, f"/proposals/{second}/approve", {"seen": work.seen(second)})
    assert 'data-next href="/"' in ana.get(f"/proposals/{second}").text


def test_the_queue_pages_filter_and_count(ana: FlaskClient, agent: str) -> None:
    made = [work.propose(agent) for _ in range(52)]
    other = work.propose(agent, "pay_opaque")
    page = ana.get("/").text
    assert "<title>(53) Queue · Copilot</title>" in page
    assert page.count("data-item") == 50
    following = ana.get(html.unescape(page.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0])).text
    assert following.count("data-item") == 3
    seen = {part.split('"')[0] for text in (page, following) for part in text.split('data-proposal="')[1:]}
    assert seen == {*made, other}
    assert ana.get("/?tool=pay_opaque").text.count("data-item") == 1
    assert "Nothing matches" in ana.get("/?risk=high").text
    assert ana.get("/counts").json == {"pending": 53, "unknown": 0, "needs_human": 0, "cap": 1000}


def test_similar_decisions_stand_beside(ana: FlaskClient, agent: str, people: People) -> None:
    before = work.propose(agent, amount_minor=700)
    work.reject(before, people.eli)
    page = ana.get(f"/proposals/{work.propose(agent, amount_minor=900)}").text
    assert "Rejected by Eli" in page
    assert "Same customer · same target · this one is larger" in page


def test_a_run_that_needs_a_person_can_be_solved_or_tried_again(ana: FlaskClient, agent: str) -> None:
    from copilot.agents import runs

    ticket = work.ticket()
    with transaction():
        first = runs.queue(ticket, agent)
    with transaction():
        held = runs.claim(first)
        assert held is not None
        runs.finish(held, "NEEDS_HUMAN", "ambiguous", "Which of the three orders?")
    assert "Which of the three orders?" in ana.get("/escalations").text
    assert "Which of the three orders?" in ana.get(f"/runs/{first}").text
    answer = browser.post(ana, f"/runs/{first}/again", {})
    assert answer.status_code == 303
    assert "Nothing needs you" in ana.get("/escalations").text, "the new run took it over"
    second = answer.location.removeprefix("/runs/")
    assert db.session.get_one(Run, second).state == "QUEUED"
    assert browser.post(ana, f"/runs/{first}/solved", {}).status_code == 303


def test_two_people_are_asked_for_two_decisions(client: FlaskClient, app: Flask, agent: str, people: People, eli: FlaskClient) -> None:
    proposal = work.propose(agent, amount_minor=20_000)
    browser.sign_in(client, "ana@example.com")
    assert "Give the first approval" in client.get(f"/proposals/{proposal}").text
    answer = browser.post(client, f"/proposals/{proposal}/approve", {"seen": work.seen(proposal)})
    assert "Your approval counts. It waits for one more person." in client.get(answer.location).text
    assert "You approved this already" in client.get(answer.location).text
    assert browser.post(eli, f"/proposals/{proposal}/approve", {"seen": work.seen(proposal)}).status_code == 303
    assert work.state(proposal) == "APPROVED"
    deciding = db.session.scalars(select(Decision.reviewer_id).where(Decision.proposal_id == proposal)).all()
    assert set(deciding) == {people.ids["ana"], people.ids["eli"]}


def test_the_outcome_desk_has_as_many_pages_as_it_needs(ana: FlaskClient, agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "AT_ONCE", 2)
    unknown, held = ([work.propose(agent, "pay_opaque") for _ in range(3)] for _ in range(2))
    with transaction():
        for state, made in (("OUTCOME_UNKNOWN", unknown), ("HELD", held)):
            for proposal in made:
                db.session.get_one(Proposal, proposal).state = state
    page, seen = ana.get("/outcomes").text, set()
    for heading in ("unknown", "held"):
        following = next(
            html.unescape(link) for link in re.findall(r'href="([^"]*)" rel="next"', page) if ("held=" in link) == (heading == "held")
        )
        both = page + ana.get(following).text
        seen |= {proposal for proposal in (*unknown, *held) if f'id="{proposal}"' in both}
    assert seen == {*unknown, *held}
    last = re.findall(r'action="(/outcomes/[^"]*)"', ana.get(following).text)[-1]
    answer = browser.post(ana, html.unescape(last), {"note": ""})
    assert answer.status_code == 422
    assert "Say why" in answer.text, "whoever is sent back is still on the page they came from"


def test_a_card_says_when_too_few_people_could_approve(ana: FlaskClient, agent: str, people: People) -> None:
    proposal = work.propose(agent, amount_minor=20_000)
    said = "Too few people could approve this"
    assert said not in ana.get(f"/proposals/{proposal}").text
    with transaction():
        for name in ("bo", "eli"):
            people.row(name).active = False
    page = ana.get(f"/proposals/{proposal}").text
    assert said in page
    assert "add a person" in page
    assert "switch the second-person rule off by name on Settings" in page


def test_what_can_never_run_can_still_be_refused(
    ana: FlaskClient, eli: FlaskClient, client: FlaskClient, app: Flask, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected, withdrawn = work.propose(agent), work.propose(agent)
    monkeypatch.setattr(tools, "_current", tools.Registry())
    page = ana.get(f"/proposals/{rejected}").text
    assert "can only be rejected" in page
    assert "Approve <kbd" not in page
    assert "Too few people" not in page
    assert ana.get(f"/proposals/{rejected}/edit").status_code == 409
    answer = browser.post(ana, f"/proposals/{rejected}/reject", {"seen": browser.form(page)["seen"], "reason": "wrong_action", "note": ""})
    assert answer.status_code == 303, answer.text
    assert browser.post(eli, f"/proposals/{withdrawn}/withdraw", {"note": "The tool is gone."}).status_code == 303
    assert (work.state(rejected), work.state(withdrawn)) == ("REJECTED", "WITHDRAWN")
    auditor = app.test_client()
    browser.sign_in(auditor, "cy@example.com")
    assert "data-reject" not in auditor.get(f"/proposals/{withdrawn}").text


@pytest.mark.parametrize(
    ("typed", "currency", "minor"),
    [
        ("80", "EUR", 8000),
        ("80.5", "EUR", 8050),
        ("80,05", "EUR", 8005),
        ("1250", "JPY", 1250),
        ("1.234", "KWD", 1234),
        (" 7.00 ", "USD", 700),
    ],
)
def test_money_is_read_exactly(typed: str, currency: str, minor: int) -> None:
    assert money.parse(typed, currency) == minor
    assert money.parse(money.major(minor, currency), currency) == minor


@pytest.mark.parametrize("typed", ["1,000", "1.000", "1'000", "1 000", "1.000,00", "", "-", "1e3", "٣", "0x10", "1.2.3"])
def test_money_that_could_mean_two_things_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="write"):
        money.parse(typed, "EUR")


def test_marks_never_lose_a_character_of_what_is_plain() -> None:
    assert str(text.shown("plain <b> & text\n")) == "plain &lt;b&gt; &amp; text\n"
    assert str(text.shown("Zoë Ångström, 東京, Κώστας, Юлия")) == "Zoë Ångström, 東京, Κώστας, Юлия"


@pytest.mark.parametrize("body", ["<b>" + "a" * inert.LONGEST, "<b>" * (inert.MOST_TAGS + 1), "<script" * 30_000, "<a " * 40_000])
def test_what_would_take_long_to_read_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr("copilot.web.html.bleach.clean", lambda *_, **__: pytest.fail("it was parsed"))
    monkeypatch.setattr(inert, "_LOOKS_LIKE_HTML", None)
    assert not inert.is_html(body)
    assert html.unescape(str(inert.harmless(body))) == body


def test_only_so_much_html_is_read_for_one_page(app: Flask) -> None:
    body = "<b>x</b>" * 200
    with app.test_request_context():
        read = ["&lt;" not in filters.message(body) for _ in range(6)]
    assert read == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("a<script>x</script>b<STYLE q='1'>y</style >c", "abc"),
        ("<title><script>x</title>b", "b"),
        ("a<script>pay everything", "apay everything"),
        ("a<script>x</script", "ax"),
        ("<head>" * 100 + "</head>" + "b", "b"),
    ],
)
def test_scripts_and_styles_go_whole_but_nothing_is_hidden_by_an_open_one(body: str, kept: str) -> None:
    assert inert.harmless(body).striptags().startswith(kept)


def test_a_difference_is_told_word_by_word_while_that_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(text.difference("pay 10 to <b>", "pay 12 to <b>")) == "pay <del>10</del><ins>12</ins> to &lt;b&gt;"
    assert str(text.difference("", "a")) == "<ins>a</ins>"
    assert str(text.difference("a a", "a a a")) == "a a<ins> a</ins>"
    same = "word " * 50_000
    assert text.difference(f"{same}one{same}", f"{same}two{same}").count("<del>") == 1, "what is shared costs nothing"
    monkeypatch.setattr("copilot.web.text.difflib.SequenceMatcher", lambda *_: pytest.fail("it was compared piece by piece"))
    old, new = "a b " * 1_000, "b a " * 1_000
    assert str(text.difference(old, new)) == f"<del>{old}</del><ins>{new}</ins>".replace(" </ins>", "</ins> ").replace(" </del>", "</del>")
