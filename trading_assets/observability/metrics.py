"""Metrics for Prometheus: everything is read when it is asked for, so a process that ends takes nothing with it.

A ledger that cannot be read gives `trading_assets_ledger_up 0` and none of its figures: never old ones, and no zeros.
Names: the prefix `trading_assets_`, base units, `_total` on what only grows. Three names are those of the sources
(docs/howto/observe.md). Labels are few and bounded; a symbol is one only where the sources name it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from trading_assets.core import counters
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.settings import Settings
from trading_assets.ledger.database import Database
from trading_assets.ledger.mirror import MirrorState
from trading_assets.ledger.risk import RiskState
from trading_assets.observability import readings
from trading_assets.observability.latencies import Histogram, OrderHistograms
from trading_assets.observability.readings import AccountReading, Counts, Reading, Totals

PREFIX = "trading_assets_"
KEPT_S = 2.0
"""Two scrapes within this time get the same figures."""

SIZES_KEPT_S = 300.0
"""Sizes of folders are measured so often."""

_log = get_logger(__name__)

COUNTER_HELP: Mapping[str, str] = {
    counters.API_REQUESTS: "Requests to the exchange, by the connector's method and their result.",
    counters.API_SECONDS: "Seconds that requests to the exchange took.",
    counters.LIMITER_WAIT: "Seconds that requests waited for the exchange's limits.",
    counters.STREAM_CONNECTIONS: "Connections of the candle stream.",
    counters.CANDLES_CLOSED: "Closed candles that the stream brought.",
    counters.CANDLES_BY_REST: "Candles that the stream did not bring in time, read by REST.",
    counters.RESEARCH_SECONDS: "Seconds that stages of research took, by the clock.",
    counters.RESEARCH_HOURS: "Hours that stages of research have computed.",
}
"""What each counter of a process is."""


def registry(
    settings: Settings, open_ledger: Callable[[], Database], more: Iterable[Collector] = ()
) -> CollectorRegistry:
    """A registry with everything.

    Args:
        open_ledger: called at each scrape; it may raise.
        more: further collectors, as that of Dagster's runs.
    """
    found = CollectorRegistry(auto_describe=False)
    for one in (LedgerCollector(settings, open_ledger), *more):
        found.register(one)
    return found


def with_names(found: CollectorRegistry, words: Iterable[str]) -> CollectorRegistry:
    """A registry of those metrics whose names have one of the words in them; of all where there is none."""

    class Chosen(Collector):
        def collect(self) -> Iterator[Metric]:
            for metric in found.collect():
                if not words or any(word in metric.name for word in words):
                    yield metric

    chosen = CollectorRegistry(auto_describe=False)
    chosen.register(Chosen())
    return chosen


class LedgerCollector(Collector):
    """Figures of the ledger, of what processes report to it, and of the home. Safe for threads."""

    def __init__(self, settings: Settings, open_ledger: Callable[[], Database]) -> None:
        self._settings, self._open_ledger = settings, open_ledger
        self._orders, self._sizes = OrderHistograms(), _Sizes(settings)
        self._lock, self._kept, self._kept_at = threading.Lock(), list[Metric](), 0.0

    def describe(self) -> list[Metric]:
        """Nothing: names are known when they are read."""
        return []

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's."""
        with self._lock:
            if not self._kept or time.monotonic() - self._kept_at >= KEPT_S:
                self._kept, self._kept_at = self._read(), time.monotonic()
            yield from self._kept

    def _read(self) -> list[Metric]:
        began = time.process_time()
        found = [_build_info()]
        try:
            database = self._open_ledger()
            reading = readings.read(database, self._settings)
            sums = readings.totals(database)
            self._orders.update(database)
        except TradingAssetsError as error:
            _log.warning("no metrics of the ledger: %s", error)
            return [*found, _gauge("ledger_up", "Whether the ledger could be read.", 0.0)]
        found.append(_gauge("ledger_up", "Whether the ledger could be read.", 1.0))
        found += _of_accounts(reading.accounts)
        found += _of_channels(reading.accounts)
        found += _of_processes(reading.accounts)
        found += _of_totals(sums, self._settings)
        found += _of_orders(self._orders)
        found += _of_installation(reading)
        found += self._sizes.metrics(database)
        found.append(
            _gauge("scrape_cpu_seconds", "CPU time of the reading for this scrape.", time.process_time() - began)
        )
        return found


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _gauges(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float | None]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        if value is not None:
            family.add_metric(key, value)
    return family


