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
from collections import Counter
from collections.abc import Callable
from typing import Any

import redis

from copilot.errors import Unavailable

STREAM = "copilot:live"
KEPT = 2_000  # events a browser that was away can still catch up on
MOST_STREAMS = 32  # per process; the web server has this many threads beyond those for pages
MOST_EACH = 6  # of them for one holder, such as a session with many windows: nobody may take the places of all
BEAT = 5.0  # seconds of silence before a comment line; also how long the place of a page that went away stays taken
CHECK = 30.0  # seconds after which a stream asks again whether its holder may still listen
LONGEST = 600.0  # seconds before a stream ends and the browser asks for a new one

_ID = re.compile(r"\d{1,20}-\d{1,20}\Z")
_log = logging.getLogger(__name__)
_places = threading.RLock()  # a stream forgotten in a cycle may be closed while its own thread holds this
_held: Counter[str] = Counter()  # open streams by holder
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


def stream(last_id: str | None = None, *, holder: str, may_go_on: Callable[[], bool]) -> Stream:
    """Open one browser's stream, after `last_id` when the browser has one. Unavailable when too many are open or Redis is away.

    `may_go_on` is asked about every CHECK seconds; the stream ends at the first no.
    """
    if _redis is None:
        raise Unavailable("Live updates are switched off here. The page still works; reload it to see what is new.")
    if not _take(holder):
        raise Unavailable("Too many pages are watching live. This one still works; reload it to see what is new.")
    try:
        start = last_id if last_id and _ID.match(last_id) else _newest(_redis)
    except redis.RedisError as error:
        _give_back(holder)
        raise Unavailable("Live updates are not reachable at the moment. The page still works; reload it to see what is new.") from error
    return Stream(_redis, start, holder, may_go_on)


def _take(holder: str) -> bool:
    with _places:
        if _held.total() >= MOST_STREAMS or _held[holder] >= MOST_EACH:
            return False
        _held[holder] += 1
        return True


def _give_back(holder: str) -> None:
    with _places:
        _held[holder] -= 1
        if not _held[holder]:
            del _held[holder]


def _newest(connection: redis.Redis) -> str:
    """The id of the latest event; asked once, because `$` in a loop would skip what comes between two reads."""
    entries: list[Any] = connection.xrevrange(STREAM, count=1)  # type: ignore[assignment]  # redis types answers for both its clients at once
    return str(entries[0][0]) if entries else "0-0"


class Stream:
    """An iterator of server-sent event text; closing it, even unread, gives the place to the next browser."""

    def __init__(self, connection: redis.Redis, last_id: str, holder: str, may_go_on: Callable[[], bool]) -> None:
        self._redis = connection
        self._last = last_id
        self._holder = holder
        self._may_go_on = may_go_on
        self._ends = time.monotonic() + LONGEST
        self._check_at = time.monotonic() + CHECK
        self._waiting: list[str] = [f"retry: 3000\nid: {last_id}\nevent: hello\ndata: {{}}\n\n"]
        self._closed = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        if self._waiting:
            return self._waiting.pop(0)
        if self._over():
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

    def _over(self) -> bool:
        moment = time.monotonic()
        if self._closed or moment > self._ends:
            return True
        if moment < self._check_at:
            return False
        self._check_at = moment + CHECK
        return not self._may_go_on()

    def close(self) -> None:
        """Give the place back, once."""
        if not self._closed:
            self._closed = True
            _give_back(self._holder)

    def __del__(self) -> None:
        self.close()
