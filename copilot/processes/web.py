"""The web server: gunicorn with threads, because every open page holds one for its live events."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from copilot.app import create_app
from copilot.live import events
from copilot.processes import lifeline, logs

PAGES = 32  # threads beyond those that live events may hold


class _Lines(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """Sends gunicorn's own lines the way of ours, where personal values are taken out: it logs tracebacks too."""

    def setup(self, cfg: Any) -> None:
        """Hand everything to the root logger instead of writing it unread."""
        super().setup(cfg)
        logs.configure()
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        logs.configure()
        return create_app()


def serve(fd: int) -> None:
    """Serve until told to stop, on a listening socket somebody opened for us."""
    _Server(
        {
            "bind": f"fd://{fd}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": events.MOST_STREAMS + PAGES,
            "timeout": 60,
            "graceful_timeout": 3,  # pages that listen live would hold the door open for ever
            "keepalive": 15,
            "forwarded_allow_ips": "",  # only COPILOT_TRUSTED_PROXIES says whom to believe
            "control_socket_disable": True,
            "loglevel": "warning",
            "errorlog": "-",
            "logger_class": _Lines,
            "proc_name": "copilot-web",
            "post_fork": _tie,
        }
    ).run()


def _tie(server: Any, _worker: Any) -> None:
    lifeline.tie(server.pid)


def main(arguments: list[str]) -> None:
    """Serve on the inherited socket whose number is the only argument."""
    serve(int(arguments[0]))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
