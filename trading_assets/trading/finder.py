"""Looks for entry signals over all selections and inserts the new ones. What a signal is, `signals.py` decides."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from trading_assets.errors import TradingAssetsError
from trading_assets.exchange.models import Instrument
from trading_assets.ledger import books, orders
from trading_assets.ledger import signals as ledger
from trading_assets.ledger.database import Database
from trading_assets.market.timeframes import Timeframe, as_of_ms
from trading_assets.settings import Settings
from trading_assets.strategies.base import Strategy, StrategyData
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.signals import NoSignal, Signal, decide, is_due

_log = logging.getLogger(__name__)

DUPLICATE_WINDOW_MS = 300_000
SAME_PRICE = 0.001

BROKEN = "entry_signals broke its schema; see its check"
"""Why signals are rejected that do not pass their check: else the next run would find them waiting."""

Load = Callable[[str, Timeframe, Strategy], StrategyData]


@dataclass
class FinderReport:
    """What a look found: new signals (rows of `entry_signals`), and how many selections had none, by reason."""

    signals: list[Mapping[str, object]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)


def find_entry_signals(
    *,
    database: Database,
    selections: pd.DataFrame,
    load: Load,
    instruments: Mapping[str, Instrument],
    settings: Settings,
    now_ms: int,
) -> FinderReport:
    """Decide on each selection whose newest candle is fresh; insert signals that are new.

    One selection's failure is reported and never stops the others.
    """
    report, found = FinderReport(), list[Signal]()
    recent = ledger.since(
        database, settings.account, now_ms - max(DUPLICATE_WINDOW_MS, settings.min_signal_interval_s * 1000)
    )
    exits = books.closing_rows(database, settings.account, now_ms - Timeframe.D1.ms)
    occupied = {intent.symbol for intent in orders.occupying(database, settings.account)}
    last_exit = exits.groupby("symbol")["closed_ms"].max().to_dict()
    for selection in selections.sort_values("symbol").to_dict("records"):
        symbol, timeframe = str(selection["symbol"]), Timeframe(selection["timeframe"])
        hour_ms = int(selection["hour_ms"])
        instrument = instruments.get(symbol)
        if now_ms - as_of_ms(hour_ms) > settings.max_selection_age_s * 1000:
            report.skipped["selection too old"] += 1
            continue
        if instrument is None or instrument.status != "Trading":
            report.skipped["symbol is not trading"] += 1
            continue
        if symbol in occupied:
            report.skipped["its order or position is open"] += 1
            continue
        if not is_due(timeframe, now_ms, settings.signal_ttl_s):
            report.skipped["no fresh candle"] += 1
            continue
        try:
            strategy = make_strategy(str(selection["strategy"]), str(selection["parameters"]))
            decision = decide(
                hour_ms=hour_ms,
                strategy=strategy,
                parameters=str(selection["parameters"]),
                data=load(symbol, timeframe, strategy),
                instrument=instrument,
                settings=settings,
                now_ms=now_ms,
                last_exit_ms=last_exit.get(symbol),
            )
        except TradingAssetsError as error:
            report.skipped["failed"] += 1
            report.failures[symbol] = str(error)
            continue
        except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
            _log.warning("the strategy of %s failed", symbol, exc_info=True)
            report.skipped["failed"] += 1
            report.failures[symbol] = f"{type(error).__name__}: {error}"
            continue
        if isinstance(decision, NoSignal):
            report.skipped[decision.reason.split(":")[0]] += 1
            continue
        duplicate = duplicate_of(decision, recent, settings, now_ms)
        if duplicate is not None:
            report.skipped[duplicate] += 1
        else:
            found.append(decision)
    # All in one transaction: a commit waits for the disk, and thirty candles may have closed at once.
    added = ledger.insert_new(database, [signal.row for signal in found])
    report.signals = [signal.row for signal in found if signal.signal_id in added]
    report.skipped["signal exists"] += len(found) - len(report.signals)
    report.skipped += Counter()  # without reasons that were counted zero times
    return report


def duplicate_of(signal: Signal, recent: pd.DataFrame, settings: Settings, now_ms: int) -> str | None:
    """Why a signal repeats a recent one (spec section 7), or None."""
    row = signal.row
    same = recent[recent["symbol"] == row["symbol"]]
    if signal.signal_id in set(same["signal_id"]):
        return "signal exists"
    within = same[same["created_at_ms"] >= now_ms - DUPLICATE_WINDOW_MS]
    if (within["status"] == ledger.EXECUTING).any():
        return "another signal of the symbol is executing"
    entry = float(row["entry_price"])  # type: ignore[arg-type]
    alike = within[
        (within["status"] == ledger.ACTIVE)
        & (within["position_type"] == row["position_type"])
        & ((within["entry_price"] / entry - 1).abs() <= SAME_PRICE)
    ]
    if len(alike):
        return "the same signal is waiting"
    newest = same.loc[same["strategy"] == row["strategy"], "signal_timestamp_ms"].max()
    if pd.notna(newest) and int(row["signal_timestamp_ms"]) - newest < settings.min_signal_interval_s * 1000:  # type: ignore[call-overload]
        return "too soon after the strategy's last signal"
    return None
