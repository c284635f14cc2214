"""What every response carries: a content security policy with a nonce, and headers that keep pages to ourselves."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from flask import Flask, Response, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFProtect

from copilot.config import Settings

csrf = CSRFProtect()
limiter = Limiter(get_remote_address, default_limits=[], strategy="fixed-window")


def install(app: Flask, settings: Settings) -> None:
    """Cookies, CSRF, rate limits and response headers, by the installation's settings."""
    app.config.update(
        SECRET_KEY=settings.secret,
        SESSION_COOKIE_NAME="copilot",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.base_url.startswith("https://"),
        WTF_CSRF_TIME_LIMIT=None,  # a form stays good as long as the session it belongs to
        WTF_CSRF_SSL_STRICT=True,
    )
    app.config.setdefault("MAX_CONTENT_LENGTH", 1_000_000)
    app.config.setdefault("MAX_FORM_MEMORY_SIZE", 1_000_000)
    csrf.init_app(app)
    app.config.setdefault("RATELIMIT_STORAGE_URI", _limit_storage(settings.redis_url))
    app.config.setdefault("RATELIMIT_STORAGE_OPTIONS", {"socket_connect_timeout": 2, "socket_timeout": 2} if settings.redis_url else {})
    app.config.setdefault("RATELIMIT_IN_MEMORY_FALLBACK_ENABLED", True)  # counting per process is better than not counting
    app.config.setdefault("RATELIMIT_KEY_PREFIX", "copilot")
    limiter.init_app(app)
    app.after_request(_headers)


def nonce() -> str:
    """This response's script nonce."""
    if "nonce" not in g:
        g.nonce = secrets.token_urlsafe(16)
    value: str = g.nonce
    return value


def safe_target(target: str | None, otherwise: str) -> str:
    """Where to go after signing in: a path of ours, never another site."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")) or "\\" in target:
        return otherwise
    parts = urlsplit(target)
    return otherwise if parts.scheme or parts.netloc or any(ord(c) < 32 for c in target) else target


def _limit_storage(redis_url: str | None) -> str:
    if redis_url is None:
        return "memory://"
    return redis_url.replace("unix://", "redis+unix://", 1) if redis_url.startswith("unix://") else redis_url


def _headers(response: Response) -> Response:
    headers = response.headers
    policy = (
        "default-src 'none'; "
        f"script-src 'nonce-{nonce()}'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
    )
    headers.setdefault("Content-Security-Policy", policy)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if request.is_secure:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint not in ("static", "bootstrap.static"):
        headers.setdefault("Cache-Control", "no-store")
    return response
