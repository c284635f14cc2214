"""Versions of the policies: adopted from the folder, drafted, published by a second person, in force everywhere at once, and back."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from copilot import db as database
from copilot import jobs
from copilot.db import db, fresh_context, transaction
from copilot.errors import BadInput, Conflict, CopilotError, NotEntitled, Refused, SetupError
from copilot.gate import approvals, history, library, policy, switches, tools
from copilot.models import PolicyVersion, User
from copilot.processes import clock, doctor
from copilot.web import text
from tests.support import ROOT, browser, work
from tests.support.people import People

FOLDER = ROOT / "tests" / "support" / "policies"
STRICT = ("context.amount_minor > 1000000", "context.amount_minor > 500")


@pytest.fixture
def adopted(app: Flask, people: People) -> dict[str, str]:
    """The test folder as version 1, in force; gives its files."""
    with transaction():
        library.adopt(policy.current())
    return dict(policy.current().files)


def strict(files: dict[str, str]) -> dict[str, str]:
    """The same policies, with payments above 5.00 forbidden."""
    assert STRICT[0] in files["tests.cedar"]
    return files | {"tests.cedar": files["tests.cedar"].replace(*STRICT)}


def draft(people: People, files: dict[str, str], *, by: str = "bo") -> str:
    """A draft's id."""
    with transaction():
        return library.draft(files, by=people.row(by), comment="stricter").id


def replayed(version_id: str, people: People, *, by: str = "bo") -> None:
    """Let its replay run."""
    with transaction():
        history.ask(version_id, days=30, by=people.row(by))
    history.run(version_id)


def publish(version_id: str, people: People, *, by: str = "dee") -> None:
    """Publish it."""
    with transaction():
        library.publish(version_id, by=people.row(by), note="agreed")


def version(version_id: str) -> PolicyVersion:
    """The row as it stands."""
    db.session.rollback()
    return db.session.get_one(PolicyVersion, version_id)


def why(refused: pytest.ExceptionInfo[CopilotError]) -> str:
    """The rule that said no."""
    return str(getattr(refused.value, "rule", ""))


@pytest.mark.both_databases
def test_the_folder_becomes_a_version_when_it_changed_and_only_then(app: Flask, people: People) -> None:
    assert library.in_force() is policy.current()
    first = policy.current()
    for _ in range(2):
        with transaction():
            library.adopt(first)
    assert [row.number for row in library.listed()] == [1]
    assert library.in_force().hash == first.hash
    changed = policy.from_files(strict(dict(first.files)), tools=tools.current().all())
    with transaction():
        library.adopt(changed)
    assert [(row.number, row.source, row.state) for row in library.listed()] == [(2, "files", "published"), (1, "files", "published")]
    assert library.in_force().hash == changed.hash
    assert work.kinds(library.listed()[0].id) == ["policy.published"]


CASE = '\n[[case]]\nname = "{0}"\ntool = "{1}"\narguments = {2}\nexpect = "{3}"\n'
PAYMENT = '{ invoice = "i", account = "c1/main", amount_minor = 400, currency = "EUR" }'
GOOD = CASE.format("One person decides four euros", "pay_key", PAYMENT, "one person")
ABSENT = CASE.format("About a tool of another installation", "fly_away", "{}", "allowed")


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (
            CASE.format("Four euros are refused", "pay_key", PAYMENT, "refused"),
            "“Four euros are refused” (expected refused, got one person)",
        ),
        ('[[case]]\nname = "Half a case"\n', "Half a case"),
    ],
)
def test_a_folder_whose_own_tests_fail_is_not_taken_over(
    adopted: dict[str, str], agent: str, people: People, caplog: pytest.LogCaptureFixture, tests: str, said: str
) -> None:
    folder = policy.from_files(strict(adopted) | {"tests.toml": GOOD + tests}, tools=tools.current().all())
    with pytest.raises(SetupError, match="not taken over") as refused, transaction():
        library.adopt(folder)
    assert said in str(refused.value)
    assert "One person decides four euros" not in str(refused.value)
    assert [row.number for row in library.listed()] == [1]
    policy.install(folder)
    clock._adopt()  # as a clock that starts with this folder
    assert said in caplog.text
    assert [row.number for row in library.listed()] == [1]
    assert work.state(work.propose(agent)) == "PENDING", "what was in force still decides"


