"""The processes: a family that leaves nobody behind, the clock, the checker, the doctor, and one sentence for what is wrong."""

from __future__ import annotations

import ast
import contextvars
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from flask import Flask
from sqlalchemy import text

from copilot import cli, config, doorbell, jobs
from copilot.db import db, transaction
from copilot.errors import NotAuthenticated, SetupError
from copilot.models import Heartbeat
from copilot.people import principals, tokens
from copilot.processes import checker, clock, console, doctor, family, migrate, output, ready, sample, server, start, supervisor
from copilot.processes.checker import Effect, RunFact
from copilot.processes.family import Child, Family
from copilot.processes.stopping import Stop
from tests.support import children
from tests.support import people as people_

COMMAND = [str(Path(sys.executable).parent / "copilot")]


def wait(ready: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def descendants(pid: int) -> list[int]:
    try:
        found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it ended meanwhile
        return []
    return [*found, *(below for child in found for below in descendants(child))]


# A family of children


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def kin(lines: list[tuple[str, str]]) -> Iterator[Family]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)}
    made = Family(lambda name, line: lines.append((name, line)))
    yield made
    made.stop()
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def python(code: str) -> Callable[[int], list[str]]:
    return lambda _: [sys.executable, "-S", "-c", code]


def test_a_child_that_crashes_is_started_again(kin: Family) -> None:
    child = kin.start(Child("sleeper", python("import time; time.sleep(60)")))
    assert child.process is not None
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    assert kin.until(lambda: child.alive and child.process is not None and child.process.pid != first, seconds=30)


def test_a_child_that_keeps_crashing_waits_longer_each_time(kin: Family) -> None:
    child = kin.start(Child("crasher", python("raise SystemExit(3)")))
    kin.until(lambda: child.failures >= 4, seconds=30)
    assert child.again_at is not None
    assert child.again_at - time.monotonic() > 1


def test_what_a_child_says_is_passed_on_behind_its_name(kin: Family, lines: list[tuple[str, str]]) -> None:
    child = Child("speaker", python("import sys; print('out'); print('err', file=sys.stderr)"), once=True)
    kin.start(child)
    kin.until(lambda: not child.alive, seconds=30)
    kin.drain()
    assert sorted(lines) == [("speaker", "err"), ("speaker", "out")]


def test_a_task_gives_back_its_output_and_exit_code(kin: Family, lines: list[tuple[str, str]]) -> None:
    assert kin.task(Child("task", python("print('a'); print('b'); raise SystemExit(4)")), seconds=30) == (4, "a\nb")
    assert lines == []


def test_a_task_that_takes_too_long_is_ended(kin: Family) -> None:
    task = Child("task", python("import time; time.sleep(60)"))
    with pytest.raises(SetupError, match="did not finish within 0 seconds"):
        kin.task(task, seconds=0.3)
    assert not task.alive


def test_an_announced_port_is_kept_for_the_next_start(kin: Family) -> None:
    code = "import json,sys,time; print(json.dumps({'port': int(sys.argv[1]) or 4711}), flush=True); time.sleep(60)"
    child = Child("shop", lambda port: [sys.executable, "-S", "-c", code, str(port)], announces=True)
    assert kin.announced(child, seconds=30) == 4711
    assert child.command(child.port)[-1] == "4711"


def test_whoever_ignores_the_request_to_end_is_killed_after_its_grace(kin: Family) -> None:
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    child = kin.start(Child("deaf", python(code), grace=0.3))
    kin.until(lambda: child.last == "deaf", seconds=30)
    began = time.monotonic()
    kin.stop()
    assert not child.alive
    assert time.monotonic() - began < 5


def test_later_ranks_end_first(kin: Family, lines: list[tuple[str, str]]) -> None:
    code = (
        "import signal,sys,time\ndef bye(*_): print('bye', flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, bye); print('up', flush=True); time.sleep(60)"
    )
    early, late = (kin.start(Child(name, python(code), order=order)) for name, order in (("early", 0), ("late", 1)))
    kin.until(lambda: early.last == late.last == "up", seconds=30)
    kin.stop()
    assert [name for name, line in lines if line == "bye"] == ["late", "early"]


