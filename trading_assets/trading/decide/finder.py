"""Evaluates all selections for entry signals, and inserts the new ones. What a signal is, `entry` decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from trading_assets.core import trace
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.exits import AT_CLOSE_WORDS
from trading_assets.core.foreign_text import get_logger, plain
from trading_assets.core.messages import Kind, Message
from trading_assets.core.models import ContractStatus, Instrument, is_leaving
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe, as_of_ms, iso, local_ms
from trading_assets.ledger import evaluations, exit_decisions, orders, signals
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.evaluations import Evaluation
from trading_assets.ledger.evidence import Decided
from trading_assets.market.fingerprint import series_read
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.decide.entry import NoSignal, Signal, decide, is_due, newest_close_ms

_log = get_logger(__name__)

DUPLICATE_WINDOW_MS = 300_000
SAME_PRICE = 0.001

_FLAG = "a flag is off"

Load = Callable[[str, Timeframe, Strategy], StrategyData]


@dataclass
class FinderReport:
    """What an evaluation found: new signals (rows of `entry_signals`), and how many selections had none, by reason.

    `outcomes` has each coin whose candle was due, with the reason why it was not decided, or its signal was dropped. It
    is empty where the coin was decided.
    """

    signals: list[Mapping[str, object]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)

    def skip(self, symbol: str, reason: str) -> None:
        """Count a coin without a signal, for a reason other than its strategy's decision."""
        self.skipped[reason] += 1
        self.outcomes[symbol] = reason


def find_entry_signals(
    *,
    database: Database,
    selections: Sequence[Mapping[Any, Any]],
    load: Load,
    instruments: Mapping[str, Instrument],
    settings: Settings,
    now_ms: int,
    run_id: str | None = None,
    hurry: Callable[[FinderReport], None] | None = None,
) -> FinderReport:
    """Decide on each selection whose newest candle is fresh. Insert the signals that are new.

    One selection's failure is reported and never stops the others.

    Args:
        selections: rows of `strategy_selections`.
        run_id: the Dagster run that evaluates.
        hurry: called with the report as soon as new signals can be sent; what can wait is written after it.
    """
    report, found, decided = FinderReport(), list[Signal](), dict[str, Decided]()
    recent = signals.recent(
        database, settings.account, now_ms - max(DUPLICATE_WINDOW_MS, settings.min_signal_interval_s * 1000)
    )
    occupied = {intent.symbol for intent in orders.occupying(database, settings.account)}
    last_exit = _last_exits(database, settings.account, now_ms - Timeframe.D1.ms)
    waited_until = orders.ended_waits(database, settings.account, now_ms - Timeframe.D1.ms)
    for selection in sorted(selections, key=itemgetter("symbol")):
        symbol, timeframe = str(selection["symbol"]), Timeframe(selection["timeframe"])
        hour_ms = int(selection["hour_ms"])
        instrument = instruments.get(symbol)
        if now_ms - as_of_ms(hour_ms) > settings.max_selection_age_s * 1000:
            report.skip(symbol, "selection too old")
            continue
        if instrument is None or instrument.status is not ContractStatus.TRADING:
            report.skip(symbol, "symbol is not trading")
            continue
        if is_leaving(instrument.delivery_ms, now_ms, settings.min_days_to_delivery):
            report.skip(symbol, "its delivery is announced")
            continue
        if symbol in occupied:
            report.skip(symbol, "its order or position is open")
            continue
        if settings.strategies and str(selection["strategy"]) not in settings.strategies:
            report.skip(symbol, "its strategy is none of the account's")
            continue
        if settings.flags.forbidding(symbol, ""):
            report.skip(symbol, _FLAG)
            continue
        if not is_due(timeframe, now_ms, settings.signal_ttl_s):
            report.skipped["no fresh candle"] += 1
            continue
        if waited_until.get(symbol) == newest_close_ms(timeframe, now_ms):
            report.skip(symbol, "an entry was dropped on this bar")
            continue
        try:
            strategy = make_strategy(str(selection["strategy"]), str(selection["parameters"]))
            data = load(symbol, timeframe, strategy)
            decision = decide(
                hour_ms=hour_ms,
                strategy=strategy,
                parameters=str(selection["parameters"]),
                data=data,
                instrument=instrument,
                settings=settings,
                now_ms=now_ms,
                last_exit_ms=last_exit.get(symbol),
            )
        except TradingAssetsError as error:
            report.skip(symbol, "failed")
            report.failures[symbol] = str(error)
            continue
        except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
            _log.warning("the strategy of %s failed", symbol, exc_info=True)
            report.skip(symbol, "failed")
            report.failures[symbol] = f"{type(error).__name__}: {error}"
            continue
        if isinstance(decision, NoSignal):
            reason = decision.reason.split(":")[0]
            report.skip(symbol, reason)
            if decision.is_strategys:
                report.outcomes[symbol] = ""
            continue
        if settings.flags.forbidding(symbol, str(decision.row["position_type"])):
            report.skip(symbol, _FLAG)
            continue
        report.outcomes[symbol] = ""
        duplicate = duplicate_of(decision, recent.get(symbol, ()), settings, now_ms)
        if duplicate is not None:
            report.skip(symbol, duplicate)
        else:
            found.append(decision)
            followed = {str(name): value for name, value in selection.items()}
            read = series_read(data, settings.symbols.btc)
            decided[decision.signal_id] = Decided(followed, read, decision.indicators)
    # All in one transaction: a commit waits for the disk, and thirty candles may have closed at once.
    rows = [{**signal.row, "run_id": run_id} for signal in found]
    added = signals.insert_new(
        database, rows, btc=settings.symbols.btc, decided=decided, told=signal_message, wall_ms=local_ms()
    )
    report.signals = [row for row in rows if row["signal_id"] in added]
    report.skipped["signal exists"] += len(found) - len(report.signals)
    report.skipped += Counter()  # without reasons that were counted zero times
    if report.signals and hurry is not None:
        hurry(report)
    for row in report.signals:
        _tell(row, now_ms)
    if report.outcomes:
        hour_ms = max(int(one["hour_ms"]) for one in selections)
        evaluations.add(database, settings.account, Evaluation(now_ms, hour_ms, report.outcomes))
    return report


