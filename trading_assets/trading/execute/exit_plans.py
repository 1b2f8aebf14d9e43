"""Asks the exit plans of open positions at each close of their timeframe, and carries out what they say.

What a plan says is computed anew from the candles since the signal (`decide.exits`), so nothing but decisions is kept.
It is asked whatever the state of trading, halted too: exits reduce risk.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field

import numpy as np

from trading_assets.core.candles import BoolArray, Candles
from trading_assets.core.errors import ExchangeError, TradingAssetsError
from trading_assets.core.exits import ExitReason
from trading_assets.core.foreign_text import get_logger
from trading_assets.ledger import exit_decisions
from trading_assets.ledger.exit_decisions import LEVELS, OPEN, PARTS, ExitDecision, Planned
from trading_assets.market.loading import load_since
from trading_assets.market.store import CandleStore
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide import exits as plans
from trading_assets.trading.decide.entry import newest_close_ms
from trading_assets.trading.decide.exits import DeclaredExits
from trading_assets.trading.saga import exits
from trading_assets.trading.saga.closers import position_of

_log = get_logger(__name__)

Asked = MutableMapping[str, int]
"""Of each intent, by link, the close of the newest candle that its plan was asked at, UTC ms."""


@dataclass
class ExitReport:
    """What was decided, by symbol, what failed, likewise, and the symbols whose newest candle is not there yet."""

    decided: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)


@account_refusals.told
def follow_exit_plans(context: ExecutionContext, store: CandleStore, asked: Asked | None = None) -> ExitReport:
    """Ask each plan whose candle has closed, record what it says, and carry it out. One position's failure stops none.

    Args:
        asked: kept by the caller from one call to the next: a plan is asked once a candle.

    Raises:
        WrongBooksError: the ledger is not that of the key's account; nothing was done.
        ExchangeError: the exchange's time cannot be read.
    """
    context.require_bound()
    report, asked = ExitReport(), {} if asked is None else asked
    held = exit_decisions.planned(context.database, context.settings.account)
    if not held:
        report.failed = exits.go_on(context)
        return report
    now_ms = context.exchange.now_ms()
    for link in asked.keys() - {one.intent.order_link_id for one in held}:
        del asked[link]
    for one in held:
        symbol = one.intent.symbol
        try:
            _follow(context, store, one, now_ms, asked, report)
        except TradingAssetsError as error:
            report.failed[symbol] = str(error)
        except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
            _log.warning("the exit plan of %s failed", symbol, exc_info=True)
            report.failed[symbol] = f"{type(error).__name__}: {error}"
    report.failed |= exits.go_on(context)
    return report


def _follow(
    context: ExecutionContext, store: CandleStore, one: Planned, now_ms: int, asked: Asked, report: ExitReport
) -> None:
    intent, declared = one.intent, DeclaredExits.from_json(one.exit_plan)
    close_ms, link = newest_close_ms(one.timeframe, now_ms), intent.order_link_id
    if asked.get(link, 0) >= close_ms or (intent.may_rest and not one.filled_ms):
        return  # asked already; or the books do not tell yet in which bar it was filled
    if declared.plan.parts and link not in asked:
        levels = (intent.stop_loss, intent.take_profit)
        detail = f"{len(declared.plan.parts)} targets with a part of the quantity"
        exits.decide(
            context, intent, ExitDecision(link, one.opened_ms, PARTS, one.entry, *levels, detail, OPEN, now_ms)
        )
    if close_ms <= one.opened_ms:
        asked[link] = close_ms
        return
    candles, left, why = _seen(context, store, one, declared, now_ms)
    if not len(candles) or int(candles.end_ms[-1]) != close_ms:
        report.late.append(intent.symbol)
        return
    decision = _decision(context, one, candles, left, now_ms)
    if decision is not None and exits.decide(context, intent, decision):
        report.decided[intent.symbol] = f"{decision.kind}: {decision.detail}"
    if why:  # the strategy could not be asked; what its plan says counts all the same
        report.failed[intent.symbol] = why
        return
    asked[link] = close_ms


def _seen(
    context: ExecutionContext, store: CandleStore, one: Planned, declared: DeclaredExits, now_ms: int
) -> tuple[Candles, BoolArray, str]:
    """The candles since the signal's, whether the exit condition holds at each, and why it cannot be told."""
    symbol, timeframe, start_ms = one.intent.symbol, one.timeframe, one.opened_ms - one.timeframe.ms
    why = ""
    if declared.has_conditions:
        try:
            strategy = make_strategy(one.strategy, one.parameters)
            needs = strategy.needs()
            data = load_since(context.exchange, store, symbol, timeframe, needs, one.opened_ms, now_ms)
            signals = strategy.signals(data)
            held = signals.exit_long if position_of(one).long else signals.exit_short
            left = held if held is not None else np.zeros(len(data.candles), dtype=np.bool_)
            return data.candles, left, ""
        except ExchangeError:
            raise
        except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything)
            why = f"the exit condition of {one.strategy} cannot be asked: {type(error).__name__}: {error}"
    store.fill(context.exchange, symbol, timeframe, start_ms, now_ms, now_ms=now_ms)
    candles = store.read(symbol, timeframe, start_ms, now_ms).closed_by(now_ms)
    return candles, np.zeros(len(candles), dtype=np.bool_), why


def _decision(
    context: ExecutionContext, one: Planned, candles: Candles, left: BoolArray, now_ms: int
) -> ExitDecision | None:
    """What is to be recorded now; None where the plan says what stands already."""
    intent, held = one.intent, position_of(one)
    found = plans.decided_exit(held, candles, left)
    if found is None:
        return None
    link, levels = intent.order_link_id, (intent.stop_loss, intent.take_profit)
    if found.reason is not ExitReason.OPEN:
        kind = found.reason.word
        return ExitDecision(link, found.bar_close_ms, kind, found.close, *levels, found.detail, OPEN, now_ms)
    contracts = context.contracts.get(context.exchange, {intent.symbol}, context.wall_ms())
    if intent.symbol not in contracts:
        return None
    tick = contracts[intent.symbol].tick_size
    stop, target = plans.on_tick(found.standing, *levels, long=held.long, tick=tick)
    if (stop, target) == levels:
        return None
    moves = [
        f"{name} {before} to {after}"
        for name, before, after in (("stop", intent.stop_loss, stop), ("target", intent.take_profit, target))
        if before != after
    ]
    detail = f"{' and '.join(moves)}: {found.detail}"
    return ExitDecision(link, found.bar_close_ms, LEVELS, found.close, stop, target, detail, OPEN, now_ms)
