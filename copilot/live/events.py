"""A Redis stream of changes, and the server-sent events a browser reads it as.

An event says which thing changed and into what state; the browser then fetches what it may see. So a lost event costs
a refresh and never a secret. The stream's own ids are the event ids, which is how Last-Event-ID resumes.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from typing import Any

import redis

from copilot.errors import Unavailable

STREAM = "copilot:live"
KEPT = 2_000  # events a browser that was away can still catch up on
MOST_STREAMS = 32  # per process; the web server has this many threads beyond those for pages
BEAT = 5.0  # seconds of silence before a comment line; also how long the place of a page that went away stays taken
LONGEST = 600.0  # seconds before a stream ends, so that a browser whose session ended cannot listen for ever

_ID = re.compile(r"\d{1,20}-\d{1,20}\Z")
_log = logging.getLogger(__name__)
_open_streams = threading.BoundedSemaphore(MOST_STREAMS)
_redis: redis.Redis | None = None


def connect(url: str | None) -> None:
    """Use the Redis at this URL; None switches live updates off."""
    global _redis
    _redis = None
    if url is not None:
        _redis = redis.Redis.from_url(url, decode_responses=True, socket_connect_timeout=2, socket_timeout=BEAT + 10)


def reachable() -> bool:
    """Whether Redis answers now."""
    try:
        return _redis is not None and bool(_redis.ping())
    except redis.RedisError:
        return False


def publish(kind: str, subject: str, **fields: str | int | bool | None) -> None:
    """Tell every open page that `subject` changed. Never raises: a page that missed it shows it after a refresh."""
    if _redis is None:
        return
    line = json.dumps({"kind": kind, "subject": subject, **fields}, separators=(",", ":"))
    try:
        _redis.xadd(STREAM, {"e": line}, maxlen=KEPT, approximate=True)
    except redis.RedisError as error:
        _log.warning("live event not published: %s", type(error).__name__)


def stream(last_id: str | None = None) -> Stream:
    """Open one browser's stream, after `last_id` when the browser has one. Unavailable when too many are open or Redis is away."""
    if _redis is None:
        raise Unavailable("Live updates are switched off here. The page still works; reload it to see what is new.")
    if not _open_streams.acquire(blocking=False):
        raise Unavailable("Too many pages are watching live. This one still works; reload it to see what is new.")
    try:
        start = last_id if last_id and _ID.match(last_id) else _newest(_redis)
    except redis.RedisError as error:
        _open_streams.release()
        raise Unavailable("Live updates are not reachable at the moment. The page still works; reload it to see what is new.") from error
    return Stream(_redis, start)


def _newest(connection: redis.Redis) -> str:
    """The id of the latest event; asked once, because `$` in a loop would skip what comes between two reads."""
    entries: list[Any] = connection.xrevrange(STREAM, count=1)  # type: ignore[assignment]  # redis types answers for both its clients at once
    return str(entries[0][0]) if entries else "0-0"


class Stream:
    """An iterator of server-sent event text; closing it, even unread, gives the place to the next browser."""

    def __init__(self, connection: redis.Redis, last_id: str) -> None:
        self._redis = connection
        self._last = last_id
        self._ends = time.monotonic() + LONGEST
        self._waiting: list[str] = [f"retry: 3000\nid: {last_id}\nevent: hello\ndata: {{}}\n\n"]
        self._closed = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        if self._waiting:
            return self._waiting.pop(0)
        if self._closed or time.monotonic() > self._ends:
            self.close()
            raise StopIteration
        try:
            answer: Any = self._redis.xread({STREAM: self._last}, count=50, block=int(BEAT * 1000))
        except redis.RedisError:
            self.close()
            raise StopIteration from None
        for _, entries in answer or ():
            for entry_id, fields in entries:
                self._last = entry_id
                self._waiting.append(f"id: {entry_id}\ndata: {fields.get('e', '{}')}\n\n")
        return self._waiting.pop(0) if self._waiting else ": still here\n\n"

    def close(self) -> None:
        """Give the place back, once."""
        if not self._closed:
            self._closed = True
            _open_streams.release()

    def __del__(self) -> None:
        self.close()