def _tell(row: Mapping[str, object], now_ms: int) -> None:
    """The first line and the first span of a signal's trace: from the end of its candle to the row in the ledger."""
    signal_id, closed_ms = str(row["signal_id"]), int(str(row["signal_timestamp_ms"]))
    fields = {name: str(row[name]) for name in ("account", "symbol", "timeframe", "strategy")}
    side = "Buy" if row["position_type"] == "LONG" else "Sell"
    extra = {**fields, "signal_id": signal_id, "run_id": row["run_id"], "side": side, "price": row["entry_price"]}
    _log.info(
        "signal: %s %s %s on the candle that closed %s",
        *(side, fields["symbol"], fields["timeframe"], iso(closed_ms)),
        extra={**extra, "candle_closed": iso(closed_ms), "event": "signal_found"},
    )
    lasted_s = (now_ms - closed_ms) / 1000
    trace.ended_span("decide", {**fields, "side": side}, signal_id=signal_id, lasted_s=lasted_s)


def _last_exits(database: Database, account: str, since_ms: int) -> dict[str, int]:
    """In which moment each symbol's last position was closed. What left at a close has left on that bar, though it was
    done a moment later."""
    found = dict[str, int]()
    with database.read() as connection:
        exits = execution_ledger.exits_since(connection, account, since_ms)
        left = exit_decisions.left_at(connection, account, {row.signal_id for row in exits if row.signal_id})
    for symbol, signal, reason, closed_ms in exits:
        decision, moment = left.get(signal), closed_ms
        if decision is not None and decision.kind == reason and reason in AT_CLOSE_WORDS:
            moment = min(moment, decision.bar_close_ms - 1)
        found[symbol] = max(moment, found.get(symbol, moment))
    return found


def signal_message(row: Mapping[str, object]) -> Message:
    """What people are told of a new signal; nothing is ordered yet."""
    facts = {
        "symbol": str(row["symbol"]),
        "side": str(row["position_type"]),
        "timeframe": str(row["timeframe"]),
        "strategy": str(row["strategy"]),
        "entry": f"{row['entry_price']:.8g}",
        "stop": f"{row['stop_loss']:.8g}",
        "target": f"{row['take_profit']:.8g}",
        "confidence": f"{row['confidence']:.0f}",
    }
    facts = {name: plain(value) for name, value in facts.items()}
    title = f"signal: {facts['side']} {facts['symbol']} {facts['timeframe']}"
    body = "{strategy}: entry {entry}, stop {stop}, target {target}, confidence {confidence}".format_map(facts)
    return Message(title, body, Kind.SIGNAL, is_kept=True, facts=facts)


def duplicate_of(signal: Signal, recent: Sequence[signals.RecentSignal], settings: Settings, now_ms: int) -> str | None:
    """Return why a signal repeats one of its symbol's recent ones; None where it does not."""
    row = signal.row
    if any(one.signal_id == signal.signal_id for one in recent):
        return "signal exists"
    within = [one for one in recent if one.created_at_ms >= now_ms - DUPLICATE_WINDOW_MS]
    if any(one.status == signals.EXECUTING for one in within):
        return "another signal of the symbol is executing"
    entry = float(row["entry_price"])  # type: ignore[arg-type]
    alike = (
        one.status == signals.ACTIVE
        and one.position_type == row["position_type"]
        and abs(one.entry_price / entry - 1) <= SAME_PRICE
        for one in within
    )
    if any(alike):
        return "the same signal is waiting"
    earlier = [one.signal_timestamp_ms for one in recent if one.strategy == row["strategy"]]
    closed_ms = int(row["signal_timestamp_ms"])  # type: ignore[call-overload]
    if earlier and closed_ms - max(earlier) < settings.min_signal_interval_s * 1000:
        return "too soon after the strategy's last signal"
    return None
