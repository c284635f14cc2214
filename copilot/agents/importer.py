"""Tickets from a file: `.csv` with a header, or `.jsonl` with one ticket a line, read as a stream.

Every row is checked before anything of it is written, and rows are committed in batches of whole rows. Running the
same import again takes only what is missing, because external ids are unique.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sqlalchemy.exc import OperationalError

from copilot.agents import incoming, intake
from copilot.db import transaction
from copilot.errors import BadInput, Unavailable

COLUMNS = ("external_id", "subject", "body", "customer_id", "customer_name", "customer_email", "region", "channel")
BATCH = 50

_NEEDED = COLUMNS[:4]
_FIELDS = frozenset({"external_id", "subject", "body", "customer", "region", "channel", "metadata"})
_CUSTOMER_FIELDS = frozenset({"id", "name", "email"})
_LONGEST_LINE = 1_000_000  # characters; a ticket that may be imported is far shorter

Progress = Callable[[int, int], None]
Queued = Callable[[str], object]
Row = tuple[int, incoming.NewTicket | str]  # the line it begins on, and the ticket or what is wrong with it


@dataclass(slots=True)
class Report:
    """What an import did: rows read, tickets new, tickets that were here already, and the lines that could not be taken."""

    read: int = 0
    imported: int = 0
    already: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)


def load(path: Path, *, source: str, progress: Progress | None = None, queued: Queued | None = None) -> Report:
    """Import every good row of the file and report every bad one by its line; BadInput when it is no such file.

    Opens its own transactions, one per batch. `progress(done, total)` is told bytes after each batch; `queued(run_id)`
    is told each run after its commit (runs nobody is told of start some seconds later all the same).
    """
    readers = {".csv": _csv, ".jsonl": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"{path.name} is neither .csv nor .jsonl.")
    report = Report()
    try:
        total = path.stat().st_size
        with path.open("rb") as file:
            batch: list[Row] = []
            for row in reader(file):
                batch.append(row)
                if len(batch) >= BATCH:
                    _take(batch, report, source=source, queued=queued)
                    batch = []
                    if progress:
                        progress(file.tell(), total)
            _take(batch, report, source=source, queued=queued)
            if progress:
                progress(total, total)
    except OSError as error:
        raise BadInput(f"{path} could not be read: {error.strerror or error}.") from error
    return report


def _take(batch: list[Row], report: Report, *, source: str, queued: Queued | None) -> None:
    """Commit the good rows of one batch, then count them, so that the report never tells of what was rolled back."""
    good = [row for _, row in batch if isinstance(row, incoming.NewTicket)]
    done: list[intake.Accepted] = []
    if good:
        try:
            with transaction():
                done = [intake.store(ticket, source=source) for ticket in good]
        except OperationalError as error:
            raise Unavailable(
                f"The database did not answer after {report.imported} new tickets. They are in; run the same import again for the rest."
            ) from error
    report.read += len(batch)
    report.imported += sum(accepted.created for accepted in done)
    report.already += sum(not accepted.created for accepted in done)
    report.bad += [(line, row) for line, row in batch if isinstance(row, str)]
    for accepted in done:
        for run_id in accepted.run_ids:
            if queued:
                queued(run_id)


def _csv(file: IO[bytes]) -> Iterator[Row]:
    rows = csv.reader((line for _, line in _lines(file)), strict=True)
    line = 1
    try:
        header = [name.strip() for name in next(rows, [])]
        _check_header(header)
        line = rows.line_num + 1
        for cells in rows:
            if any(cell.strip() for cell in cells):
                yield line, _of_cells(header, cells)
            line = rows.line_num + 1
    except (csv.Error, _TooLong) as error:
        if line == 1:
            raise BadInput(f"The header cannot be read: {error}.") from error
        # Where quoting is broken nobody can tell rows from text any more, so nothing below this line is guessed at.
        yield line, f"cannot be read ({error}), nor can anything below it"


def _check_header(header: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown or len(set(header)) != len(header):
        said = f"; missing: {', '.join(missing)}" if missing else ""
        said += f"; unknown: {', '.join(unknown)[:200]}" if unknown else ""
        said += "; a name stands there twice" if len(set(header)) != len(header) else ""
        raise BadInput(f"The first line has to name the columns {', '.join(COLUMNS)} (only the first four are needed){said}.")


def _of_cells(header: list[str], cells: list[str]) -> incoming.NewTicket | str:
    if len(cells) != len(header):
        return f"has {len(cells)} fields where the header has {len(header)}"
    value = dict(zip(header, cells, strict=True))
    customer = {name: value.get(f"customer_{name}", "").strip() for name in _CUSTOMER_FIELDS}
    return _checked(
        external_id=value["external_id"].strip(),
        subject=value["subject"],
        body=value["body"],
        customer=customer,
        region=value.get("region", "").strip(),
        channel=value.get("channel", "").strip() or "api",
    )


def _jsonl(file: IO[bytes]) -> Iterator[Row]:
    lines = _lines(file)
    while True:
        try:
            number, line = next(lines)
        except StopIteration:
            return
        except _TooLong as error:
            yield error.line, str(error)
            lines = _lines(file, start=error.line + 1)
            continue
        if line.strip():
            yield number, _of_json(line)


def _of_json(line: str) -> incoming.NewTicket | str:
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"is no JSON ({str(error)[:120]})"
    if not isinstance(value, dict):
        return "is no JSON object"
    customer = value.get("customer")
    if not isinstance(customer, dict):
        return "customer is missing or no object"
    unknown = sorted(set(value) - _FIELDS) + [f"customer.{name}" for name in sorted(set(customer) - _CUSTOMER_FIELDS)]
    if unknown:
        return f"has unknown fields: {', '.join(unknown)[:200]}"
    metadata = value.get("metadata", {})
    if not isinstance(metadata, dict):
        return "metadata is no object"
    return _checked(
        external_id=value.get("external_id"),
        subject=value.get("subject"),
        body=value.get("body"),
        customer=customer,
        region=value.get("region", ""),
        channel=value.get("channel", "api"),
        metadata=metadata,
    )


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _checked(**values: Any) -> incoming.NewTicket | str:
    try:
        return incoming.checked(**values)
    except BadInput as error:
        return "; ".join(f"{name} {problem}" for name, problem in error.problems.items())


class _TooLong(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(f"is longer than {_LONGEST_LINE} characters")
        self.line = line


def _lines(file: IO[bytes], *, start: int = 1) -> Iterator[tuple[int, str]]:
    """The file's lines with their numbers; bytes that are no UTF-8 stay visible as such and fail the row's check."""
    number = start
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            raise _TooLong(number)
        yield number, line.decode("utf-8-sig" if number == 1 else "utf-8", errors="surrogateescape")
        number += 1
