"""Tie a process to its parent, so that a sample company never outlives the command that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import types

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends. Does nothing where the kernel has no such wish (not Linux)."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died between the two calls, so no signal will ever come
        raise SystemExit(0)


def exit_on_signals() -> None:
    """Turn SIGTERM into an ordinary exit, so that `finally` blocks run."""

    def leave(_number: int, _frame: types.FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
