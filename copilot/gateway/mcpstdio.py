"""An MCP server as a process of ours: started when first asked, spoken to over its pipes, started again after it died."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import select
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence

from copilot.audit import ownsecrets
from copilot.errors import SetupError
from copilot.gateway import mcpwire
from copilot.gateway.mcpwire import Lost, Message

_log = logging.getLogger(__name__)

_START = 20.0  # seconds a server may take to greet, where the caller has that long
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")  # everything else a server gets, the tools file says
_MURMUR = 500  # characters of one line a server writes for its own log
_LONGEST_MURMUR = 64_000  # what is taken as one line, so that no secret is cut in two before it is found

# Ends with us even when we are killed with -9 (Linux). The signal follows the parent's thread, see `_Life`.
_TIED = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(0)
os.execv(sys.argv[2], sys.argv[2:])
"""

_all: weakref.WeakSet[Stdio] = weakref.WeakSet()


class Stdio:
    """The connection to one server process; safe to share between threads. `changed` hears that its list of tools did."""

    def __init__(self, name: str, command: Sequence[str], environ: Callable[[], Mapping[str, str]], *, changed: Callable[[], None]) -> None:
        self._name = name
        self._command = list(command)
        self._environ = environ
        self._changed = changed
        self._lock = threading.Lock()
        self._life: _Life | None = None
        _all.add(self)

    def ask(self, method: str, params: Message, *, seconds: float) -> Message:
        """Send one request to the process, which is started first when there is none."""
        until = time.monotonic() + seconds
        return self._living(until).ask(method, params, until)

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            life, self._life = self._life, None
        if life is not None:
            life.end("it was closed")

    def _living(self, until: float) -> _Life:
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Lost("it was still starting when the time was over", sent=False)
        try:
            if self._life is None or not self._life.alive:
                life = _Life(self._name, self._command, self._environment(), self._changed)
                try:
                    life.greet(min(until, time.monotonic() + _START))
                except (Lost, mcpwire.Said) as error:
                    life.end("it did not greet")
                    raise Lost(f"it could not be started: {error}", sent=False) from error
                self._life = life
            return self._life
        finally:
            self._lock.release()

    def _environment(self) -> Mapping[str, str]:
        try:
            return self._environ()
        except SetupError as error:
            raise mcpwire.without_secret(error) from error

    def forget(self) -> None:
        """In a forked child: the process is the parent's, so begin without one."""
        if self._life is not None:
            _inherited.append(self._life)
        self._lock, self._life = threading.Lock(), None


