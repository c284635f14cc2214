"""Starts a whole installation on this machine, keeps it alive, and ends it cleanly.

Order: the embedded server (unless REDIS_URL is given), the sample company's shop and model (in a demo), migrations once, then
web, workers, clock. Whatever is started dies with this process, even when it is killed with -9.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import secrets
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from urllib.error import URLError

from copilot import config
from copilot.errors import SetupError
from copilot.gateway import tooltoken
from copilot.processes import server
from copilot.processes.family import Child, Family, Sink

WORKERS = {"execute": 1, "draft": 2, "upkeep": 1}
HANDED = "running.json"  # what the children were told beyond the environment, for `copilot doctor`
_SERVER, _COMPANY, _WORK, _GUESTS = 0, 1, 2, 3  # ranks: later ones are ended first
_DEMO_POLICIES = Path(config.__file__).parent / "demo" / "policies"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. `workers` overrides how many listen on the execute and draft queues, each."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    demo: bool = False
    offline: bool = True  # the sample company's model rather than one that COPILOT_MODEL names
    workers: int | None = None
    kill_every: float | None = None
    tokens: bool = False  # issue the scripted operators' tokens


@dataclass(slots=True)
class Installation:
    """A running one: its children, what they are told, and where it answers."""

    plan: Plan
    family: Family
    environ: dict[str, str]
    url: str = ""
    credentials: dict[str, Any] = field(default_factory=dict)


@contextmanager
def running(plan: Plan, sink: Sink) -> Iterator[Installation]:
    """Start everything, give it to the caller, and end everything. SetupError says in one sentence what is in the way."""
    with _data_dir(plan.data_dir) as folder, listening(plan.host, plan.port) as listener:
        family = Family(sink)
        port = listener.getsockname()[1]
        shown = plan.host if plan.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 -- compared with, not bound to
        url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
        environ = {"COPILOT_DATA_DIR": str(folder), "SECRET_KEY": _secret_key(folder)}
        if "COPILOT_BASE_URL" not in os.environ or plan.demo:
            environ["COPILOT_BASE_URL"] = url
        made = Installation(plan=plan, family=family, environ=environ, url=url)
        embedded: server.Embedded | None = None
        try:
            if not os.environ.get("REDIS_URL"):
                embedded = _start_server(family, folder)
                environ["REDIS_URL"] = embedded.url
            _start_company(made, folder)
            made.credentials = _prepare(made)
            if "COPILOT_BASE_URL" in environ:
                (folder / "base_url").write_text(url + "\n")  # commands print links that work
            _start_work(made, listener)
            (folder / HANDED).write_text(json.dumps({name: value for name, value in environ.items() if name != "SECRET_KEY"}))
            if plan.kill_every is not None:
                family.also = _chaos(family, plan.kill_every)
            yield made
        finally:
            family.stop()
            (folder / HANDED).unlink(missing_ok=True)
            (folder / "base_url").unlink(missing_ok=True)
            if embedded is not None:
                (folder / "redis_url").unlink(missing_ok=True)
                if embedded.temporary is not None:
                    shutil.rmtree(embedded.temporary, ignore_errors=True)


@contextmanager
def _data_dir(path: Path) -> Iterator[Path]:
    """The data folder, made if need be and locked for as long as this process lives. Nobody else may read what we write there."""
    os.umask(0o077)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock: TextIO = (path / "lock").open("a")
    except OSError as error:
        sentence = f"Copilot cannot write to its data folder {path} ({error.strerror}): choose another with --data or COPILOT_DATA_DIR."
        raise SetupError(sentence) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            sentence = f"Another Copilot already runs on the data folder {path}: stop it first, or choose another folder with --data."
            raise SetupError(sentence) from error
        yield path.resolve()


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The web server's socket, held here so that a web process that starts again misses no connection."""
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=256)
    except (OSError, UnicodeError) as error:
        number = error.errno or 0 if isinstance(error, OSError) else -1
        if number < 0 or number == errno.EADDRNOTAVAIL:  # below zero are the resolver's, for a name it does not know
            raise SetupError(f"The host {host!r} is no address of this machine: choose another with --host, such as 127.0.0.1.") from error
        another = f"PORT={port + 1 if 0 < port < 65535 else 8001}"
        raise SetupError(
            f"Port {port} on {host} cannot be used ({os.strerror(number)}): choose another with --port, or with `{another} make run`."
        ) from error
    with listener:
        yield listener


def _secret_key(folder: Path) -> str:
    """SECRET_KEY as it is given, else the one kept in the data folder, made on the first start."""
    if given := os.environ.get("SECRET_KEY"):
        return given
    file = folder / "secret_key"
    with suppress(FileExistsError):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_urlsafe(48) + "\n")
    return file.read_text().strip()


def _start_server(family: Family, folder: Path) -> server.Embedded:
    embedded = server.plan(folder)
    child = Child("redis", lambda _: embedded.command, order=_SERVER)
    for attempt in (1, 2):
        family.start(child)
        if family.until(lambda: server.answers(embedded.url), seconds=20, needs=[child]):
            break
        if attempt == 2:
            raise SetupError(
                f"The embedded Redis-compatible server does not start; {folder}/redis/server.log says why. REDIS_URL can name another."
            )
        server.forget(embedded)
        child.again_at = None
    (folder / "redis_url").write_text(embedded.url + "\n")
    return embedded


