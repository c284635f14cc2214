"""A long replay shared between processes: each judges a part of the pages through a lens of its own.

Policies are parsed handles and cannot be handed over, so each process reads the folder's text itself. They are spawned,
not forked, and end when the pipe to whoever started them closes, also when that one was killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import tzinfo
from multiprocessing.connection import Connection
from typing import Any

from copilot.gate import policy
from copilot.gate.replay import Earlier, Lens
from copilot.gate.replay import replay as over
from copilot.gate.tally import Row, Tally
from copilot.toolkit import Tool


def tally(
    pages: Iterable[list[Row]],
    files: Mapping[str, str],
    *,
    tools: Iterable[Tool],
    earlier: Mapping[str, Earlier],
    zone: tzinfo,
    processes: int,
) -> Tally:
    """Replay all pages in so many processes; in this one when it is one."""
    whole = Tally()
    contracts = tuple(_contract(tool) for tool in tools)
    if processes < 2:
        lens = Lens(policy.from_files(files, tools=contracts), contracts, earlier, zone)
        for page in pages:
            whole.merge(over(page, lens))
        return whole
    spawn = multiprocessing.get_context("spawn")
    pipes: list[Connection[Any, Any]] = []
    workers = []
    for _ in range(processes):
        ours, theirs = spawn.Pipe()
        worker = spawn.Process(target=_work, args=(theirs, dict(files), contracts, dict(earlier), zone), daemon=True)
        worker.start()
        theirs.close()
        pipes.append(ours)
        workers.append(worker)
    try:
        for number, page in enumerate(pages):
            pipes[number % processes].send(page)  # waits while that process has enough to do
        for pipe in pipes:
            pipe.send(None)
        for pipe in pipes:
            whole.merge(pipe.recv())
    finally:
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.join(timeout=10)
    return whole


def _work(pipe: Connection[Any, Any], files: dict[str, str], tools: tuple[Tool, ...], earlier: dict[str, Earlier], zone: tzinfo) -> None:
    """Judge pages until there are no more, then hand the tally over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends whoever started us, and with it the pipe
    lens = Lens(policy.from_files(files, tools=tools), tools, earlier, zone)
    part = Tally()
    with contextlib.suppress(EOFError, BrokenPipeError):  # whoever started us is gone, and so is the question
        while (page := pipe.recv()) is not None:
            part.merge(over(page, lens))
        pipe.send(part)


def _contract(tool: Tool) -> Tool:
    """What policies know of a tool, without its functions, which belong to the process that loaded them."""
    known = None if tool.known is None else dict(tool.known)
    nothing = dict.fromkeys(
        ("amount", "target", "payee", "business_key", "lookup", "revision", "preview", "simulate", "undo", "model"), None
    )
    return replace(tool, function=_nothing, parameters=dict(tool.parameters), known=known, returns=None, **nothing)  # type: ignore[arg-type]  # all of these may be None


def _nothing() -> None:
    """No tool is ever called in a replay."""
