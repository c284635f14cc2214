"""Starts a command that dies with its parent: `lifeline.py PARENT_PID COMMAND…` ties itself, then becomes the command.

The kernel keeps the promise (PR_SET_PDEATHSIG, Linux), so it holds when the parent is killed with -9. The signal follows the
parent's *thread*, so whoever starts children does it from a thread that lives as long as they may. Run as a script with
`python -I -S`: it needs the standard library only and costs some 15 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends; end at once when it already has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died between the fork and the call above
        os._exit(0)


def command(*words: str) -> list[str]:
    """The command line that runs `words` tied to this process."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), *words]


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 -- becoming the command is the purpose