def _counters(
    name: str, text: str, labels: tuple[str, ...], values: Counts, prefix: str = PREFIX
) -> CounterMetricFamily:
    family = CounterMetricFamily(prefix + name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _build_info() -> Metric:
    return InfoMetricFamily(PREFIX + "build", "This program.", value={"version": version("trading-assets")})


def _of_accounts(accounts: Iterable[AccountReading]) -> list[Metric]:
    every = list(accounts)

    def by(name: str, text: str, value: Callable[[AccountReading], float | None]) -> Metric:
        return _gauges(name, text, ("account", "venue"), {(a.account, a.settings.venue.value): value(a) for a in every})

    def seconds(ms: float | None) -> float | None:
        return None if ms is None else ms / 1000

    def known(value: Callable[[AccountReading], float]) -> Callable[[AccountReading], float | None]:
        return lambda a: None if a.books_ms is None else float(value(a))

    def reported(name: str) -> Callable[[AccountReading], float | None]:
        return lambda a: seconds(a.session.gauges.get(name)) if a.session is not None else None

    held = GaugeMetricFamily("active_positions", "Open positions.", labels=("exchange", "symbol"))
    for (venue, symbol), number in Count(
        (a.settings.venue.value, p.symbol) for a in every for p in a.positions
    ).items():
        held.add_metric((venue, symbol), number)
    return [
        by("equity_usd", "Balance and open PnL, as the books were read last.", lambda a: a.equity),
        by("available_usd", "Free for new margin.", lambda a: a.available),
        by("unrealised_pnl_usd", "Of all open positions.", lambda a: a.unrealised),
        by("daily_pnl_usd", "Closed since 00:00 UTC, less the funding paid.", lambda a: a.today),
        by("drawdown_ratio", "Of equity to the peak that the risk guard counts from.", lambda a: a.drawdown),
        by("drawdown_limit_ratio", "At which trading halts.", lambda a: a.settings.max_drawdown_pct / 100),
        by("exposure_usd", "Value of all open positions.", known(lambda a: sum(p.notional for p in a.positions))),
        by("open_positions", "Open positions.", known(lambda a: len(a.positions))),
        by("unprotected_positions", "Positions without a stop at the exchange.", known(lambda a: len(a.unprotected))),
        by("waiting_signals", "Signals that wait to be executed.", lambda a: float(a.waiting)),
        by("trading_on", "Whether the account is to be traded.", lambda a: float(a.is_traded)),
        by("trader_up", "Whether a process holds the lease on trading.", lambda a: float(bool(a.trader))),
        by("reconciliation_timestamp_seconds", "Up to when the books are read.", lambda a: seconds(a.books_ms)),
        by("books_age_seconds", "Since the books were read, by the venue's clock.", _books_age_s),
        by("session_heartbeat_timestamp_seconds", "The session's loop came round last.", reported("looped_wall_ms")),
        by("key_expires_timestamp_seconds", "The API key in use expires.", reported("key_expires_ms")),
        by("stream_heard_timestamp_seconds", "The candle stream was heard last.", reported("heard_wall_ms")),
        _gauges(
            "risk_state",
            "1 for the state that is in force.",
            ("account", "state"),
            {(a.account, state.value): float(_state(a) is state) for a in every for state in RiskState},
        ),
        held,
    ]


def _state(account: AccountReading) -> RiskState:
    return RiskState.HALTED if account.halted_by_file else account.state.state


def _books_age_s(account: AccountReading) -> float | None:
    return None if account.books_ms is None else max(0.0, (account.venue_now_ms - account.books_ms) / 1000)


def _of_channels(accounts: Iterable[AccountReading]) -> list[Metric]:
    held = {(a.account, name): backlog for a in accounts for name, backlog in a.channels.items()}
    labels, now_ms = ("account", "channel"), time.time() * 1000
    return [
        _gauges(
            "outbox_waiting", "Messages not delivered yet.", labels, {k: float(b.waiting) for k, b in held.items()}
        ),
        _gauges(
            "outbox_oldest_seconds",
            "Age of the oldest message that is not delivered.",
            labels,
            {k: max(0.0, (now_ms - b.since_wall_ms) / 1000) if b.since_wall_ms else 0.0 for k, b in held.items()},
        ),
        _gauges(
            "outbox_given_up",
            "Messages that were given up in the last day.",
            labels,
            {k: float(b.given_up) for k, b in held.items()},
        ),
    ]


def _of_processes(accounts: Iterable[AccountReading]) -> list[Metric]:
    sums: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in counters.LABELS}
    living: dict[tuple[str, ...], float] = {}
    for account in accounts:
        for report in account.reports:
            if not report.has_ended:
                key = (account.account, report.role)
                living[key] = living.get(key, 0.0) + 1
            for (name, *labels), value in report.counts.items():
                by = (account.account, *labels)
                sums[name][by] = sums[name].get(by, 0.0) + value
    found: list[Metric] = [_gauges("processes", "Processes that report.", ("account", "role"), living)]
    for name, values in sums.items():
        found.append(_counters(name, COUNTER_HELP[name], ("account", *counters.LABELS[name]), values))
    return found


