"""Brings files into the library: reads ahead, checks, compares with what is held, keeps, and remembers which it was.

A file counts as imported once its last row is kept, so an import that was stopped goes on where it was. A file that
cannot be taken concerns itself alone.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from trading_assets.core.candles import Candles
from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.timeframes import DAY_MS, Timeframe, local_ms
from trading_assets.history import checking
from trading_assets.history.checking import Checked
from trading_assets.history.files import digest, members, published_digest, walk
from trading_assets.history.library import VERSION, FileRecord, Library
from trading_assets.history.reading import ImportOptions, parse
from trading_assets.history.rows import VALUES, CandleTable, FileFault, FundingTable, Parsed
from trading_assets.history.trades import quiet_minutes
from trading_assets.market.store import CandleStore
from trading_assets.simulator.market.replay_rules import step_of, tick_of

IMPORTED, HELD, REFUSED, WOULD = "imported", "imported before", "refused", "would be imported"

_READERS = 2
_AHEAD = 3
_SAMPLE = 2000
"""So many rows of a table tell its tick and step: more of them say the same."""


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        status: one of `IMPORTED`, `HELD`, `REFUSED`, `WOULD`.
        reason: why it was refused.
        checksum: what the archive's own checksum says, or that there is none.
    """

    path: Path
    status: str
    format: str = ""
    reason: str = ""
    sample: str = ""
    checksum: str = ""
    checked: tuple[Checked, ...] = ()
    contracts: int = 0

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.checked)

    @property
    def contradicts(self) -> bool:
        return any(one.contradicts for one in self.checked)

    def as_dict(self) -> dict[str, Any]:
        return {
            **{name: str(value) for name, value in vars(self).items() if name not in ("checked", "contracts")},
            "rows": self.rows,
            "contracts": self.contracts,
            "series": [one.as_dict() for one in self.checked],
        }


@dataclass
class Summary:
    """What an import came to."""

    outcomes: list[Outcome] = field(default_factory=list)

    def of(self, status: str) -> list[Outcome]:
        return [one for one in self.outcomes if one.status == status]

    @property
    def is_clean(self) -> bool:
        """Whether every file was taken, and none contradicts itself or what is held."""
        return not any(one.status == REFUSED or one.contradicts for one in self.outcomes)


@dataclass(frozen=True)
class Options:
    """How files are imported.

    Attributes:
        replace: rows that disagree with those that are held take their place.
        again: files are read again that were imported before.
        dry_run: nothing is kept.
        listed_at_ms: when lists of contracts were made; else as old as their files.
    """

    wanted: ImportOptions = field(default_factory=ImportOptions)
    replace: bool = False
    again: bool = False
    dry_run: bool = False
    listed_at_ms: int | None = None


Progress = Callable[[int, int, Outcome], None]


def import_files(
    library: Library,
    paths: Iterable[Path],
    options: Options,
    *,
    store: CandleStore | None = None,
    progress: Progress | None = None,
    wall_ms: Callable[[], int] = local_ms,
) -> Summary:
    """Import files and folders of files.

    Args:
        store: what research has read of the library is forgotten there where it changes.
        progress: told how many files of how many are done, and what became of the last one.

    Raises:
        ConfigurationError: a path does not exist, or no file in it may hold a table.
        StorageError: the library or the store cannot be written. What was imported before stays.
    """
    found = walk(paths)
    if not found:
        raise ConfigurationError(
            "no file there may hold a table; expected .csv, .gz, .zip, .json, .feather or .parquet"
        )
    summary = Summary()
    with library.locked():
        library.prepare()
        for path, pending in _ahead(found, lambda one: _look(library, one, options)):
            try:
                outcome = _keep(library, pending.result(), options, store, wall_ms())
            except FileFault as error:
                outcome = Outcome(path, REFUSED, reason=str(error))
            summary.outcomes.append(outcome)
            if progress is not None:
                progress(len(summary.outcomes), len(found), outcome)
    return summary


@dataclass(frozen=True)
class _Looked:
    path: Path
    sha256: str
    is_known: bool
    checksum: str = ""
    parsed: tuple[Parsed, ...] = ()


def _ahead(paths: Sequence[Path], look: Callable[[Path], _Looked]) -> Iterator[tuple[Path, Future[_Looked]]]:
    """Read some files ahead, in order: unpacking and parsing leave the interpreter free."""
    waiting: deque[tuple[Path, Future[_Looked]]] = deque()
    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as pool:
        try:
            for path in paths:
                waiting.append((path, pool.submit(look, path)))
                if len(waiting) >= _AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)


def _look(library: Library, path: Path, options: Options) -> _Looked:
    known = None if options.again else library.known(path)
    sha256 = known or digest(path)
    if known or (not options.again and library.has(sha256)):
        return _Looked(path, sha256, is_known=True)
    published = published_digest(path)
    checksum = "" if published is None else ("as published" if published == sha256 else "not the published one")
    return _Looked(path, sha256, False, checksum, tuple(parse(one, options.wanted) for one in members(path)))