@pytest.mark.both_databases
def test_tests_about_tools_that_are_not_installed_keep_no_folder_out(
    adopted: dict[str, str], people: People, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="copilot.gate.library")
    folder = policy.from_files(adopted | {"tests.toml": GOOD + ABSENT}, tools=tools.current().all())
    with transaction():
        library.adopt(folder)
    assert [row.number for row in library.listed()] == [2, 1]
    assert "About a tool of another installation" in caplog.text
    assert library.in_force().hash == folder.hash


@pytest.mark.both_databases
def test_asking_for_a_replay_while_it_is_published_changes_nothing(adopted: dict[str, str], people: People) -> None:
    """What a version was published on stays beside it, also when somebody presses the button in that very moment."""
    made = draft(people, strict(adopted))
    replayed(made, people)
    published, said = threading.Event(), []

    def late() -> None:
        with fresh_context():
            published.wait(30)
            try:
                with transaction():
                    history.ask(made, days=90, by=people.bo)
            except CopilotError as error:
                said.append(error.code)

    other = threading.Thread(target=late)
    other.start()
    with transaction():
        library.publish(made, by=people.dee, note="agreed")
        db.session.flush()
        published.set()
        time.sleep(0.5)  # time to read what is about to be no draft any more
    other.join(60)
    assert said == ["conflict"]
    assert (version(made).state, version(made).replay_state, (version(made).replay or {})["days"]) == ("published", "done", 30)


@pytest.mark.both_databases
def test_a_published_version_decides_from_the_next_judgement_on(adopted: dict[str, str], agent: str, people: People) -> None:
    assert work.state(work.propose(agent)) == "PENDING"
    made = draft(people, strict(adopted))
    assert work.state(work.propose(agent)) == "PENDING"
    replayed(made, people)
    publish(made, people)
    assert work.state(work.propose(agent)) == "DENIED"
    assert work.row(work.propose(agent)).verdict["rule"] == "too-large"
    assert work.kinds(made) == ["policy.drafted", "policy.replay_asked", "policy.replayed", "policy.published"]


@pytest.mark.both_databases
def test_it_decides_in_every_thread_and_what_was_approved_under_the_old_one_is_judged_again(
    adopted: dict[str, str], agent: str, people: People
) -> None:
    proposal = work.propose(agent)
    made = draft(people, strict(adopted))
    replayed(made, people)
    publish(made, people)
    seen: list[str] = []

    def look() -> None:
        with fresh_context():
            seen.append(library.in_force().hash)

    other = threading.Thread(target=look)
    other.start()
    other.join()
    assert seen == [version(made).hash]
    work.approve(proposal, people.ana)
    jobs.execute(proposal)
    assert work.state(proposal) == "DENIED"


def test_a_version_from_the_page_stands_above_the_folder_until_the_folder_changes(adopted: dict[str, str], people: People) -> None:
    folder = policy.current()
    made = draft(people, strict(adopted))
    replayed(made, people)
    publish(made, people)
    with transaction():
        library.adopt(folder)
    current = library.current_version()
    assert current is not None
    assert current.id == made


@pytest.mark.both_databases
def test_the_author_never_publishes_unless_the_rule_is_off(adopted: dict[str, str], people: People) -> None:
    made = draft(people, strict(adopted))
    replayed(made, people)
    with pytest.raises(Refused) as refused:
        publish(made, people, by="bo")
    assert why(refused) == approvals.POLICY_SECOND_PERSON
    assert version(made).state == "draft"
    with transaction():
        switches.set_rule(approvals.POLICY_SECOND_PERSON, on=False, by=people.dee, reason="alone today")
    publish(made, people, by="bo")
    assert version(made).published_by == people.ids["bo"]


@pytest.mark.parametrize("who", ["ana", "cy"])
def test_operators_and_auditors_change_nothing(adopted: dict[str, str], people: People, who: str) -> None:
    made = draft(people, strict(adopted))
    replayed(made, people)
    for attempt in (
        lambda: draft(people, strict(adopted), by=who),
        lambda: replayed(made, people, by=who),
        lambda: publish(made, people, by=who),
    ):
        with pytest.raises(NotEntitled):
            attempt()
    with pytest.raises(NotEntitled), transaction():
        library.discard(made, by=people.row(who))
    with pytest.raises(NotEntitled), transaction():
        library.roll_back(1, by=people.row(who), comment="back")
    assert version(made).state == "draft"


