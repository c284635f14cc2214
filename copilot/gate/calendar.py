"""When a region works: its time zone, days, hours and holidays, from `calendar.toml` of a policy folder.

    [default]
    days = [1, 2, 3, 4, 5]      # 1 is Monday
    from = "09:00"
    to = "17:00"

    [region.EU]
    timezone = "Europe/Vienna"
    holidays = [2026-12-25]

A region takes from the default what it does not say itself. Without a calendar every day is worked from 9 to 17 but
Saturday and Sunday, in the installation's own time zone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from copilot.errors import BadInput

_FIELDS = {"timezone", "days", "from", "to", "holidays"}


@dataclass(frozen=True, slots=True)
class Hours:
    """One region's week. `opens` after `closes` is a shift over midnight: it belongs to the day it starts on."""

    timezone: tzinfo | None = None
    days: frozenset[int] = frozenset({1, 2, 3, 4, 5})
    opens: time = time(9)
    closes: time = time(17)
    holidays: frozenset[date] = frozenset()

    def open(self, local: datetime) -> bool:
        """Whether work is done at this local moment; the closing minute itself is outside."""
        at = local.timetz().replace(tzinfo=None)
        if self.opens < self.closes:
            return self._works(local.date()) and self.opens <= at < self.closes
        if at >= self.opens:
            return self._works(local.date())
        return at < self.closes and self._works(date.fromordinal(local.date().toordinal() - 1))

    def _works(self, day: date) -> bool:
        return day.isoweekday() in self.days and day not in self.holidays


@dataclass(frozen=True, slots=True)
class Calendar:
    """The hours of every region that has its own, and of all others."""

    default: Hours = field(default_factory=Hours)
    regions: Mapping[str, Hours] = field(default_factory=dict)

    def local(self, now: datetime, region: str, fallback: tzinfo) -> datetime:
        """The moment in the region's time zone, or in the installation's where the calendar names none."""
        return now.astimezone(self._hours(region).timezone or fallback)

    def open(self, now: datetime, region: str, fallback: tzinfo) -> bool:
        """Whether the region works at this moment."""
        return self._hours(region).open(self.local(now, region, fallback))

    def _hours(self, region: str) -> Hours:
        return self.regions.get(region, self.default)


def read(text: str) -> Calendar:
    """Read a `calendar.toml`; BadInput says what is wrong with it."""
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(str(error)) from error
    regions = whole.get("region", {})
    if set(whole) - {"default", "region"} or not isinstance(regions, dict):
        raise _wrong("it holds [default] and [region.NAME] tables and nothing else")
    default = _hours("default", whole.get("default", {}), Hours())
    return Calendar(default, {name: _hours(f"region {name}", entry, default) for name, entry in regions.items()})


def _hours(name: str, entry: Any, default: Hours) -> Hours:
    if not isinstance(entry, dict) or set(entry) - _FIELDS:
        raise _wrong(f"{name} takes only {', '.join(sorted(_FIELDS))}")
    found = Hours(
        timezone=_timezone(name, entry["timezone"]) if "timezone" in entry else default.timezone,
        days=_days(name, entry["days"]) if "days" in entry else default.days,
        opens=_time(name, entry["from"]) if "from" in entry else default.opens,
        closes=_time(name, entry["to"]) if "to" in entry else default.closes,
        holidays=_holidays(name, entry["holidays"]) if "holidays" in entry else default.holidays,
    )
    if found.opens == found.closes:
        raise _wrong(f"{name} opens and closes at the same time; give the days it works, or no days at all")
    return found


def _timezone(name: str, value: Any) -> tzinfo:
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise _wrong(f"{name} has no such time zone as {str(value)[:60]!r}; write a name such as Europe/Vienna") from error


def _days(name: str, value: Any) -> frozenset[int]:
    if not isinstance(value, list) or not all(type(day) is int and 1 <= day <= 7 for day in value):
        raise _wrong(f"{name}: days is a list of numbers from 1 (Monday) to 7")
    return frozenset(value)


def _time(name: str, value: Any) -> time:
    if isinstance(value, time):
        return value
    try:
        return time.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise _wrong(f'{name}: from and to are times such as "09:00"') from error


def _holidays(name: str, value: Any) -> frozenset[date]:
    if not isinstance(value, list) or not all(isinstance(day, date) and not isinstance(day, datetime) for day in value):
        raise _wrong(f"{name}: holidays is a list of dates such as 2026-12-25, without quotes")
    return frozenset(value)


def _wrong(why: str) -> BadInput:
    return BadInput(f"calendar.toml: {why}.", problems={"calendar.toml": why})
