"""The `copilot` command: reads what was typed, calls one function, prints what came back."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from dotenv import load_dotenv

from copilot import config
from copilot.errors import BadInput, CopilotError
from copilot.processes import mcpserver, policies, staff, switching
from copilot.processes.answers import json_option, show


def _console() -> Any:
    """Imported, like whatever else only some commands need, inside a function: `copilot --help` and the supervisor stay quick."""
    from copilot.processes import console

    return console


class _Commands(click.Group):
    """Turns every error we raise on purpose into its one sentence and exit code 1. What a command writes is its owner's alone."""

    def invoke(self, ctx: click.Context) -> Any:
        mask = os.umask(0o077)
        try:
            return super().invoke(ctx)
        except CopilotError as error:
            problems = error.problems.items() if isinstance(error, BadInput) else ()
            raise click.ClickException("\n".join([str(error), *(f"  {name}: {why}" for name, why in problems)])) from error
        finally:
            os.umask(mask)


_data = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder. [default: COPILOT_DATA_DIR or var]")
_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_port = click.option(
    "--port", envvar="PORT", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any free one."
)
_workers = click.option("--workers", type=click.IntRange(1, 64), help="Workers on the execute queue and on the draft queue, each.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="copilot")
def main() -> None:
    """Agents propose, people decide, each approved action runs at most once, and the record proves what happened."""
    load_dotenv(Path.cwd() / ".env")


@main.command()
@click.option("--port", envvar="PORT", type=click.IntRange(0, 65535), help="Port to listen on. [default: 8000; headless: any free one]")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data folder. [default: COPILOT_DATA_DIR or var/demo; headless: one that is removed]",
)
@_workers
@click.option("--tickets", type=click.IntRange(1, 100_000), help="Sample tickets to send. [default: 60; headless: 20]")
@click.option("--headless", is_flag=True, help="Run the main job with a scripted operator, check it, and end.")
@click.option("--seed", default=1, show_default=True, help="Seed of the sample tickets (headless).")
@click.option("--kill-every", type=click.FloatRange(min=0.5), metavar="SECONDS", help="Kill a random worker with -9 this often.")
@json_option
def demo(data: Path | None, port: int | None, tickets: int | None, headless: bool, seed: int, as_json: bool, **chosen: Any) -> None:
    """Start the whole product with a sample company and an offline model."""
    from copilot.processes import start, supervisor

    port = port if port is not None else 0 if headless else 8000
    offline = headless or not os.environ.get("COPILOT_MODEL")
    with start.data_dir(data, usual="var/demo", headless=headless) as folder:
        plan = supervisor.Plan(folder, port=port, demo=True, offline=offline, **chosen)
        if not headless:
            start.stoppable(lambda: start.demo(plan, tickets=tickets or 60))
            return
        found = start.stoppable(lambda: start.headless(plan, tickets=tickets or 20, seed=seed))
    show(found, as_json=as_json, text="\n".join(f"{name:<26} {value}" for name, value in found.items()), ok=start.passed(found))


@main.command()
@_host
@_port
@_data
@_workers
def up(host: str, port: int, data: Path | None, workers: int | None) -> None:
    """Start everything on this machine, without the sample company. Makes and keeps SECRET_KEY."""
    from copilot.processes import start, supervisor

    with start.data_dir(data, usual="var") as folder:
        start.stoppable(lambda: start.up(supervisor.Plan(folder, host=host, port=port, workers=workers)))


@main.command()
@_host
@_port
def web(host: str, port: int) -> None:
    """Start the web server alone."""
    from copilot.processes import ready, supervisor
    from copilot.processes import web as process

    ready.check(ready.WEB)
    with supervisor.listening(host, port) as listener:
        process.serve(listener.detach())  # gunicorn closes it


@main.command()
@click.option("--queue", "queues", type=click.Choice(config.QUEUES), multiple=True, help="Only this queue; may be given again.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="Worker processes for each queue.")
def worker(queues: tuple[str, ...], processes: int) -> None:
    """Start workers; each process listens on one queue."""
    from copilot.processes import ready, start
    from copilot.processes import worker as process

    wanted = dict.fromkeys(queues or config.QUEUES, processes)
    if sum(wanted.values()) == 1:
        ready.check(*wanted)
        process.main([*wanted])
    else:
        start.stoppable(lambda: start.workers(wanted))


@main.command()
def clock() -> None:
    """Start the clock: sweeping, sequencing the log, delivering, measuring."""
    from copilot.processes import clock as process
    from copilot.processes import ready

    ready.check(ready.CLOCK)
    process.main()


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what is wrong with this installation and how to mend it."""
    from copilot.processes import doctor as process

    checks = process.examine()
    show([asdict(check) for check in checks], as_json=as_json, text=process.told(checks), ok=all(check.ok for check in checks))


@main.command()
@click.option("--proposals", default=200, show_default=True, type=click.IntRange(10, 1500), help="How many approved actions to time.")
@json_option
def bench(proposals: int, as_json: bool) -> None:
    """Time approval to effect beside RQ's own enqueue to start, on this machine."""
    from copilot.processes import bench as process

    figures = process.measure(proposals)
    show(figures, as_json=as_json, text="\n".join(f"{name:<34} {value}" for name, value in figures.items()))


main.add_command(staff.users)
main.add_command(staff.agents)
main.add_command(policies.policy)
main.add_command(switching.switch)
main.add_command(mcpserver.command)


@main.group()
def db() -> None:
    """The database."""


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the database to the tables this version needs."""
    from copilot.processes import migrate

    now = migrate.upgrade(config.load())
    show(asdict(now), as_json=as_json, text=f"The database is at revision {now.revision}.")


@main.group()
def tickets() -> None:
    """Tickets."""


@tickets.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", default="import", show_default=True, help="Where they come from, as the record shall show it.")
@json_option
def tickets_import(file: Path, source: str, as_json: bool) -> None:
    """Import tickets from a .csv or .jsonl file; running it again takes only what is missing."""
    with click.progressbar(length=1000, label=file.name, hidden=as_json) as bar:
        moved = lambda done, total: bar.update(round(1000 * done / max(total, 1)) - bar.pos)  # noqa: E731 -- a function of one line would need six
        found = _console().import_tickets(file, source=source, progress=moved)
    bad = "".join(f"\n  line {line}: {why}" for line, why in found["bad"])
    counts = f"{found['read']} rows: {found['imported']} imported, {found['already']} here already, {len(found['bad'])} not taken{bad}"
    show(found, as_json=as_json, text=counts, ok=not found["bad"])


@main.group()
def audit() -> None:
    """The audit log."""


@audit.command("export")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@json_option
def audit_export(directory: Path, as_json: bool) -> None:
    """Write the log as a bundle that anybody can verify."""
    answer = _console().export_log(directory)
    show(answer, as_json=as_json, text="{size} events, root {root}, in {directory}".format(**answer))


@audit.command("verify")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--witness", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An earlier checkpoint the log must contain.")
@json_option
def audit_verify(directory: Path, witness: Path | None, as_json: bool) -> None:
    """Verify a bundle."""
    from copilot.audit import verify

    report = verify.bundle(directory, witness=witness)
    problems = "".join(f"\n  {problem}" for problem in report.problems)
    verdict = f"{'whole' if report.ok else 'NOT WHOLE'}: {report.size} events, root {report.root}, {report.signed}{problems}"
    show(asdict(report), as_json=as_json, text=verdict, ok=report.ok)
