"""Builds reports from the ledger, the candle store, and a source for missing candles.

The asset and the command line both call these functions. `walk_forward` and `performance` compute a report.
"""

from __future__ import annotations

from dataclasses import dataclass

from trading_assets.core.ports import MarketData
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger.database import Database
from trading_assets.market.store import CandleStore
from trading_assets.reporting import load as reading
from trading_assets.reporting import performance
from trading_assets.reporting.report import Report
from trading_assets.reporting.walk_forward import Progress, walk_forward


@dataclass(frozen=True)
class Sources:
    """Where reports read."""

    settings: Settings
    database: Database
    store: CandleStore
    market: MarketData


def make_walk_forward(
    sources: Sources, first_ms: int | None = None, last_ms: int | None = None, progress: Progress | None = None
) -> Report:
    """The walk-forward of the selections of hours from `first_ms` to `last_ms` (starts of hours, UTC ms).

    By default every hour that has selections and whose following hour has ended.

    Raises:
        DataError: there is no such hour.
    """
    hours = reading.selected_hours(sources.database, first_ms, last_ms, sources.market.now_ms())
    chosen = reading.selected(sources.database, hours)
    drawn = reading.drawn_at_random(sources.database, chosen, sources.settings.report_random_choices)
    return walk_forward(
        reading.FillingReader(sources.store, sources.market), chosen, drawn, sources.settings, progress=progress
    )


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
        sources.database, span.start_ms - HOUR_MS, span.end_ms - 2 * HOUR_MS, sources.market.now_ms()
    )
    chosen = reading.selected(sources.database, hours)
    reader = reading.FillingReader(sources.store, sources.market)
    expected = walk_forward(
        reader,
        chosen,
        reading.drawn_at_random(sources.database, chosen, sources.settings.report_random_choices),
        sources.settings,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        capital=span.opening,
        progress=progress,
    )
    return performance.performance(sources.database, reader, sources.settings, span, expected)