def _of_totals(sums: Totals, settings: Settings) -> list[Metric]:
    account = ("account",)
    venue = settings.venue.value
    created: dict[tuple[str, ...], float] = {}
    for (_, symbol, side), number in sums.orders.items():
        created[venue, symbol, side] = created.get((venue, symbol, side), 0.0) + number
    return [
        _counters("orders_created", "Orders that were reserved.", ("exchange", "symbol", "side"), created, prefix=""),
        _counters("signals", "Entries that strategies found.", ("account", "strategy", "side"), sums.signals),
        _counters("refusals", "Signals that a gate has refused for good.", ("account", "gate"), sums.refusals),
        _counters("order_states", "Orders that came into a state.", ("account", "state"), sums.states),
        _counters("fills", "Executions, by kind.", ("account", "kind"), sums.fills),
        _counters("closings", "Closed positions, by reason.", ("account", "reason"), sums.closed),
        _gauges("closings_won", "Closed positions with a profit.", account, sums.won),
        _gauges("realised_pnl_usd", "PnL of all closed positions, net of fees.", account, sums.realised),
        _gauges("fees_paid_usd", "Fees paid.", account, sums.fees),
        _gauges("funding_paid_usd", "Funding paid; below 0 is received.", account, sums.funding),
        _gauges("plans", "Grids and DCA plans that have not ended.", ("account", "kind", "state"), sums.plans),
        _counters("plan_orders", "Orders of grids and DCA plans.", ("account", "kind", "purpose"), sums.plan_orders),
        _counters("dca_times", "Scheduled times of DCA plans.", ("account", "outcome"), sums.dca_times),
    ]


def _of_orders(orders: OrderHistograms) -> list[Metric]:
    def family(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, Histogram]) -> Metric:
        found = HistogramMetricFamily(name, text, labels=labels)
        for key, histogram in values.items():
            found.add_metric(key, histogram.buckets(), histogram.sum)
        return found

    stages = {key: histogram for key, histogram in orders.stages.items() if key[1] != "whole"}
    whole = {(account,): one for (account, stage), one in orders.stages.items() if stage == "whole"}
    return [
        family(PREFIX + "order_stage_seconds", "Time of an executed order's stages.", ("account", "stage"), stages),
        family(PREFIX + "candle_to_fill_seconds", "From the candle's close to the fill.", ("account",), whole),
        family(
            PREFIX + "slippage_basis_points",
            "How much worse than the signal's price the entry was.",
            ("account",),
            {(account,): one for account, one in orders.slippage.items()},
        ),
        family(
            "order_creation_latency_seconds",
            "From the reservation of an order to the exchange's answer.",
            ("account",),
            {(account,): one for account, one in orders.creation.items()},
        ),
    ]


def _of_installation(reading: Reading) -> list[Metric]:
    hours = {(stage,): hour / 1000 for stage, hour in reading.hours.items()}
    expires_ms = reading.certificate_expires_ms
    expires = {} if expires_ms is None else {(): expires_ms / 1000}

    def of_mirror(name: str, text: str, value: Callable[[MirrorState], float]) -> Metric:
        return _gauges(name, text, (), {} if reading.mirror is None else {(): value(reading.mirror)})

    return [
        _gauges("certificate_expires_timestamp_seconds", "The certificate of the UI expires.", (), expires),
        _gauges("newest_hour_timestamp_seconds", "Start of the newest hour of research.", ("stage",), hours),
        _gauge("disk_free_ratio", "Of the home's file system.", reading.disk_free),
        of_mirror("mirror_waiting_changes", "What DynamoDB does not show yet.", lambda m: m.waiting),
        of_mirror("mirror_failures", "Rounds that failed since the last that did not.", lambda m: m.failures),
        of_mirror(
            "mirror_sent_timestamp_seconds",
            "DynamoDB took something last.",
            lambda m: (m.last_sent_wall_ms or m.since_wall_ms) / 1000,
        ),
    ]


class _Sizes:
    """Bytes of the ledger and the candles, measured now and then."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: dict[tuple[str, ...], float] = {}
        self._at = 0.0

    def metrics(self, database: Database) -> list[Metric]:
        """The sizes as they were measured last."""
        if not self._at or time.monotonic() - self._at > SIZES_KEPT_S:
            self._at = time.monotonic()
            self._found = {
                ("candles",): float(folder_size(self._settings.candle_store)),
                ("ledger",): float(database.size()),
            }
        return [_gauges("size_bytes", "Of the ledger and the candle store.", ("part",), self._found)]


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; files that go meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