class _Life:
    """One process from its start to its end. Its thread starts it and outlives it, because it dies with that thread."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], changed: Callable[[], None]) -> None:
        self._name, self._changed = name, changed
        self._waiting: dict[int, queue.SimpleQueue[Message | None]] = {}
        self._numbers = itertools.count(1)
        self._guard, self._writing = threading.Lock(), threading.Lock()
        self._why = "it ended"
        self._spoilt = False  # half a line was written; nothing may follow it
        self._child: subprocess.Popen[bytes] | None = None
        self.alive = True
        started: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        threading.Thread(target=self._live, args=(list(command), dict(environ), started), daemon=True, name=f"mcp-{name}").start()
        if (problem := started.get()) is not None:
            self.alive = False
            raise Lost(f"it could not be started ({type(problem).__name__})", sent=False)

    def greet(self, until: float) -> None:
        """Say hello and agree on a version."""
        mcpwire.agreed(self.ask("initialize", mcpwire.greeting(), until))
        self._write(mcpwire.encoded(mcpwire.notification("notifications/initialized")), until)

    def ask(self, method: str, params: Message, until: float) -> Message:
        """Send one request and wait for its answer."""
        number, box = next(self._numbers), queue.SimpleQueue[Message | None]()
        with self._guard:
            if not self.alive:
                raise Lost(self._why, sent=False)
            self._waiting[number] = box
        try:
            self._write(mcpwire.encoded(mcpwire.request(number, method, params)), until)
            answer = box.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise Lost("it did not answer in time", sent=True) from None
        finally:
            with self._guard:
                self._waiting.pop(number, None)
        if answer is None:
            raise Lost(self._why, sent=True)
        return mcpwire.result(answer)

    def end(self, why: str) -> None:
        """Close its input, give it a moment, then kill it; whoever waits hears `why`."""
        with self._guard:
            first, self.alive = self.alive, False
            if first:
                self._why = why
            boxes = list(self._waiting.values())
        for box in boxes:
            box.put(None)
        if self._child is None or not first:
            return
        with self._writing:
            assert self._child.stdin is not None
            self._child.stdin.close()
        try:
            self._child.wait(1)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _live(self, command: list[str], environ: dict[str, str], started: queue.SimpleQueue[Exception | None]) -> None:
        try:
            self._child = _start(command, environ)
        except OSError as error:
            started.put(error)
            return
        with self._child as child:
            threading.Thread(target=self._murmurs, daemon=True, name=f"mcp-{self._name}-log").start()
            started.put(None)
            assert child.stdout is not None
            while line := child.stdout.readline(mcpwire.MESSAGE_BYTES + 1):
                if len(line) > mcpwire.MESSAGE_BYTES:
                    self.end("it sent more than Copilot takes")
                    break
                for message in mcpwire.decoded(line):
                    self._hear(message)
            self.end("it ended")

    def _hear(self, message: Message) -> None:
        if mcpwire.is_answer(message):
            number = message["id"]
            box = self._waiting.get(number) if isinstance(number, int) else None
            if box is not None:
                box.put(message)
        elif message.get("method") == mcpwire.LIST_CHANGED:
            self._changed()
        elif (reply := mcpwire.reply(message)) is not None:
            try:
                self._write(mcpwire.encoded(reply), time.monotonic() + 1)
            except Lost:
                return

    def _write(self, line: bytes, until: float) -> None:
        """Write one line whole. A server that does not read in time is ended: half a line would spoil all that follow."""
        if not self._writing.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Lost("it was busy until the time was over", sent=False)
        try:
            assert self._child is not None
            assert self._child.stdin is not None
            if self._spoilt or self._child.stdin.closed:
                raise Lost(self._why, sent=False)
            left = _push(self._child.stdin.fileno(), line, until)
            if left:
                self._spoilt = True
                threading.Thread(target=self.end, args=("it stopped reading",), daemon=True).start()
                raise Lost("it stopped reading", sent=left == 1)  # all but the line's end is a whole message to some
        except OSError:
            raise Lost("it ended", sent=False) from None
        finally:
            self._writing.release()

    def _murmurs(self) -> None:
        """Pass on what the server writes for its own log, as inert text."""
        assert self._child is not None
        assert self._child.stderr is not None
        while line := self._child.stderr.readline(_LONGEST_MURMUR):
            said = ownsecrets.without(line.decode("utf-8", "replace").rstrip())[:_MURMUR]
            _log.info("mcp server %s: %s", self._name, ascii(said)[1:-1])


def _start(command: list[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    own = {name: os.environ[name] for name in _INHERITED if name in os.environ} | environ
    program = shutil.which(command[0], path=own.get("PATH"))
    if program is None:
        raise FileNotFoundError(command[0])
    words = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), os.path.abspath(program), *command[1:]]
    pipe = subprocess.PIPE
    child = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=own, start_new_session=True)
    assert child.stdin is not None
    os.set_blocking(child.stdin.fileno(), False)
    return child


def _push(pipe: int, line: bytes, until: float) -> int:
    """Write the line; gives how many of its bytes were not taken in time."""
    left = memoryview(line)
    while left:
        if not select.select([], [pipe], [], max(0.0, until - time.monotonic()))[1]:
            break
        try:
            left = left[os.write(pipe, left) :]
        except BlockingIOError:
            continue
    return len(left)


_inherited: list[_Life] = []  # kept, so that a forked child never closes or waits for what is its parent's


def _after_fork() -> None:
    for each in list(_all):
        each.forget()


os.register_at_fork(after_in_child=_after_fork)