def test_publishing_needs_a_replay_of_this_very_text_not_older_than_a_day(adopted: dict[str, str], people: People, clock: object) -> None:
    made = draft(people, strict(adopted))

    def refused() -> str:
        with pytest.raises(Refused) as error:
            publish(made, people)
        assert why(error) == "policy-replay"
        return str(error.value)

    assert "first" in refused()
    with transaction():
        history.ask(made, days=30, by=people.bo)
    assert "not ended" in refused()
    history.run(made)
    with transaction():
        db.session.execute(update(PolicyVersion).values(replayed_at=database.now() - timedelta(hours=25)))
    assert "older than a day" in refused()
    with transaction():
        row = db.session.get_one(PolicyVersion, made)
        row.replayed_at, row.replay = database.now(), {**(row.replay or {}), "hash": "0" * 64}
    assert "another text" in refused()
    with transaction():
        db.session.get_one(PolicyVersion, made).replay_state = "failed"
    assert "failed" in refused()
    replayed(made, people)
    publish(made, people)
    for again in (lambda: publish(made, people), lambda: replayed(made, people)):  # what it was published on stays as it is
        with pytest.raises(Conflict):
            again()
    assert version(made).replay_state == "done"


def test_a_draft_from_before_another_publication_has_to_be_drafted_again(adopted: dict[str, str], people: People) -> None:
    old, new = draft(people, strict(adopted)), draft(people, adopted | {"tests.cedar": adopted["tests.cedar"] + "\n// said again\n"})
    for made in (old, new):
        replayed(made, people)
    publish(new, people)
    with pytest.raises(Conflict, match="draft it again"):
        publish(old, people)


@pytest.mark.both_databases
def test_the_way_back_is_a_new_version_with_a_second_person_too(adopted: dict[str, str], agent: str, people: People) -> None:
    made = draft(people, strict(adopted))
    replayed(made, people)
    publish(made, people)
    with transaction():
        back = library.roll_back(1, by=people.bo, comment="it stopped too much").id
    assert work.state(work.propose(agent)) == "DENIED"
    replayed(back, people)
    with pytest.raises(Refused):
        publish(back, people, by="bo")
    publish(back, people)
    assert version(back).number == 3
    assert version(back).files == version(library.listed()[-1].id).files
    assert work.state(work.propose(agent)) == "PENDING"