def test_asked_to_stop_while_waiting_it_stops_waiting(kin: Family) -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(family.Stopped):
        kin.until(lambda: False, seconds=10)


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys,time; from copilot.processes.family import Child, Family; made = Family(print)\n"
        "child = made.start(Child('sleeper', lambda _: [sys.executable, '-S', '-c', 'import time; time.sleep(60)']))\n"
        "print(child.process.pid, flush=True)\n"
        "while True: made.turn()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert lives(child)
        parent.kill()
    wait(lambda: not lives(child))


def test_what_a_terminal_would_obey_is_shown_as_a_mark() -> None:
    assert output.printable("a\x1b[2Jb\u202ec\td") == "a\ufffd[2Jb\ufffdc\td"


# The embedded server


def test_the_embedded_server_keeps_its_queues_over_a_restart(tmp_path: Path) -> None:
    plan = server.plan(tmp_path)
    for expected in (None, b"kept"):
        with children.running(children.start(plan.command, log=tmp_path / "log")):
            wait(lambda: server.answers(plan.url))
            with redis.Redis.from_url(plan.url) as client:
                assert client.get("thing") == expected
                client.set("thing", "kept")


def test_a_long_data_path_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    plan = server.plan(deep)
    assert plan.temporary is not None
    assert len(plan.url.removeprefix("unix://")) < 100
    plan.temporary.rmdir()


# Starting and what may be in the way


