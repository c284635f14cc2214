"""A family of child processes: started, listened to, started again when they crash, and ended together.

One thread does it all (a selector over the children's output and the signals), because a child dies with the *thread* that
started it and because a supervisor should have nothing that can hang.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from copilot.errors import SetupError
from copilot.processes import lifeline

_SHORT_LIFE = 5.0  # seconds; a child that ends sooner is started again with a growing delay
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 10.0
_TICK = 0.25  # seconds
_ANYBODYS = frozenset({"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR"})

Sink = Callable[[str, str], None]  # (child's name, line)


@dataclass(slots=True, eq=False)
class Child:
    """One process of the family. `order` is its rank: lower starts earlier and stops later."""

    name: str
    command: Callable[[int], Sequence[str]]  # given the port it announced last time, or 0
    order: int = 0
    environ: Mapping[str, str] = field(default_factory=dict)
    stranger: bool = False  # of our own environment it gets what any program needs and nothing else: no secret of ours
    passes: tuple[int, ...] = ()  # file descriptors it inherits
    grace: float = 5.0  # seconds from SIGTERM to SIGKILL
    once: bool = False  # it ends by itself and is not started again
    kept: bool = False  # its standard output is kept in `output`, not logged
    announces: bool = False  # its first line is {"port": N}
    port: int = 0
    output: list[str] = field(default_factory=list)
    last: str = ""  # the last line it logged
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    again_at: float | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs right now."""
        return self.process is not None and self.process.poll() is None


class Stopped(Exception):
    """Somebody asked the family to end while it was waiting for something."""


class Family:
    """The children of this process. `stopping` is set by Ctrl-C, SIGTERM or SIGHUP."""

    def __init__(self, sink: Sink) -> None:
        self.children: list[Child] = []
        self.stopping = False
        self.also: Callable[[], None] | None = None  # something more to do at every turn
        self._sink = sink
        self._selector = selectors.DefaultSelector()
        self._rest: dict[int, bytes] = {}
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)
        signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the selector
        self._selector.register(self._ear, selectors.EVENT_READ)

    def _asked_to_stop(self, *_: object) -> None:
        self.stopping = True

    def start(self, child: Child) -> Child:
        """Start a child now and keep it alive until `stop`."""
        if child not in self.children:
            self.children.append(child)
        child.process = subprocess.Popen(
            lifeline.command(*child.command(child.port)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**(_harmless(os.environ) if child.stranger else os.environ), "PYTHONUNBUFFERED": "1", **child.environ},
            pass_fds=child.passes,
            start_new_session=True,  # Ctrl-C goes to the supervisor alone, which then ends the others in order
        )
        child.started, child.again_at = time.monotonic(), None
        for stream in (child.process.stdout, child.process.stderr):
            assert stream is not None
            self._selector.register(stream, selectors.EVENT_READ, (child, stream is child.process.stdout))
        return child

    def turn(self, seconds: float = _TICK) -> None:
        """Do what is due: pass on output, notice the dead, start again whoever crashed."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                with suppress(BlockingIOError):
                    self._ear.recv(512)
                continue
            self._listen(key.fileobj, *key.data)  # type: ignore[arg-type]  # we registered pipes only
        now = time.monotonic()
        for child in self.children:
            if child.process is None or child.alive or child.once or self.stopping:
                continue
            if child.again_at is None:
                self._plan_again(child, now)
            elif now >= child.again_at:
                self.start(child)
        if self.also is not None and not self.stopping:
            self.also()

    def until(self, ready: Callable[[], bool], *, seconds: float, needs: Sequence[Child] = ()) -> bool:
        """Turn until `ready()`; False after `seconds` or when a child in `needs` has ended. Raises Stopped."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.stopping:
                raise Stopped
            if time.monotonic() > deadline or any(not child.alive for child in needs):
                return ready()
            self.turn(0.05)
        return True

    def task(self, child: Child, *, seconds: float) -> tuple[int, str]:
        """Run a child to its end; its exit code and standard output. Raises SetupError when it takes too long."""
        child.once = child.kept = True
        self.start(child)
        if not self.until(lambda: not child.alive, seconds=seconds):
            self._end([child])
            raise SetupError(f"{child.name} did not finish within {seconds:.0f} seconds.")
        self.drain()
        self.children.remove(child)
        assert child.process is not None
        return child.process.returncode, "\n".join(child.output)

    def announced(self, child: Child, *, seconds: float) -> int:
        """Start a child that announces its port and wait for it."""
        self.start(child)
        if not self.until(lambda: child.port != 0, seconds=seconds, needs=[child]):
            raise SetupError(f"The {child.name} process did not start: {child.last or 'it said nothing'}")
        return child.port

    def drain(self) -> None:
        """Pass on what children have written so far."""
        while any(key.data for key, _ in self._selector.select(0)):
            self.turn(0)

    def stop(self) -> None:
        """End everybody, last started first; whoever outstays its grace is killed."""
        self.stopping = True
        for order in sorted({child.order for child in self.children}, reverse=True):
            self._end([child for child in self.children if child.order == order])

    def close(self) -> None:
        """Give back the selector and the signal pipe; only what starts a second family in one process needs it."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._ear.close()
        self._mouth.close()

    def _end(self, children: Sequence[Child]) -> None:
        for child in children:
            if child.alive and child.process is not None:
                child.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while alive := [child for child in children if child.alive]:
            for child in alive:
                if child.process is not None and time.monotonic() - began > child.grace:
                    child.process.kill()
            self.turn(0.05)
        self.drain()

    def _plan_again(self, child: Child, now: float) -> None:
        assert child.process is not None
        child.failures = child.failures + 1 if now - child.started < _SHORT_LIFE else 1
        delay = min(_FIRST_DELAY * 2 ** (child.failures - 1), _LONGEST_DELAY)
        child.again_at = now + delay
        self._sink("copilot", f"{child.name} ended ({_how(child.process.returncode)}); starting it again")

    def _listen(self, stream: IO[bytes], child: Child, standard: bool) -> None:
        data = os.read(stream.fileno(), 65_536)
        lines = (self._rest.pop(stream.fileno(), b"") + data).split(b"\n")
        if data:
            self._rest[stream.fileno()] = lines.pop()[-65_536:]
        for line in lines:
            if line:
                self._heard(child, line.decode(errors="replace"), standard=standard)
        if not data:
            self._selector.unregister(stream)
            stream.close()

    def _heard(self, child: Child, line: str, *, standard: bool) -> None:
        if standard and child.kept:
            child.output.append(line)
        elif standard and child.announces and line.startswith('{"port"'):
            child.port = int(json.loads(line)["port"])
        else:
            child.last = line
            self._sink(child.name, line)


def _harmless(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name in _ANYBODYS or name.startswith(("LC_", "PYTHON"))}


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
