"""create_app(): the only module that knows every page and every job, and puts the process together."""

from __future__ import annotations

import logging

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from copilot import api as rest
from copilot import config, doorbell
from copilot import db as database
from copilot import web as pages
from copilot.audit import redaction
from copilot.autonomy import grants
from copilot.config import Settings
from copilot.gate import policy, tools
from copilot.gateway import addresses, limits, outbound, sources
from copilot.live import events
from copilot.notify import channels


def create_app(settings: Settings | None = None, *, web: bool = True) -> Flask:
    """Read the settings, load tools and policies, and make the application; SetupError says what is wrong.

    Workers, the clock and commands pass `web=False`: they need the database and the rules but serve nothing.
    """
    settings = settings or config.load()
    config.install(settings)
    addresses.parse(settings.outbound_allow)  # loud on nonsense before anything is asked
    _keep_logs_clean()
    app = Flask(
        "copilot",
        template_folder=str(config.files("templates")),
        static_folder=str(config.files("static")),
        instance_path=str(settings.data_dir),
    )
    app.config.update(
        SECRET_KEY=settings.secret,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=database.engine_options(settings.database_url),
    )
    database.db.init_app(app)
    database.set_clock_offset(settings.clock_offset)
    database.install_context(app.app_context)
    channels.install_door(outbound.request)
    registry = tools.load(settings.toolkits, more=sources.load(settings.tools_file))  # foreign tools are pinned in the database
    limits.check(registry.all())
    tools.install(registry)
    policy.install(policy.load(settings.policy_dir, registry.all()))
    grants.install(registry.all())
    doorbell.connect(settings.redis_url)
    events.connect(settings.redis_url)
    if web:
        if settings.trusted_proxies:
            n = settings.trusted_proxies
            app.wsgi_app = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=n)  # type: ignore[method-assign]  # Flask documents this assignment
        pages.register(app)
        rest.register(app)
    return app


class _Scrubbing(logging.Filter):
    """Takes personal values out of every log line."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redaction.scrub(record.getMessage())
        record.args = ()
        return True


def _keep_logs_clean() -> None:
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, _Scrubbing) for each in handler.filters):
            handler.addFilter(_Scrubbing())
