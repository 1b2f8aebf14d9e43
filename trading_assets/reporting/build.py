"""Builds reports from the ledger, the candle store, and a source for missing candles.

The asset and the command line both call these functions. `walk_forward` and `performance` compute a report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trading_assets.backtesting.costs import declared_entries
from trading_assets.core.errors import ConfigurationError, DataError, StorageError
from trading_assets.core.objects import open_objects
from trading_assets.core.ports import MarketData, PastMarket
from trading_assets.core.private_files import path_part, private_folder, write_private
from trading_assets.core.schemas import MARKET_SCAN, STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, as_of_ms, iso, to_datetime
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions
from trading_assets.ledger.selections import empty_hours
from trading_assets.market.loading import CandleReader
from trading_assets.market.store import CandleStore, Progress
from trading_assets.reporting import comparison, performance, score_study
from trading_assets.reporting import load as reading
from trading_assets.reporting.compare_page import render as render_comparison
from trading_assets.reporting.forward_test import run_forward_tests
from trading_assets.reporting.page import render
from trading_assets.reporting.report import Report
from trading_assets.reporting.saved import as_json, read_saved
from trading_assets.reporting.score_study import Cell, Earned
from trading_assets.reporting.strategy_page import render as render_strategy
from trading_assets.reporting.trade_book import trade_book
from trading_assets.reporting.trades import Ending
from trading_assets.reporting.walk_forward import walk_forward, walk_forward_costs


@dataclass(frozen=True)
class Sources:
    """Where reports read.

    Attributes:
        market: where missing candles are fetched; None: what is held is all there is, and "now" is the end of the
            newest scanned hour.
    """

    settings: Settings
    database: Database
    store: CandleStore
    market: MarketData | None

    def reader(self) -> CandleReader:
        """Candles and funding, fetched first where that is wanted."""
        return self.store if self.market is None else reading.FillingReader(self.store, self.market)

    def endings(self) -> dict[str, Ending]:
        """Contracts that were delisted, as far as the market or the ledger tells."""
        market = self.market or reading.HeldMarket(self.store, self.now_ms())
        return reading.endings(market, self.database, self.settings.venue.value)

    def now_ms(self) -> int:
        """Until when hours are followed."""
        if self.market is not None:
            return self.market.now_ms()
        hour = latest_hour_ms(self.database, MARKET_SCAN)
        return 0 if hour is None else as_of_ms(hour)


def make_walk_forward(
    sources: Sources, first_ms: int | None = None, last_ms: int | None = None, progress: Progress | None = None
) -> Report:
    """The walk-forward of the selections of hours from `first_ms` to `last_ms` (starts of hours, UTC ms).

    By default every hour that has selections and whose following hour has ended.

    Raises:
        DataError: there is no such hour.
    """
    hours = reading.selected_hours(sources.database, first_ms, last_ms, sources.now_ms())
    chosen = reading.selected(sources.database, hours)
    drawn = reading.drawn_at_random(sources.database, chosen, sources.settings.report_random_choices)
    report = walk_forward(
        sources.reader(),
        chosen,
        drawn,
        sources.settings,
        known_rules=reading.hours_of_known_rules(sources.database, hours),
        empty=len(empty_hours(sources.database, hours[0], hours[-1])),
        endings=sources.endings(),
        prices=sources.market.described() if isinstance(sources.market, PastMarket) else "",
        progress=progress,
    )
    if report.main.trades.empty:
        return report
    # By now the store holds what the trades were found on: nothing is fetched for a picture.
    title = f"Trades of the walk-forward, {iso(report.start_ms)[:16]} to {iso(report.end_ms)[:16]}"
    return replace(report, trade_page=trade_book(title, report.main.trades, sources.store))


def strategy_page(
    sources: Sources,
    strategy: str,
    first_ms: int | None = None,
    last_ms: int | None = None,
    progress: Progress | None = None,
    name: str = "",
) -> Path:
    """Write the page of one strategy: its part of the walk-forward of these hours. Return where it lies.

    Args:
        name: of the file; by default it is `strategy_NAME`, and replaces the one before.

    Raises:
        ConfigurationError: the name is no file's, or is taken.
        DataError: there is no such hour, or the strategy was not selected in any of them.
    """
    require_free(sources.settings, name)
    report = make_walk_forward(sources, first_ms, last_ms, progress)
    hours = reading.selected_hours(sources.database, first_ms, last_ms, sources.now_ms())
    rows = read_partitions(sources.database, STRATEGY_SELECTIONS, hours)
    own = rows[rows["strategy"] == strategy]
    if own.empty:
        names = ", ".join(sorted(rows["strategy"].unique())) or "none"
        raise DataError(f"strategy {strategy!r} was not selected in these {len(hours)} hours; selected were {names}")
    trades = report.main.trades
    page = render_strategy(
        strategy, trades[trades["strategy"] == strategy].reset_index(drop=True), own, report.start_ms, report.end_ms
    )
    folder = sources.settings.home / "reports"
    private_folder(folder)
    path = folder / f"{name or 'strategy_' + path_part(strategy, 'strategy')}.html"
    write_private(path, page)
    _copy_to_store(sources.settings, [path])
    return path


def make_performance(
    sources: Sources, first_ms: int | None = None, last_ms: int | None = None, progress: Progress | None = None
) -> Report:
    """What was really traded in the hours from `first_ms` to `last_ms` (starts of hours), beside its walk-forward.

    By default from the first executed signal to the last reading of the books.

    Raises:
        DataError: nothing was traded, or no selection was made in it.
    """
    span = performance.live_span(sources.database, sources.settings.account, first_ms, last_ms)
    # The hour whose selection is followed from the start on is the one before it.
    hours = reading.selected_hours(
        sources.database, span.start_ms - HOUR_MS, span.end_ms - 2 * HOUR_MS, sources.now_ms()
    )
    chosen = reading.selected(sources.database, hours)
    reader = sources.reader()
    expected = walk_forward(
        reader,
        chosen,
        reading.drawn_at_random(sources.database, chosen, sources.settings.report_random_choices),
        sources.settings,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        capital=span.opening,
        known_rules=reading.hours_of_known_rules(sources.database, hours),
        empty=len(empty_hours(sources.database, hours[0], hours[-1])),
        endings=sources.endings(),
        progress=progress,
    )
    return performance.performance(sources.database, reader, sources.settings, span, expected)


def make_score_study(
    sources: Sources, first_ms: int | None = None, last_ms: int | None = None, progress: Progress | None = None
) -> tuple[list[Cell], list[Earned]]:
    """The figures of the selections of hours from `first_ms` to `last_ms` against what following them earned.

    Raises:
        DataError: there is no such hour.
    """
    hours = reading.selected_hours(sources.database, first_ms, last_ms, sources.now_ms())
    chosen = reading.selected(sources.database, hours)
    settings = sources.settings
    tested = run_forward_tests(
        sources.reader(),
        chosen,
        end_ms=as_of_ms(hours[-1]) + HOUR_MS,
        min_confidence=settings.min_confidence,
        costs=walk_forward_costs(settings),
        entered_by=declared_entries(settings),
        together=True,
        endings=sources.endings(),
        progress=progress,
    )
    rows = read_partitions(sources.database, STRATEGY_SELECTIONS, hours)
    done = score_study.with_figures(score_study.followed(rows, tested))
    return score_study.study(done), score_study.earned(done)


_CHARTS = "_trades.html"


@dataclass(frozen=True)
class Written:
    """The page, its trades as CSV (`figures.TRADE_COLUMNS`), its figures as JSON (`saved`), and each trade on its
    candles, where that was made."""

    page: Path
    trades: Path
    figures: Path
    charts: Path | None = None


def require_free(settings: Settings, name: str) -> None:
    """Check the name of a report's files before the report is made; an empty one is none.

    Raises:
        ConfigurationError: it is no file's name, is of the kind that reports get without one, or is taken.
    """
    if not name:
        return
    if not _NAME.fullmatch(name) or _BY_HOURS.fullmatch(name):
        raise ConfigurationError(
            f"a report cannot be named {name!r}; expected 1 to 64 letters, digits, - and _, such as wide_stops"
        )
    folder = settings.home / "reports"
    taken = [folder / f"{name}{ending}" for ending in _ENDINGS if (folder / f"{name}{ending}").exists()]
    if taken:
        raise ConfigurationError(f"{taken[0]} is there already; choose another name, or remove it")


def write(report: Report, settings: Settings, name: str = "") -> Written:
    """Write a report's files, atomically; the same report gives the same bytes under the same names.

    A named account has pages of its own. Of each kind the newest `reports_kept` pages stay, and all that have a name of
    their own.

    With `store_url` they are copied there, too; all of them stay there.

    Args:
        name: of the files; by default they are named by kind and hours, and replace those of the same hours.

    Raises:
        ConfigurationError: see `require_free`.
        OSError: the directory cannot be written.
        StorageError: they are written, and could not be copied.
    """
    require_free(settings, name)
    folder = settings.home / "reports"
    private_folder(folder)
    kind = f"{report.kind}-{settings.account}" if settings.is_named else report.kind
    name = name or f"{kind}_{_stamp(report.start_ms)}_{_stamp(report.end_ms)}"
    charts = folder / f"{name}{_CHARTS}" if report.trade_page is not None else None
    written = Written(folder / f"{name}.html", folder / f"{name}.csv", folder / f"{name}.json", charts)
    write_private(written.trades, report.main.trades.to_csv(index=False, lineterminator="\n"))
    write_private(written.figures, as_json(report))
    if report.trade_page is not None and charts is not None:
        write_private(charts, report.trade_page.html)
    write_private(written.page, render(report, "" if charts is None else charts.name))
    _keep_newest(folder, kind, settings.reports_kept, written.page)
    files = (written.trades, written.figures, written.charts, written.page)
    _copy_to_store(settings, [path for path in files if path is not None])
    return written


def _copy_to_store(settings: Settings, paths: Sequence[Path]) -> None:
    if settings.store_url is None:
        return
    objects = open_objects(settings, "reports")
    try:
        for path in paths:
            objects.put(path.name, path.read_bytes())
    except StorageError as error:
        raise StorageError(f"the report is in {paths[-1]}, and not in {objects.url()}: {error}") from error


def _stamp(time_ms: int) -> str:
    return to_datetime(time_ms).strftime("%Y%m%dT%H%M")


def _keep_newest(folder: Path, kind: str, kept: int, newest: Path) -> None:
    others = [
        path
        for path in folder.glob(f"{kind}_*.html")
        if (found := _BY_HOURS.fullmatch(path.stem)) and found[1] == kind and path != newest
    ]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in others[kept - 1 :]:
        path.unlink(missing_ok=True)
        path.with_suffix(".csv").unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        path.with_name(f"{path.stem}{_CHARTS}").unlink(missing_ok=True)


def compare_reports(first: str, second: str, settings: Settings) -> tuple[comparison.Difference, Path]:
    """Hold two saved reports against each other, and write the page of that. Return both.

    Args:
        first, second: path of a page, of its JSON or CSV, or the name of one in the folder of reports.

    Raises:
        DataError: one is not there, has no figures, or both are the same.
        OSError: the page cannot be written.
    """
    folder = settings.home / "reports"
    found = comparison.compare(*(read_saved(_report_file(name, folder)) for name in (first, second)))
    private_folder(folder)
    path = folder / f"compare_{found.first.name}_with_{found.second.name}.html"
    write_private(path, render_comparison(found))
    _copy_to_store(settings, [path])
    return found, path


def _report_file(name: str, folder: Path) -> Path:
    given = Path(name).expanduser()
    if given.suffix not in _ENDINGS:
        given = given.with_name(f"{given.name}.json")
    return given if given.with_suffix(".json").exists() else folder / given.name


_ENDINGS = (".html", ".json", ".csv")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_BY_HOURS = re.compile(r"(.+)_\d{8}T\d{4}_\d{8}T\d{4}")
"""The kind of a report, and its hours: what files are named by."""
