"""What each process has counted, so that one exporter can show it: a row a process, written every few seconds.

The counts of a process that has ended are added to one row of its account and role before its own row goes, so their
sum never falls. Times are UTC ms of the local clock.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from trading_assets.core.counters import LABELS, PROCESS, Counters, Key
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import process_reports as table

SESSION, RECONCILE, SUBMIT, RESEARCH = "session", "reconcile", "submit", "research"
"""What a process does."""

REPORT_EVERY_S = 5.0
DEAD_AFTER_MS = 10 * 60_000
"""A process that has not reported for so long has ended."""

ENDED = "ended"
"""The row that has the counts of processes that have ended begins with this word."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProcessReport:
    """A process as it reported last.

    Attributes:
        role: what it does: session, reconcile, serve ...
        counts: by name and values of labels; see `core.counters`.
        gauges: values of now, by name; of a process that has ended: none.
    """

    process: str
    account: str
    role: str
    started_wall_ms: int
    updated_wall_ms: int
    counts: Mapping[Key, float] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether it is the sum of those that have."""
        return self.process.startswith(ENDED)


def read(database: Database, account: str | None = None) -> list[ProcessReport]:
    """Return what the processes of an account reported, or those of all accounts."""
    statement = sa.select(table).order_by(table.c.account, table.c.process)
    if account is not None:
        statement = statement.where(table.c.account == account)
    with database.read() as connection:
        return [_report(row) for row in connection.execute(statement)]


def add(database: Database, report: ProcessReport) -> None:
    """Keep the first report of a process."""
    with database.write() as connection:
        connection.execute(sa.insert(table).values(process=report.process, **_values(report)))


def renew(database: Database, report: ProcessReport) -> bool:
    """Put a report in place of the process's one before. Return False where that is gone: it was taken for dead."""
    with database.write() as connection:
        found = connection.execute(sa.update(table).where(table.c.process == report.process).values(_values(report)))
        return found.rowcount == 1


def fold_ended(database: Database, wall_ms: int, ends: str = "") -> int:
    """Add the counts of processes that have ended to the row of their sum. Return how many there were.

    Args:
        ends: name of a process that ends now.
    """
    dead = (table.c.updated_wall_ms < wall_ms - DEAD_AFTER_MS) & ~table.c.process.startswith(ENDED)
    dead |= table.c.process == ends
    with database.write(one_at_a_time="process reports") as connection:
        gone = [_report(row) for row in connection.execute(sa.select(table).where(dead))]
        for report in gone:
            _add_to_ended(connection, report, wall_ms)
            connection.execute(sa.delete(table).where(table.c.process == report.process))
    return len(gone)


def add_ended(database: Database, account: str, role: str, counts: Mapping[Key, float], wall_ms: int) -> None:
    """Add what was counted by something that has ended, and was too short for reports of its own."""
    with database.write(one_at_a_time="process reports") as connection:
        _add_to_ended(connection, ProcessReport("", account, role, wall_ms, wall_ms, counts), wall_ms)


def _add_to_ended(connection: sa.Connection, report: ProcessReport, wall_ms: int) -> None:
    name = f"{ENDED}:{report.account}:{report.role}"
    before = connection.execute(sa.select(table).where(table.c.process == name)).first()
    sums = dict(_report(before).counts) if before is not None else {}
    for key, value in report.counts.items():
        sums[key] = sums.get(key, 0.0) + value
    total = ProcessReport(name, report.account, report.role, report.started_wall_ms, wall_ms, sums)
    if before is None:
        connection.execute(sa.insert(table).values(process=name, **_values(total)))
    else:
        connection.execute(sa.update(table).where(table.c.process == name).values(_values(total)))


@contextlib.contextmanager
def reporting(
    database: Database,
    account: str,
    role: str,
    *,
    counters: Counters = PROCESS,
    gauges: Callable[[], Mapping[str, float]] = dict,
    every_s: float = REPORT_EVERY_S,
) -> Iterator[None]:
    """Report what this process counts from now on, in a thread of its own. A ledger that fails is tried again.

    Args:
        gauges: values of now; called in that thread.
    """
    reporter = _Reporter(database, account, role, counters, gauges)
    ends = threading.Event()

    def run() -> None:
        with contextlib.suppress(TradingAssetsError):
            fold_ended(database, local_ms())
        reporter.report()
        while not ends.wait(every_s):
            reporter.report()

    thread = threading.Thread(target=run, name="process-report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join(every_s)
        reporter.end()


class _Reporter:
    """Reports what has been counted since it was made."""

    def __init__(
        self,
        database: Database,
        account: str,
        role: str,
        counters: Counters,
        gauges: Callable[[], Mapping[str, float]],
    ) -> None:
        self._database, self._account, self._role, self._counters, self._gauges = (
            database, account, role, counters, gauges,
        )  # fmt: skip
        self._began_ms, self._name = local_ms(), uuid.uuid4().hex
        self._base = counters.read()
        self._told: dict[Key, float] | None = None
        """All counts at the last report; None before the first."""

    def report(self, *, is_last: bool = False) -> None:
        """Write a report. What cannot be written now is in the next one. The last one asks nobody for gauges."""
        try:
            now, gauges = self._counters.read(), {} if is_last else self._gauges()
            if self._told is None:
                add(self._database, self._since(self._base, now, gauges))
            elif not renew(self._database, self._since(self._base, now, gauges)):
                # A process that slept for long was taken for dead: what it told is in the sum of those.
                self._base, self._name = self._told, uuid.uuid4().hex
                add(self._database, self._since(self._base, now, gauges))
            self._told = now
        except TradingAssetsError as error:
            _log.debug("what this process counts was not written: %s", error)

    def end(self) -> None:
        """Report for the last time."""
        self.report(is_last=True)
        with contextlib.suppress(TradingAssetsError):
            fold_ended(self._database, local_ms(), self._name)

    def _since(self, base: Mapping[Key, float], now: Mapping[Key, float], gauges: Mapping[str, float]) -> ProcessReport:
        counts = {key: value - base.get(key, 0.0) for key, value in now.items()}
        return ProcessReport(self._name, self._account, self._role, self._began_ms, local_ms(), counts, gauges)


def _values(report: ProcessReport) -> dict[str, object]:
    return {
        "account": report.account,
        "role": report.role,
        "started_wall_ms": report.started_wall_ms,
        "updated_wall_ms": report.updated_wall_ms,
        "counts": json.dumps([[*key, value] for key, value in sorted(report.counts.items())]),
        "gauges": json.dumps(dict(report.gauges)),
    }


def _report(row: sa.Row[tuple[object, ...]]) -> ProcessReport:
    counts = {tuple(one[:-1]): float(one[-1]) for one in json.loads(row.counts)}
    # A counter of another version of this program is left out: its labels are not known here.
    known = {key: value for key, value in counts.items() if len(LABELS.get(key[0], ())) == len(key) - 1}
    known = {key: value for key, value in known.items() if key[0] in LABELS}
    return ProcessReport(
        row.process,
        row.account,
        row.role,
        row.started_wall_ms,
        row.updated_wall_ms,
        known,
        json.loads(row.gauges),
    )
