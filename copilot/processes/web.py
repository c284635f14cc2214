"""The web server: gunicorn with threads, because every open page holds one for its live events."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication

from copilot.app import create_app
from copilot.live import events
from copilot.processes import lifeline, logs

PAGES = 32  # threads beyond those that live events may hold


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


def serve(*, host: str, port: int, fd: int | None = None) -> None:
    """Serve until told to stop, on a socket somebody opened for us (`fd`) or on host and port."""
    _Server(
        {
            "bind": f"fd://{fd}" if fd is not None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
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
            "proc_name": "copilot-web",
            "post_fork": _tie,
        }
    ).run()


def _tie(server: Any, _worker: Any) -> None:
    lifeline.tie(server.pid)


def main(arguments: list[str]) -> None:
    """Serve on the inherited socket whose number is the only argument."""
    serve(host="", port=0, fd=int(arguments[0]))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