def _keep(library: Library, looked: _Looked, options: Options, store: CandleStore | None, now_ms: int) -> Outcome:
    if looked.is_known:
        return Outcome(looked.path, HELD)
    names = ", ".join(dict.fromkeys(parsed.format for parsed in looked.parsed))
    sample = next((parsed.sample for parsed in looked.parsed), "")
    checked, to_store, units = list[Checked](), list[tuple[str, Candles]](), dict[str, tuple[Decimal, Decimal]]()
    payments = []
    for table in (table for parsed in looked.parsed for table in parsed.tables):
        if isinstance(table, FundingTable):
            funding, found = checking.check_funding(table)
            payments.append((table.symbol, funding))
        else:
            candles, found = checking.check_candles(table, now_ms)
            candles = _with_quiet_start(library, table, candles, found)
            held = library.read(table.symbol, table.timeframe, found.first_ms, found.end_ms)
            new = checking.compare(
                found, candles, held, replace=options.replace, with_turnover=not _is_estimated(library, table)
            )
            found.stored = len(new)
            to_store.append((table.symbol, new))
            units[table.symbol] = _units(table.symbol, candles, units.get(table.symbol))
        checked.append(found)
    contracts = [row for parsed in looked.parsed for row in parsed.contracts]
    if looked.checksum == "not the published one":
        for found in checked:
            found.notes.append("its checksum is not the published one")
    outcome = Outcome(
        looked.path,
        WOULD if options.dry_run else IMPORTED,
        names,
        "",
        sample,
        looked.checksum,
        tuple(checked),
        len(contracts),
    )
    if options.dry_run:
        return outcome
    for symbol, candles in to_store:
        library.add(symbol, candles, now_ms)
    for symbol, funding in payments:
        library.add_funding(symbol, funding, now_ms)
    if store is not None:
        for found in checked:
            store.forget(found.symbol, found.first_ms, found.end_ms)
    _remember(library, looked, outcome, units, contracts, options, now_ms)
    return outcome


def _remember(
    library: Library,
    looked: _Looked,
    outcome: Outcome,
    units: Mapping[str, tuple[Decimal, Decimal]],
    contracts: Sequence[Any],
    options: Options,
    now_ms: int,
) -> None:
    stat = looked.path.stat()
    record = FileRecord(
        sha256=looked.sha256,
        path=str(looked.path.resolve()),
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        format=outcome.format,
        importer=VERSION,
        imported_ms=now_ms,
        rows=outcome.rows,
        checksum=outcome.checksum,
        contradicts=outcome.contradicts,
    )
    series = [{**one.as_dict(), "estimated": "turnover estimated" in one.notes} for one in outcome.checked]
    as_of_ms = options.listed_at_ms if options.listed_at_ms is not None else stat.st_mtime_ns // 1_000_000
    library.remember(record, series, units, contracts, as_of_ms)


def _is_estimated(library: Library, table: CandleTable) -> bool:
    return table.estimated or library.is_estimated(table.symbol, table.timeframe)


def _with_quiet_start(library: Library, table: CandleTable, candles: Candles, found: Checked) -> Candles:
    """Of trades, the minutes between the newest candle that is held and the first trade of the file."""
    if not table.of_trades:
        return candles
    first = int(candles.start_ms[0])
    before = library.read(table.symbol, Timeframe.M1, first - DAY_MS, first)
    if not len(before) or int(before.end_ms[-1]) == first:
        return candles
    quiet = quiet_minutes(int(before.end_ms[-1]), float(before.close[-1]), first)
    if not len(quiet["start_ms"]):
        return candles
    name = "minutes without a trade, flat"
    found.counts[name] = found.counts.get(name, 0) + len(quiet["start_ms"])
    found.first_ms = int(quiet["start_ms"][0])
    joined = {one: np.concatenate([quiet[one], getattr(candles, one)]) for one in ("start_ms", *VALUES)}
    return Candles(Timeframe.M1, **joined)


def _units(symbol: str, candles: Candles, before: tuple[Decimal, Decimal] | None) -> tuple[Decimal, Decimal]:
    """Tick and quantity step that the numbers show; the finer ones of several tables."""
    every = max(len(candles) // _SAMPLE, 1)
    prices = np.concatenate([getattr(candles, name)[::every] for name in VALUES[:4]])
    try:
        tick = tick_of(symbol, prices)
    except ConfigurationError:  # more decimals than any venue has: prices were divided or adjusted
        tick = Decimal("1e-10")
    step = step_of(candles.volume[::every], float(np.median(candles.close)))
    return (tick, step) if before is None else (min(tick, before[0]), min(step, before[1]))


def write_report(summary: Summary, path: Path) -> None:
    """Everything that was found, as JSON.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.write_text(json.dumps([one.as_dict() for one in summary.outcomes], indent=1))
    except OSError as error:
        raise StorageError(f"the report {path} cannot be written: {error.strerror or error}") from error