def test_a_draft_can_be_discarded_once(adopted: dict[str, str], people: People) -> None:
    made = draft(people, strict(adopted))
    with transaction():
        library.discard(made, by=people.bo)
    assert version(made).state == "discarded"
    for again in (lambda: library.discard(made, by=people.bo), lambda: library.publish(made, by=people.dee)):
        with pytest.raises(Conflict), transaction():
            again()


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("tests.cedar", "permit (principal, action, resource", "parse"),
        ("tests.cedar", '@id("a") @sentence("b") permit (principal, action, resource) when { context.amount_minro > 5 };', "did you mean"),
        ("budgets.toml", "[[budget]]\nid = 5", "budget"),
        ("notes.txt", "hello", "policy file"),
        ("../evil.cedar", "hello", "policy file"),
        ("big.cedar", "x" * 200_001, "characters"),
    ],
)
def test_a_mistake_is_named_at_its_file(adopted: dict[str, str], people: People, file: str, text: str, sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        draft(people, adopted | {file: text})
    assert file in refused.value.problems
    assert sentence in str(refused.value)
    assert len(library.listed()) == 1


def test_a_draft_without_a_change_or_a_reason_is_none(adopted: dict[str, str], people: People) -> None:
    with pytest.raises(BadInput, match="in force already"):
        draft(people, {name: text.replace("\n", "\r\n") for name, text in adopted.items()})
    with pytest.raises(BadInput), transaction():
        library.draft(strict(adopted), by=people.bo, comment="  ")


@pytest.mark.both_databases
@pytest.mark.parametrize("how", ["tool-gone", "tampered"])
def test_a_version_that_cannot_be_read_any_more_refuses_everything_and_says_so(
    adopted: dict[str, str], agent: str, people: People, client: FlaskClient, how: str
) -> None:
    files = strict(adopted)
    if how == "tool-gone":
        files["tests.cedar"] += (
            '\n@id("more")\n@sentence("More.")\npermit (principal, action == Action::"read", resource == Tool::"pay_key");\n'
        )
    made = draft(people, files)
    replayed(made, people)
    publish(made, people)
    assert library.problem() is None
    if how == "tool-gone":
        tools.install(tools.Registry({name: tool for name, tool in tools.current().by_name.items() if name != "pay_key"}))
    else:
        with transaction():
            row = db.session.get_one(PolicyVersion, made)
            row.files = row.files | {"tests.cedar": adopted["tests.cedar"]}
        library._loaded = None  # as a process that starts now would have it
    told = library.problem()
    assert told is not None
    assert "Version 2" in told or "version 2" in told
    proposal = work.propose(agent, "pay_both")
    assert (work.state(proposal), work.row(proposal).verdict["rule"]) == ("DENIED", "policy-broken")
    browser.sign_in(client, "dee@example.com")
    for page in ("/settings", "/policies", f"/policies/{made}"):
        answer = client.get(page)
        assert answer.status_code == 200
        assert "Nothing is allowed at the moment" in answer.text or page.endswith(made)


@pytest.mark.both_databases
def test_while_the_version_in_force_cannot_be_read_people_can_still_say_no(adopted: dict[str, str], agent: str, people: People) -> None:
    to_reject, to_withdraw, started = work.propose(agent), work.propose(agent), work.propose(agent)
    work.approve(started, people.ana)
    with transaction():
        library.listed()[0].files = {"a.cedar": "nonsense"}
    library._loaded = None  # as a process that starts now would have it
    for proposal in (to_reject, to_withdraw):
        with pytest.raises(NotEntitled) as refused:
            work.approve(proposal, people.ana)
        assert why(refused) == "policy-broken"
        assert "only be rejected" in str(refused.value)
    for nobody in (people.cy, people.dee):  # a role that only looks, and the agent's owner: what needs no policy holds as ever
        with pytest.raises(NotEntitled):
            work.reject(to_reject, nobody)
    work.reject(to_reject, people.ana)
    assert work.state(to_reject) == "REJECTED"
    assert [work.withdraw(proposal, people.eli) for proposal in (to_withdraw, started)] == ["WITHDRAWN", "WITHDRAWN"]


@pytest.mark.both_databases
def test_two_who_publish_at_once_are_one(adopted: dict[str, str], people: People) -> None:
    made = draft(people, strict(adopted))
    replayed(made, people)
    said: list[str] = []
    ready = threading.Barrier(2)

    def attempt(name: str) -> None:
        with fresh_context():
            ready.wait()
            try:
                publish(made, people, by=name)
                said.append("published")
            except CopilotError as error:
                said.append(error.code)

    threads = [threading.Thread(target=attempt, args=("dee",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["conflict", "published"]
    db.session.rollback()
    assert [event["kind"] for event in work.events(made)].count("policy.published") == 1


def test_pages_keep_what_was_typed_and_escape_it(adopted: dict[str, str], people: People, client: FlaskClient) -> None:
    browser.sign_in(client, "bo@example.com")
    sent = browser.form(client.get("/policies/new").text)
    assert sent["file-tests.cedar"].strip() == adopted["tests.cedar"].strip()
    hostile = "// </textarea><script>alert(1)</script> \u202e\npermit (principal, action, resource"
    answer = browser.post(
        client, "/policies/new", sent | {"file-tests.cedar": hostile, "comment": "<b>why</b>", "new_name": "", "new_text": ""}
    )
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    again = browser.form(answer.text)
    assert again["file-tests.cedar"].strip() == hostile.strip()
    assert again["comment"].strip() == "<b>why</b>"
    assert "tests.cedar line 2" in answer.text
    answer = browser.post(client, "/policies/new", sent | {"comment": "more", "new_name": "bad name", "new_text": "x"})
    assert answer.status_code == 422
    assert browser.form(answer.text)["new_name"] == "bad name"
    assert browser.form(answer.text)["new_text"].strip() == "x"


@pytest.mark.both_databases
def test_a_version_goes_its_whole_way_on_the_pages(adopted: dict[str, str], agent: str, people: People, client: FlaskClient) -> None:
    for _ in range(3):
        work.propose(agent)
    work.propose(agent, amount_minor=300)
    browser.sign_in(client, "bo@example.com")
    sent = browser.form(client.get("/policies/new").text)
    answer = browser.post(client, "/policies/new", sent | {"file-tests.cedar": strict(adopted)["tests.cedar"], "comment": "less at once"})
    assert answer.status_code == 303, answer.text
    address = answer.location
    made = address.rpartition("/")[2]
    page = client.get(address).text
    assert "Payments above 10,000.00 are never made here." in page
    assert "&gt; 500" in page
    assert "somebody else has to publish it" in page
    assert "Nobody else here can" not in page
    with transaction():
        db.session.get_one(User, people.ids["dee"]).active = False
    assert "Nobody else here can" in client.get(address).text
    with transaction():
        db.session.get_one(User, people.ids["dee"]).active = True
    assert browser.post(client, f"{address}/replay", {"days": "30"}).status_code == 303
    history.run(made)
    page = client.get(address).text
    assert "€30.00" in page
    assert "is refused" in page
    assert browser.post(client, f"{address}/publish", {"note": ""}).status_code == 409
    other = client.application.test_client()
    browser.sign_in(other, "dee@example.com")
    assert "Publish version 2" in other.get(address).text
    assert browser.post(other, f"{address}/publish", {"note": "good"}).status_code == 303
    listed = other.get("/policies").text
    assert "in force" in listed
    assert "less at once" in listed
    assert browser.post(other, f"/policies/{library.listed()[-1].id}/roll-back", {"comment": "too strict"}).status_code == 303
    newest = library.listed()[0]
    assert browser.post(other, f"/policies/{newest.id}/discard", {}).status_code == 303
    assert db.session.scalars(select(PolicyVersion.state).order_by(PolicyVersion.number)).all() == ["published", "published", "discarded"]


@pytest.mark.both_databases
def test_the_first_version_says_each_rule_once_in_the_order_of_its_file(
    adopted: dict[str, str], people: People, client: FlaskClient
) -> None:
    browser.sign_in(client, "bo@example.com")
    first = library.listed()[0]
    sentences = [str(text.shown(sentence)) for sentence in policy.current().sentences.values()]
    page = client.get(f"/policies/{first.id}").text
    assert [page.count(f"<li>{sentence}</li>") for sentence in sentences] == [1] * len(sentences)
    places = [page.index(f"<li>{sentence}</li>") for sentence in sentences]
    assert places == sorted(places)
    assert "What changes against" not in page


def test_an_author_is_told_that_the_drafts_own_tests_fail(adopted: dict[str, str], people: People, client: FlaskClient) -> None:
    case = '[[case]]\nname = "Everything is allowed"\ntool = "pay_key"\neffect = "write"\nexpect = "allowed"\n'
    made = draft(people, adopted | {"tests.toml": case})
    browser.sign_in(client, "bo@example.com")
    page = client.get(f"/policies/{made}").text
    assert "Its own tests do not all pass, so it cannot be published." in page
    assert "somebody else has to publish it" in page
    assert "Replay this version over recorded verdicts first" not in page, "a replay would not help"


@pytest.mark.parametrize(("who", "status"), [("ana", 403), ("cy", 200), ("bo", 200), ("dee", 200)])
def test_who_may_look(adopted: dict[str, str], people: People, client: FlaskClient, who: str, status: int) -> None:
    browser.sign_in(client, f"{who}@example.com")
    made = library.listed()[0].id
    assert client.get("/policies").status_code == status
    assert client.get(f"/policies/{made}").status_code == status
    assert client.get("/policies/new").status_code == (200 if who in ("bo", "dee") else 403)
    for act in ("replay", "publish", "discard", "roll-back"):
        if who in ("ana", "cy"):
            assert browser.post(client, f"/policies/{made}/{act}", {}).status_code == 403
    assert client.get("/policies/polv_none").status_code == (403 if who == "ana" else 404)


def test_the_doctor_says_what_is_in_force_and_when_it_cannot_be_read(
    adopted: dict[str, str], people: People, environ: dict[str, str]
) -> None:
    def look() -> doctor.Check:
        library._loaded = None  # as in a process of its own
        return next(check for check in doctor.examine(environ) if check.name == "policies in force")

    assert (look().ok, look().said) == (True, "version 1, from the folder")
    with transaction():
        row = db.session.get_one(PolicyVersion, library.listed()[0].id)
        row.files = strict(adopted)
    assert not look().ok
    assert "not what was published" in look().said
