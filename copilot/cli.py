"""The `copilot` command: reads what was typed, calls one function, prints what came back."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from dotenv import load_dotenv

from copilot import config
from copilot.errors import BadInput, CopilotError


def _console() -> Any:
    """Imported, like whatever else only some commands need, inside a function: `copilot --help` and the supervisor stay quick."""
    from copilot.processes import console

    return console


class _Commands(click.Group):
    """Turns every error we raise on purpose into its one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CopilotError as error:
            problems = error.problems.items() if isinstance(error, BadInput) else ()
            raise click.ClickException("\n".join([str(error), *(f"  {name}: {why}" for name, why in problems)])) from error


def _print(answer: Any, *, as_json: bool, text: str, ok: bool = True) -> None:
    click.echo(json.dumps(answer, default=str) if as_json else text)
    if not ok:
        raise SystemExit(1)


def _off(on: bool) -> str:
    return "" if on else "disabled"


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for a script.")
_data = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder (default: COPILOT_DATA_DIR or var).")
_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_port = click.option(
    "--port", envvar="PORT", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any free one. [default: 8000]"
)
_workers = click.option("--workers", type=click.IntRange(1, 64), help="Workers on the execute queue and on the draft queue, each.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="copilot")
def main() -> None:
    """Agents propose, people decide, each approved action runs at most once, and the record proves what happened."""
    load_dotenv(Path.cwd() / ".env")


@main.command()
@click.option("--port", envvar="PORT", type=click.IntRange(0, 65535), help="Port to listen on. [default: 8000; headless: any free one]")
@_data
@_workers
@click.option("--tickets", type=click.IntRange(1, 100_000), help="Sample tickets to send. [default: 60; headless: 20]")
@click.option("--headless", is_flag=True, help="Run the main job with a scripted operator, check it, and end.")
@click.option("--seed", default=1, show_default=True, help="Seed of the sample tickets (headless).")
@click.option("--kill-every", type=click.FloatRange(min=0.5), metavar="SECONDS", help="Kill a random worker with -9 this often.")
@_json
def demo(data: Path | None, port: int | None, tickets: int | None, headless: bool, seed: int, as_json: bool, **chosen: Any) -> None:
    """Start the whole product with a sample company and an offline model."""
    from copilot.processes import start, supervisor

    port = port if port is not None else 0 if headless else 8000
    offline = headless or not os.environ.get("COPILOT_MODEL")
    with start.data_dir(data, headless=headless) as folder:
        plan = supervisor.Plan(folder, port=port, demo=True, offline=offline, **chosen)
        if not headless:
            start.stoppable(lambda: start.demo(plan, tickets=tickets or 60))
            return
        found = start.stoppable(lambda: start.headless(plan, tickets=tickets or 20, seed=seed))
    _print(found, as_json=as_json, text="\n".join(f"{name:<26} {value}" for name, value in found.items()), ok=start.passed(found))


@main.command()
@_host
@_port
@_data
@_workers
def up(host: str, port: int, data: Path | None, workers: int | None) -> None:
    """Start everything on this machine, without the sample company. Makes and keeps SECRET_KEY."""
    from copilot.processes import start, supervisor

    with start.data_dir(data, headless=False) as folder:
        start.stoppable(lambda: start.up(supervisor.Plan(folder, host=host, port=port, workers=workers)))


@main.command()
@_host
@_port
def web(host: str, port: int) -> None:
    """Start the web server alone."""
    from copilot.processes import web as process

    process.serve(host=host, port=port)


@main.command()
@click.option("--queue", "queues", type=click.Choice(config.QUEUES), multiple=True, help="Only this queue; may be given again.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="Worker processes for each queue.")
def worker(queues: tuple[str, ...], processes: int) -> None:
    """Start workers; each process listens on one queue."""
    from copilot.processes import start
    from copilot.processes import worker as process

    wanted = queues or config.QUEUES
    if len(wanted) * processes == 1:
        process.main([wanted[0]])
    else:
        start.workers(dict.fromkeys(wanted, processes))


@main.command()
def clock() -> None:
    """Start the clock: sweeping, sequencing the log, delivering, measuring."""
    from copilot.processes import clock as process

    process.main()


@main.command()
@_json
def doctor(as_json: bool) -> None:
    """Say what is wrong with this installation and how to mend it."""
    from copilot.processes import doctor as process

    checks = process.examine()
    _print([asdict(check) for check in checks], as_json=as_json, text=process.told(checks), ok=all(check.ok for check in checks))


@main.command()
@click.option("--proposals", default=200, show_default=True, type=click.IntRange(10, 1500), help="How many approved actions to time.")
@_json
def bench(proposals: int, as_json: bool) -> None:
    """Time approval to effect beside RQ's own enqueue to start, on this machine."""
    from copilot.processes import bench as process

    figures = process.measure(proposals)
    _print(figures, as_json=as_json, text="\n".join(f"{name:<34} {value}" for name, value in figures.items()))


@main.group()
def db() -> None:
    """The database."""


@db.command()
@_json
def upgrade(as_json: bool) -> None:
    """Bring the database to the tables this version needs."""
    from copilot.processes import migrate

    now = migrate.upgrade(config.load())
    _print(asdict(now), as_json=as_json, text=f"The database is at revision {now.revision}.")


@main.group()
def users() -> None:
    """People who sign in."""


_LINK = "Give this link to {email}; it works once, within 72 hours:\n{link}"
_SECRET = "The secret of {name}, shown only now:\n{secret}"  # noqa: S105 -- a sentence


@users.command("add")
@click.argument("email")
@click.option("--role", required=True, type=click.Choice(["operator", "manager", "auditor", "admin"]))
@click.option("--name", default="", help="How the person is called.")
@_json
def users_add(email: str, role: str, name: str, as_json: bool) -> None:
    """Add a person and print the one-time link by which they set their password."""
    answer = _console().add_user(email, name=name, role=role)
    _print(answer, as_json=as_json, text=_LINK.format(**answer))


@users.command("list")
@_json
def users_list(as_json: bool) -> None:
    """List everybody."""
    rows = _console().list_users()
    _print(rows, as_json=as_json, text="\n".join(f"{r['email']:<40} {r['role']:<9} {_off(r['active'])}" for r in rows))


@users.command("disable")
@click.argument("email")
def users_disable(email: str) -> None:
    """Shut a person out at once; sessions and tokens end."""
    _console().disable_user(email)
    click.echo(f"{email} can no longer sign in.")


@users.command("reset")
@click.argument("email")
@_json
def users_reset(email: str, as_json: bool) -> None:
    """End a person's password and sessions and print a new one-time link."""
    answer = _console().reset_user(email)
    _print(answer, as_json=as_json, text=_LINK.format(**answer))


@main.group()
def agents() -> None:
    """Agents and other programs, each with its own scopes and an owner."""


@agents.command("add")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, metavar="TOOL:EFFECT", help="May be given again; *:read means every read.")
@click.option("--owner", required=True, metavar="EMAIL", help="Who answers for it; never approves what it proposes.")
@click.option("--drafts", is_flag=True, help="Give it every new ticket to draft for.")
@_json
def agents_add(name: str, scopes: tuple[str, ...], owner: str, drafts: bool, as_json: bool) -> None:
    """Add an agent and print its secret, once."""
    answer = _console().add_agent(name, scopes=scopes, owner=owner, drafts=drafts)
    _print(answer, as_json=as_json, text=_SECRET.format(**answer))


@agents.command("list")
@_json
def agents_list(as_json: bool) -> None:
    """List the agents."""
    rows = _console().list_agents()
    lines = (f"{r['name']:<24} {r['owner']:<30} {_off(r['enabled']):<9}{' '.join(r['scopes'])}" for r in rows)
    _print(rows, as_json=as_json, text="\n".join(lines))


@agents.command("rotate")
@click.argument("name")
@_json
def agents_rotate(name: str, as_json: bool) -> None:
    """Give an agent a new secret and print it, once; the old one ends."""
    answer = _console().rotate_agent(name)
    _print(answer, as_json=as_json, text=_SECRET.format(**answer))


@agents.command("disable")
@click.argument("name")
def agents_disable(name: str) -> None:
    """Shut an agent out at once."""
    _console().disable_agent(name)
    click.echo(f"{name} can no longer do anything.")


@main.group()
def tickets() -> None:
    """Tickets."""


@tickets.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", default="import", show_default=True, help="Where they come from, as the record shall show it.")
@_json
def tickets_import(file: Path, source: str, as_json: bool) -> None:
    """Import tickets from a .csv or .jsonl file; running it again takes only what is missing."""
    with click.progressbar(length=1000, label=file.name, hidden=as_json) as bar:
        moved = lambda done, total: bar.update(round(1000 * done / max(total, 1)) - bar.pos)  # noqa: E731 -- a function of one line would need six
        found = _console().import_tickets(file, source=source, progress=moved)
    bad = "".join(f"\n  line {line}: {why}" for line, why in found["bad"])
    counts = f"{found['read']} rows: {found['imported']} imported, {found['already']} here already, {len(found['bad'])} not taken{bad}"
    _print(found, as_json=as_json, text=counts, ok=not found["bad"])


@main.group()
def audit() -> None:
    """The audit log."""


@audit.command("export")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@_json
def audit_export(directory: Path, as_json: bool) -> None:
    """Write the log as a bundle that anybody can verify."""
    answer = _console().export_log(directory)
    _print(answer, as_json=as_json, text="{size} events, root {root}, in {directory}".format(**answer))


@audit.command("verify")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--witness", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An earlier checkpoint the log must contain.")
@_json
def audit_verify(directory: Path, witness: Path | None, as_json: bool) -> None:
    """Verify a bundle."""
    from copilot.audit import verify

    report = verify.bundle(directory, witness=witness)
    problems = "".join(f"\n  {problem}" for problem in report.problems)
    verdict = f"{'whole' if report.ok else 'NOT WHOLE'}: {report.size} events, root {report.root}, {report.signed}{problems}"
    _print(asdict(report), as_json=as_json, text=verdict, ok=report.ok)
