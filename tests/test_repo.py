"""Tests that read the repository: promises about the code as a whole, which no single test of behaviour would see broken."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from flask import Flask
from werkzeug.routing import Rule

from copilot import cli, config, doorbell, jobs
from copilot.processes import migrate, supervisor

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "copilot").rglob("*.py"))
OURS = [path for path in SOURCES if "demo" not in path.parts]  # the sample company is a program of its own
READ = [
    *SOURCES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "bench").rglob("*.py")),
    *sorted((ROOT / "migrations").glob("*.py")),
]

# What a stranger may ask for, and nothing else.
PUBLIC = {
    ("GET", "/static/<path:filename>"),
    ("GET", "/bootstrap/static/<path:filename>"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/link/<secret>"),
    ("POST", "/link/<secret>"),
    ("POST", "/api/v1/token"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1/jwks.json"),
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", OURS, ids=name)
def test_only_db_commits(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute) and node.attr == "commit"]
    assert not calls or path.name == "db.py", f"line {calls[0].lineno}: only copilot/db.py commits, at the end of transaction()"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_and_functions_are_short_enough_to_read(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > 60] == []


@pytest.mark.parametrize("path", READ, ids=name)
def test_every_lint_ignore_has_its_reason(path: Path) -> None:
    bare = re.compile(
        r"# noqa(: [A-Z0-9, ]+)?$" if path.parts[-2] == "tests" else r"# noqa(: [A-Z0-9, ]+)?$|# type: ignore(\[[\w, -]+\])?$"
    )
    assert [number for number, line in enumerate(path.read_text().splitlines(), 1) if bare.search(line.rstrip())] == []


def test_every_ignored_rule_in_the_configuration_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    entries = [line for line in lines if re.match(r'\s+"[A-Z]+\d+",', line)]
    assert entries
    assert [line for line in entries if "  # " not in line] == []


def test_there_is_one_migration_head() -> None:
    assert len(ScriptDirectory(str(config.files("migrations"))).get_heads()) == 1


def test_procfile_queues_are_the_declared_queues() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    listened = re.findall(r"--queue (\w+)", "\n".join(lines.values()))
    assert sorted(listened) == sorted(config.QUEUES) == sorted(supervisor.WORKERS)
    assert set(doorbell.QUEUE_OF.values()) == set(config.QUEUES)
    assert {"release", "web", "clock"} <= set(lines)


def test_every_job_that_is_enqueued_exists() -> None:
    assert [job for job in doorbell.QUEUE_OF if not callable(getattr(jobs, job, None))] == []


def test_every_setting_is_in_the_readme() -> None:
    settings = set(re.findall(r'"([A-Z][A-Z]+_[A-Z_]+)"', (ROOT / "copilot" / "config.py").read_text())) | {"PORT", "CHROMIUM_PATH"}
    readme = (ROOT / "README.md").read_text()
    assert {"DATABASE_URL", "SECRET_KEY", "COPILOT_MODEL"} <= settings
    assert sorted(setting for setting in settings if f"`{setting}`" not in readme) == []


def test_both_commands_are_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make run" in readme
    assert "make test" in readme


def test_make_has_the_promised_targets() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"run", "test", "check", "prove", "screenshots", "help"} <= targets


def test_every_dependency_is_pinned_for_make() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    pinned = {_normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    missing = {_normal(re.split(r"[\[<>=]", each)[0]) for each in wanted} - pinned - {"copilot"}
    assert missing == set()


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _commands(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for word, child in command.commands.items():
            yield from _commands(child, *words, word)


@pytest.mark.parametrize(("words", "command"), [pytest.param(w, c, id=" ".join(w) or "copilot") for w, c in _commands(cli.main)])
def test_every_command_has_help(words: tuple[str, ...], command: click.Command) -> None:
    shown = CliRunner().invoke(cli.main, [*words, "--help"])
    assert shown.exit_code == 0
    assert command.help
    assert command.help.splitlines()[0] in " ".join(shown.output.split())


def _requests(app: Flask) -> Iterator[tuple[str, Rule]]:
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, rule


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:int:)?[^>]+>", "1", rule.rule)


@pytest.mark.settings(COPILOT_DEMO="")
def test_every_route_but_the_public_ones_refuses_strangers(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False  # else a missing token would hide a missing check
    client = app.test_client()
    let_in = []
    for method, rule in _requests(app):
        if (method, rule.rule) in PUBLIC:
            continue
        answer = client.open(_path(rule), method=method, json={} if rule.rule.startswith("/api/") else None)
        sent_to_sign_in = answer.status_code in (302, 303) and "/sign-in" in answer.headers.get("Location", "")
        if answer.status_code not in (401, 403) and not sent_to_sign_in:
            let_in.append(f"{method} {rule.rule}: {answer.status_code}")
    assert let_in == []


def test_the_public_routes_exist(app: Flask) -> None:
    assert PUBLIC - {(method, rule.rule) for method, rule in _requests(app)} == set()


def test_the_migrations_and_the_models_know_the_same_tables(app: Flask) -> None:
    assert migrate.schema().current