def copilot(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run([*COMMAND, *words], env=given, capture_output=True, text=True, timeout=60, check=False)


def up(data: Path, *words: str, port: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    given = {"COPILOT_MODEL": "none", "OPENAI_API_KEY": "none", "PATH": os.environ["PATH"], **environ}
    command = [*COMMAND, "up", "--data", str(data), "--port", str(port), *words]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with supervisor.listening("127.0.0.1", 0) as listener:
        said = up(tmp_path, port=listener.getsockname()[1])
    assert said.returncode == 1
    assert said.stderr.startswith("Error: Port ")
    assert "make run" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


def test_a_second_instance_on_the_same_data_is_one_sentence(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = up(tmp_path)
    assert said.returncode == 1
    assert "Another Copilot already runs on the data folder" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = up(tmp_path / "file" / "data")
    assert said.returncode == 1
    assert "cannot write to its data folder" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


def test_a_missing_model_is_one_sentence_and_nothing_stays_behind(tmp_path: Path) -> None:
    said = up(tmp_path, COPILOT_MODEL="")
    assert said.returncode == 1
    assert said.stderr.strip().splitlines()[-1].startswith("Error: COPILOT_MODEL is not set")
    assert not (tmp_path / "redis_url").exists()


def test_a_missing_key_is_one_sentence(tmp_path: Path) -> None:
    said = up(tmp_path, OPENAI_API_KEY="")
    assert said.stderr.strip().splitlines()[-1].startswith("Error: OPENAI_API_KEY is not set")


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(SetupError, match=f"'{host}'.* --host"), supervisor.listening(host, 0):
        raise AssertionError("nobody listens there")


@pytest.mark.parametrize("command", ["up", "web"])
def test_the_port_is_8000_unless_said(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {option.name: option for option in cli.main.commands[command].params}["port"]
    monkeypatch.delenv("PORT", raising=False)
    assert cli.main.commands[command].make_context(command, []).params["port"] == 8000
    monkeypatch.setenv("PORT", "8001")
    assert chosen.envvar == "PORT"
    assert cli.main.commands[command].make_context(command, []).params["port"] == 8001


@pytest.mark.parametrize("words", [["web"], ["worker"], ["worker", "--queue", "draft"], ["clock"]])
def test_a_part_that_cannot_work_says_so_once_and_ends(words: list[str], tmp_path: Path) -> None:
    said = copilot(*words, COPILOT_DATA_DIR=str(tmp_path))
    assert said.returncode == 1
    assert [line[:7] for line in said.stderr.splitlines()] == ["Error: "]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parts", "setting", "sentence"),
    [
        (("draft",), {"COPILOT_MODEL": ""}, "COPILOT_MODEL"),
        (("web",), {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}, "OPENAI_API_KEY"),
        (("execute",), {"COPILOT_TOOLKITS": "tests.support.nothing:here"}, "tests.support.nothing"),
        (("clock",), {"DATABASE_URL": ""}, "copilot db upgrade"),
    ],
)
def test_what_a_part_misses(
    parts: tuple[str, ...], setting: dict[str, str], sentence: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**environ, **setting}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SetupError, match=sentence):
        ready.check(*parts)


def test_a_whole_installation_is_ready(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    ready.check("web", "clock", *config.QUEUES)


# The sample company and real installations keep apart


def test_a_real_installation_refuses_the_sample_companys_database(app: Flask) -> None:
    sample.check(demo=False)
    sample.seed(tokens_too=False)
    sample.check(demo=True)
    with pytest.raises(SetupError, match="whose passwords everybody knows"):
        sample.check(demo=False)


def test_the_sample_company_refuses_a_database_with_others_in_it(people: people_.People) -> None:
    with transaction():
        secret = principals.add("helpdesk", ["tickets:write"], "dee@example.com")
    with pytest.raises(SetupError, match="not the sample company's"):
        sample.seed(tokens_too=False)
    assert principals.check("helpdesk", secret) is not None


def test_the_sample_company_begun_twice_is_the_same(app: Flask) -> None:
    first, second = sample.seed(tokens_too=True), sample.seed(tokens_too=True)
    assert principals.check("helpdesk", second.client_secret) is not None
    with pytest.raises(NotAuthenticated):
        tokens.person_from(first.tokens[0])
    assert tokens.person_from(second.tokens[0]).email == "ana@example.com"
    sample.end_tokens()
    with pytest.raises(NotAuthenticated):
        tokens.person_from(second.tokens[0])


def test_up_on_the_sample_companys_data_is_one_sentence(app: Flask, environ: dict[str, str], tmp_path: Path) -> None:
    sample.seed(tokens_too=False)
    said = up(tmp_path / "other", DATABASE_URL=environ["DATABASE_URL"], REDIS_URL=environ["REDIS_URL"])
    assert said.returncode == 1
    assert said.stderr.strip().splitlines()[-1].startswith("Error: This database belongs to the sample company")


def test_a_stranger_learns_none_of_our_secrets(kin: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_KEY", "DATABASE_URL", "OPENAI_API_KEY", "SLACK_WEBHOOK_URL"):
        monkeypatch.setenv(name, "ours")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    child = Child("guest", python(code), environ={"COPILOT_SHOP_URL": "its own"}, stranger=True)
    seen = json.loads(kin.task(child, seconds=30)[1])
    assert seen["COPILOT_SHOP_URL"] == "its own"
    assert "PATH" in seen
    assert "ours" not in seen.values()


def test_the_sample_companys_guests_are_strangers() -> None:
    assert supervisor.guest("trickle", "a", environ={}, stranger=True).stranger
    calls = [
        node
        for file in (supervisor, start)
        for node in ast.walk(ast.parse(Path(str(file.__file__)).read_text()))
        if isinstance(node, ast.Call) and "copilot.demo." in ast.unparse(node) and ast.unparse(node.func) == "Child"
    ]
    assert len(calls) == 2
    assert all("stranger=True" in ast.unparse(call) for call in calls)


def test_a_headless_run_that_did_less_than_it_was_asked_has_not_passed() -> None:
    found = {"complete": True, "lost": 0, "duplicate_effects": 0, "audit_verified": True}
    assert start.passed(found)
    for less in ({"complete": False}, {"lost": 1}, {"duplicate_effects": 1}, {"audit_verified": False}):
        assert not start.passed(found | less)


# People's tokens, and links


def test_a_persons_token_is_printed_once_and_ends_when_revoked(
    people: people_.People, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    answer = contextvars.Context().run(console.issue_token, "ana@example.com", label="laptop")
    assert tokens.person_from(answer["token"]).email == "ana@example.com"
    assert contextvars.Context().run(console.revoke_tokens, "ana@example.com") == 1
    db.session.rollback()
    with pytest.raises(NotAuthenticated):
        tokens.person_from(answer["token"])


def test_links_lead_to_where_the_running_installation_answers(environ: dict[str, str]) -> None:
    (Path(environ["COPILOT_DATA_DIR"]) / "base_url").write_text("http://127.0.0.1:9123\n")
    assert config.load(environ).base_url == "http://127.0.0.1:9123"
    assert config.load({**environ, "COPILOT_BASE_URL": "https://copilot.example"}).base_url == "https://copilot.example"


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@h:port/db", "postgresql://u:sec@ret@h/db", "postgresql://u:s@ec/ret@h/db", "mysql://u:secret@h/db"]
)
def test_a_malformed_database_address_is_not_quoted(url: str) -> None:
    with pytest.raises(SetupError, match="DATABASE_URL") as raised:
        config.load({"DATABASE_URL": url})
    assert "ret" not in str(raised.value)


def test_files_inside_the_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "copilot"
    (tmp_path / "site-packages" / "static").mkdir(parents=True)
    (package / "_files" / "static").mkdir(parents=True)
    monkeypatch.setattr(config, "_PACKAGE", package)
    assert config.files("static") == package / "_files" / "static"


def test_up_serves_and_leaves_nobody_behind_when_it_is_killed(tmp_path: Path) -> None:
    environ = {"COPILOT_MODEL": "none", "OPENAI_API_KEY": "none", "PATH": os.environ["PATH"]}
    log = tmp_path / "log"
    with children.running(
        children.start([*COMMAND, "up", "--data", str(tmp_path / "data"), "--port", "0"], log=log, environ=environ)
    ) as parent:
        wait(lambda: "Copilot is ready" in log.read_text(), seconds=60)
        assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "data" / "copilot.sqlite3").stat().st_mode & 0o777 == 0o600
        assert re.search(r"ready: (\S+)", log.read_text()).group(1) == (tmp_path / "data" / "base_url").read_text().strip()
        wait(lambda: len(descendants(parent.pid)) >= 8, seconds=30)  # the server, the web and its worker, four workers, the clock
        everybody = descendants(parent.pid)
        parent.kill()
        wait(lambda: not any(lives(pid) for pid in everybody))


def test_web_alone_serves_and_ends_without_complaint(environ: dict[str, str], tmp_path: Path) -> None:
    with supervisor.listening("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    log = tmp_path / "log"
    given = {"PATH": os.environ["PATH"], **environ}
    with children.running(children.start([*COMMAND, "web", "--port", str(port)], log=log, environ=given)) as web:
        wait(lambda: supervisor._answers(f"http://127.0.0.1:{port}/healthz"), seconds=30)
        web.terminate()
        assert web.wait(60) == 0
    assert "Traceback" not in log.read_text()


def test_the_secret_key_is_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    first = supervisor._secret_key(tmp_path)
    assert len(first) >= 32
    assert supervisor._secret_key(tmp_path) == first


# Migrations


def half(settings: config.Settings, *statements: str) -> None:
    with migrate.bare(settings).app_context(), db.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.fixture
def empty(tmp_path: Path) -> config.Settings:
    return config.load({"COPILOT_DATA_DIR": str(tmp_path)})


def test_upgrade_twice_is_upgrade_once(empty: config.Settings) -> None:
    assert migrate.upgrade(empty) == migrate.upgrade(empty)
    assert migrate.upgrade(empty).current


def test_nobody_else_may_read_the_database(empty: config.Settings) -> None:
    file = migrate.file(empty)
    assert file is not None
    file.write_bytes(b"")
    file.chmod(0o644)
    migrate.upgrade(empty)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_database_is_named(empty: config.Settings) -> None:
    file = migrate.file(empty)
    assert file is not None
    file.write_text("no database at all, but a letter of some length")
    with pytest.raises(SetupError, match=rf"{file.name} is not an SQLite database file"):
        migrate.upgrade(empty)


def test_tables_without_a_record_are_half_migrated(empty: config.Settings) -> None:
    half(empty, "CREATE TABLE users (id INTEGER)")
    with pytest.raises(SetupError, match="half-migrated: it holds the table users"):
        migrate.upgrade(empty)


def test_a_record_without_its_tables_is_half_migrated(empty: config.Settings) -> None:
    migrate.upgrade(empty)
    half(empty, "DROP TABLE holders")
    with pytest.raises(SetupError, match=r"half-migrated.* the table holders is missing"):
        migrate.upgrade(empty)


def test_another_versions_database_is_left_alone(empty: config.Settings) -> None:
    migrate.upgrade(empty)
    half(empty, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SetupError, match="another version of Copilot"):
        migrate.upgrade(empty)


# The clock


def test_a_tick_that_fails_is_logged_and_the_others_go_on(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    stop, seen = Stop(), []

    def fails() -> None:
        raise OSError("away")

    def counts() -> None:
        seen.append(1)
        if len(seen) == 3:
            stop.ask()

    clock.run(app, stop=stop, wanted=(clock.Tick("fails", 0.01, fails), clock.Tick("counts", 0.01, counts)))
    assert len(seen) == 3
    assert "clock: fails failed and will be tried again" in caplog.text


def test_the_clock_runs_all_its_ticks(app: Flask) -> None:
    for tick in clock.ticks():
        tick.do()
    assert db.session.query(Heartbeat).filter_by(kind="clock").count() == 1


def test_without_redis_the_clock_does_itself_what_nobody_would_hear(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("deliver", "roll_up"):
        monkeypatch.setattr(jobs, name, lambda name=name: done.append(name))
    by_name = {tick.name: tick for tick in clock.ticks()}
    by_name["deliver"].do()
    assert done == []
    doorbell.connect(None)
    for name in ("deliver", "roll_up"):
        {tick.name: tick for tick in clock.ticks()}[name].do()
    assert done == ["deliver", "roll_up"]


# The worker


def test_a_worker_runs_jobs_through_a_restart_of_redis_and_ends_when_told(tmp_path: Path, environ: dict[str, str]) -> None:
    from rq import Queue
    from rq.serializers import JSONSerializer

    plan = server.plan(tmp_path)
    words = [sys.executable, "-m", "copilot.processes.worker", "upkeep"]
    redis_log = tmp_path / "redis.log"
    with children.running(children.start(words, log=tmp_path / "log", environ={**os.environ, **environ, "REDIS_URL": plan.url})) as worker:
        for _ in (1, 2):
            with (
                children.running(children.start(plan.command, log=redis_log), how=signal.SIGKILL),
                redis.Redis.from_url(plan.url) as client,
            ):
                wait(lambda: server.answers(plan.url))
                queue = Queue("upkeep", connection=client, serializer=JSONSerializer)
                job = queue.enqueue("copilot.jobs.roll_up", result_ttl=60)
                wait(lambda job=job: job.get_status(refresh=True) == "finished", seconds=30)
        assert worker.poll() is None
        worker.terminate()
        assert worker.wait(60) == 0  # Redis was killed under it, and redis-py asks a dead one several times before it gives up


def test_a_job_past_its_time_ends_the_process(tmp_path: Path, environ: dict[str, str], valkey: str) -> None:
    from rq import Queue
    from rq.serializers import JSONSerializer

    words = [sys.executable, "-m", "copilot.processes.worker", "upkeep"]
    with redis.Redis.from_url(valkey) as client, children.running(
        children.start(words, log=tmp_path / "log", environ={**os.environ, **environ})
    ) as worker:  # fmt: skip
        Queue("upkeep", connection=client, serializer=JSONSerializer).enqueue("time.sleep", 60, job_timeout=1)
        assert worker.wait(30) != 0
    assert "Timeout" in (tmp_path / "log").read_text()


# The checker: plant one of each and see it counted

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def effect(key: str, *, tool: str = "refund", business: str | None = None, after: float = 0) -> Effect:
    return Effect(key, tool, business, at=AT + timedelta(seconds=after))


def find(
    effects: tuple[Effect, ...] = (),
    *,
    runs: tuple[RunFact, ...] = (),
    accepted: int = 0,
    windows: dict[str, int] | None = None,
    **proposals: str,
) -> tuple[int, int]:
    found = checker.find(effects, tickets=["t1"], runs=runs, proposals=proposals, windows=windows or {}, accepted=accepted)
    return len(found.doubled), len(found.lost)


DONE = (RunFact("t1", "DONE", None),)


def test_when_all_agree_nothing_is_found() -> None:
    assert find((effect("p1"), effect("p2")), runs=DONE, p1="SUCCEEDED", p2="OUTCOME_UNKNOWN", p3="REJECTED", accepted=1) == (0, 0)


@pytest.mark.parametrize("state", ["DONE", "FAILED", "NEEDS_HUMAN"])
def test_an_ended_run_is_not_lost(state: str) -> None:
    assert find(runs=(RunFact("t1", state, None),)) == (0, 0)


@pytest.mark.parametrize(
    ("run", "lost"),
    [
        (RunFact("t1", "PARKED", "p1"), 0),
        (RunFact("t1", "PARKED", "p2"), 1),
        (RunFact("t1", "PARKED", None), 1),
        (RunFact("t1", "QUEUED", None), 1),
        (RunFact("t1", "DRAFTING", None), 1),
        (RunFact("other", "DONE", None), 1),
    ],
)
def test_a_ticket_nobody_sees_is_lost(run: RunFact, lost: int) -> None:
    assert find(runs=(run,), p1="PENDING", p2="SUCCEEDED") == (0, lost)


def test_the_latest_run_of_a_ticket_counts() -> None:
    assert find(runs=(*DONE, RunFact("t1", "QUEUED", None))) == (0, 1)


@pytest.mark.parametrize("state", ["APPROVED", "EXECUTING"])
def test_an_approval_that_never_settled_is_lost(state: str) -> None:
    assert find(runs=DONE, p1=state) == (0, 1)


@pytest.mark.parametrize("state", ["PENDING", "REJECTED", "FAILED", "WITHDRAWN"])
def test_an_effect_the_database_denies_is_lost(state: str) -> None:
    assert find((effect("p1"),), runs=DONE, p1=state) == (0, 1)


def test_an_effect_of_nobodys_is_lost() -> None:
    assert find((effect("p9"),), runs=DONE) == (0, 1)


def test_an_acknowledged_ticket_that_is_gone_is_lost() -> None:
    assert find(runs=DONE, accepted=3) == (0, 2)


def test_a_second_effect_of_one_proposal_is_a_duplicate() -> None:
    assert find((effect("p1"), effect("p1"), effect("p1")), runs=DONE, p1="SUCCEEDED") == (2, 0)


def test_a_second_effect_of_one_intent_is_a_duplicate_within_its_window() -> None:
    twice = (effect("p1", business="refund:1"), effect("p2", business="refund:1", after=100))
    assert find(twice, runs=DONE, p1="SUCCEEDED", p2="SUCCEEDED") == (1, 0)
    assert find(twice, runs=DONE, p1="SUCCEEDED", p2="SUCCEEDED", windows={"refund": 100}) == (0, 0)


def test_a_doubled_row_is_counted_once() -> None:
    assert find((effect("p1", business="a"), effect("p1", business="a")), runs=DONE, p1="SUCCEEDED") == (1, 0)


# The doctor


def test_the_doctor_names_what_is_wrong_and_how_to_mend_it(environ: dict[str, str], app: Flask) -> None:
    checks = {check.name: check for check in doctor.examine(environ)}
    assert checks["database"].ok
    assert checks["redis"].ok
    assert not checks["model"].ok  # nothing listens there
    assert not checks["processes"].ok
    assert "copilot worker" in checks["processes"].mend


def test_the_doctor_is_content_with_beating_processes(environ: dict[str, str], app: Flask) -> None:
    with transaction():
        db.session.add_all(Heartbeat(name=f"{kind}-1", kind=kind, at=datetime.now(UTC)) for kind in (*config.QUEUES, "clock"))
    assert {check.name: check.ok for check in doctor.examine(environ)}["processes"]


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("DATABASE_URL", "mysql://x", "settings"),
        ("DATABASE_URL", "postgresql://127.0.0.1:9/none", "database"),
        ("REDIS_URL", "redis://127.0.0.1:9/0", "redis"),
        ("COPILOT_POLICY_DIR", "/nowhere/at/all", "policies"),
        ("COPILOT_TOOLKITS", "tests.support.nothing:here", "tools"),
    ],
)
def test_the_doctor_finds(name: str, value: str, check: str, environ: dict[str, str]) -> None:
    found = {each.name: each for each in doctor.examine({**environ, name: value})}
    assert not found[check].ok
    assert found[check].said


def test_the_doctor_sees_what_a_running_supervisor_told_its_children(environ: dict[str, str], tmp_path: Path) -> None:
    del environ["COPILOT_TOOLKITS"]
    assert not {check.name: check.ok for check in doctor.examine(environ)}["tools"]
    (tmp_path / "data" / supervisor.HANDED).write_text('{"COPILOT_TOOLKITS": "tests.support.tools:counting"}')
    assert {check.name: check.ok for check in doctor.examine(environ)}["tools"]


def test_the_doctor_changes_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    found = {check.name: check for check in doctor.examine({**environ, "DATABASE_URL": "", "COPILOT_DATA_DIR": str(folder)})}
    assert "copilot db upgrade" in found["database"].mend
    assert "database writes" not in found
    assert not folder.exists()


def test_the_doctor_sends_an_unmigrated_database_to_be_migrated(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty.sqlite3").write_bytes(b"")
    found = {check.name: check for check in doctor.examine({**environ, "DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"})}
    assert "copilot db upgrade" in found["database"].mend
    assert "database writes" not in found


def test_the_doctor_prints_no_secret(environ: dict[str, str]) -> None:
    said = doctor.told(doctor.examine({**environ, "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/very-secret-path"}))
    assert environ["SECRET_KEY"] not in said
    assert "very-secret-path" not in said