def _start_company(made: Installation, folder: Path) -> None:
    if not made.plan.demo:
        return
    environ, python = made.environ, sys.executable
    shop = Child(
        "shop",
        lambda port: (python, "-m", "copilot.demo.shop", "--data", str(folder / "shop"), "--port", str(port)),
        order=_COMPANY,
        environ={"COPILOT_SHOP_KEYS": json.dumps(tooltoken.public_jwks(environ["SECRET_KEY"]))},
        announces=True,
        stranger=True,
    )
    environ["COPILOT_DEMO"] = "1"
    environ["COPILOT_SHOP_URL"] = f"http://127.0.0.1:{made.family.announced(shop, seconds=30)}"
    environ["COPILOT_TOOLKITS"] = "copilot.demo.tools:shop"
    environ["COPILOT_POLICY_DIR"] = str(_DEMO_POLICIES)
    (folder / "toolkits").write_text(environ["COPILOT_TOOLKITS"] + "\n")  # commands on this folder know its tools and policies
    (folder / "policy_dir").write_text(environ["COPILOT_POLICY_DIR"] + "\n")
    if made.plan.offline:
        model = Child(
            "model",
            lambda port: (python, "-m", "copilot.demo.model", "--port", str(port)),
            order=_COMPANY,
            announces=True,
            stranger=True,
        )
        address = f"http://127.0.0.1:{made.family.announced(model, seconds=30)}/v1"
        environ.update(OPENAI_BASE_URL=address, COPILOT_MODEL="offline", OPENAI_API_KEY="offline")


def _prepare(made: Installation) -> dict[str, Any]:
    """Migrate once and seed, in a task of its own; what it asks for in one sentence becomes ours."""
    words = (sys.executable, "-m", "copilot.processes.prepare", *(["--tokens"] if made.plan.tokens else []))
    child = Child("prepare", lambda _: words, environ=made.environ)
    return ask(made.family, child)


def ask(family: Family, child: Child) -> dict[str, Any]:
    """Run a task that answers with one JSON object; its `problem` becomes our SetupError."""
    code, output = family.task(child, seconds=300)
    answer: dict[str, Any] = {}
    with suppress(ValueError, IndexError):
        answer = json.loads(output.splitlines()[-1])
    if "problem" in answer:
        raise SetupError(answer["problem"])
    if code != 0:
        raise SetupError(f"Copilot could not be made ready: {child.last or f'exit code {code}'}")
    return answer


def end_tokens(made: Installation) -> None:
    """End the scripted operators' tokens; they have done their work."""
    ask(made.family, Child("tokens", lambda _: (sys.executable, "-m", "copilot.processes.prepare", "--end-tokens"), environ=made.environ))


def _start_work(made: Installation, listener: socket.socket) -> None:
    fd, python = listener.fileno(), sys.executable
    web = Child(
        "web",
        lambda _: (python, "-m", "copilot.processes.web", str(fd)),
        order=_WORK, environ=made.environ, passes=(fd,),
    )  # fmt: skip
    made.family.start(web)
    if not made.family.until(lambda: _answers(f"{made.url}/healthz"), seconds=60):
        raise SetupError(f"The web server does not answer: {web.last or 'it said nothing'}")
    for queue, usual in WORKERS.items():
        count = made.plan.workers if made.plan.workers is not None and queue != "upkeep" else usual
        for number in range(1, count + 1):
            made.family.start(worker(queue, number, environ=made.environ))
    made.family.start(Child("clock", lambda _: (python, "-m", "copilot.processes.clock"), order=_WORK, environ=made.environ))
    made.family.until(lambda: _answers(f"{made.url}/readyz"), seconds=30)  # a slow worker is no reason not to begin


def worker(queue: str, number: int, *, environ: dict[str, str]) -> Child:
    """One worker process; told to stop, it finishes the job it has."""
    words = (sys.executable, "-m", "copilot.processes.worker", queue, str(number))
    return Child(f"{queue}-{number}", lambda _: words, order=_WORK, environ=environ, grace=12.0)


def guest(name: str, *words: str, environ: dict[str, str], stranger: bool = False) -> Child:
    """A program that uses the installation from outside, and ends by itself. A stranger learns only what `environ` tells it."""
    return Child(name, lambda _: (sys.executable, "-m", *words), order=_GUESTS, environ=environ, once=True, stranger=stranger)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 -- our own address
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


def _chaos(family: Family, seconds: float) -> Callable[[], None]:
    """What kills a random worker with -9 every so many seconds: the demonstration that nothing is lost by it."""
    last = time.monotonic()

    def kill_when_due() -> None:
        nonlocal last
        workers = [child for child in family.children if child.alive and child.name.split("-")[0] in WORKERS]
        if workers and time.monotonic() - last >= seconds:
            process = random.choice(workers).process  # noqa: S311 -- which one does not matter
            assert process is not None
            process.kill()
            last = time.monotonic()

    return kill_when_due
