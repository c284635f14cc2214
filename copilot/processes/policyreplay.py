"""A policy folder over recorded verdicts, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copilot.errors import BadInput, SetupError
from copilot.gate import folder, history
from copilot.processes import console


def replay(directory: Path, *, days: int) -> dict[str, Any]:
    """Judge what was recorded in so many days again with this folder; SetupError names a mistake in it."""
    files = folder.from_disk(directory)
    with console.inside():
        try:
            return {"note": console.no_tools(), **history.replayed(files, days=days)}
        except BadInput as error:
            raise SetupError(" ".join(filter(None, [f"Policies in {directory}: {error}", console.no_tools()]))) from error


def told(result: dict[str, Any]) -> str:
    """The result for a person."""
    total, reviewer = result["total"], result["reviewer"]
    lines = [f"{total['verdicts']:,} recorded verdicts of {result['days']} days judged again in {result['seconds']} s."]
    lines += [result["note"]] if result["note"] else []
    for each in result["flips"]:
        words = history.words(each["about"])
        lines.append(
            f"  {each['count']:>7,}  {each['about']}: {words[each['before']]} → {words[each['after']]}{_money(each)}{_samples(each)}"
        )
    if not result["flips"]:
        lines.append("  Nothing would have gone otherwise.")
    for each in result["unknown"]:
        why = "; ".join(reason["reason"] for reason in each["reasons"])
        lines.append(f"  {each['count']:>7,}  {each['about']}: unknown, not recorded then: {why}{_money(each)}{_samples(each)}")
    minutes = (
        "nobody decided anything, so there is no time to reckon with"
        if reviewer["minutes"] is None
        else f"{reviewer['minutes']:+,} minutes"
    )
    lines.append(f"Decisions by people: {reviewer['decisions']:+,} ({minutes}). {reviewer['how']}")
    return "\n".join(lines)


def _money(entry: dict[str, Any]) -> str:
    sums = ", ".join(f"{minor / 100:,.2f} {currency}" for currency, minor in entry["money"].items())
    return f", {sums}" if sums else ""


def _samples(entry: dict[str, Any]) -> str:
    return f" (such as {', '.join(entry['samples'][:2])})" if entry["samples"] else ""
