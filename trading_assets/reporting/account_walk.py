"""The compiled walk of an account, put to work: trades as its columns, settings as its numbers.

What floats cannot decide the live functions decide, by way of `Live`. The rules are in `portfolio_simulation`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Protocol

import numpy as np

from trading_assets.core.candles import BoolArray, FloatArray, IntArray
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.ledger.risk import Cause
from trading_assets.reporting.trade_table import DETAILS, REASONS, Places, TradeTable
from trading_assets.reporting.trades import DROPPED, STOP, ForwardTrade
from trading_assets.trading.risk.protections import CLOSINGS_BACK_MS

HALTED = "a limit of loss was reached"
UNFILLED = "its price was not reached"
GATES = (
    *("its position is open", "a position was closed on this bar", "too soon after the strategy's last signal", HALTED),
    *("positions", "strategy", "leverage", "share", "exposure", "total exposure"),
    *(Cause.DAILY_LOSS.value, Cause.DRAWDOWN.value, "equity", "cooldown", "stops in a row", "weak symbol", UNFILLED),
)
"""What may stand against a trade, by its number in `account_loops`."""


class Moment(NamedTuple):
    """What an account knows at a moment: what is open in the order of entry, and recent closings; both as places."""

    time_ms: int
    equity: float
    peak: float
    open: Sequence[int]
    closed: Sequence[int]


class Live(Protocol):
    """The live functions, asked about a moment of an account."""

    def refusal(self, place: int, moment: Moment) -> str | None:
        """The gate that stands against a trade."""
        ...

    def losses(self, moment: Moment) -> tuple[str, str] | None:
        """The limit of loss that is reached, and what was found."""
        ...


class Walk(NamedTuple):
    """What an account did: places of the trades taken, how many were refused by what, when and why it was halted (UTC
    ms, cause, what was found), and equity and exposure at the hours."""

    taken: IntArray
    refused: Counter[str]
    halts: Sequence[tuple[int, str, str]]
    equity: FloatArray
    exposure: FloatArray


@dataclass(frozen=True)
class Offered:
    """Trades that are offered to an account, in order, arrays of shape (k,).

    Attributes:
        symbol, strategy: places in `symbols` and `strategies`, which are sorted.
        trade: gives one of them.
    """

    symbols: Sequence[str]
    strategies: Sequence[str]
    entry_ms: IntArray
    exit_ms: IntArray
    symbol: Places
    strategy: Places
    step_ms: IntArray
    direction: FloatArray
    size: FloatArray
    entry_price: FloatArray
    entry_fee: FloatArray
    pnl: FloatArray
    is_filled: BoolArray
    is_closed: BoolArray
    is_stop: BoolArray
    filled_ms: IntArray
    marks_at: IntArray
    marks: IntArray
    prices: FloatArray
    trade: Callable[[int], ForwardTrade]

    @classmethod
    def from_table(cls, table: TradeTable) -> Offered:
        """All rows of a table."""
        chosen, texts = table.selections, table.selections.texts
        steps = np.array([Timeframe(one).ms for one in texts["timeframe"]], dtype=np.int64)

        def trade(place: int) -> ForwardTrade:
            row = table.take(np.array([place]))
            absent = [name for name in DETAILS if not len(getattr(row, name))]
            return row.with_columns(dict.fromkeys(absent, np.zeros(1))).trades()[0]

        return cls(
            symbols=texts["symbol"],
            strategies=texts["strategy"],
            entry_ms=table.entry_ms,
            exit_ms=table.exit_ms,
            symbol=chosen.symbol[table.selection],
            strategy=chosen.strategy[table.selection],
            step_ms=steps[chosen.timeframe[table.selection]],
            direction=table.direction.astype(np.float64),
            size=table.size,
            entry_price=table.entry_price,
            entry_fee=table.entry_fee,
            pnl=table.pnl,
            is_filled=table.is_filled,
            is_closed=table.is_closed,
            is_stop=np.asarray(table.reason == REASONS.index(STOP)),
            filled_ms=table.filled_ms if len(table.filled_ms) else np.zeros(len(table), dtype=np.int64),
            marks_at=table.marks_at.astype(np.int64),
            marks=table.marks,
            prices=table.prices,
            trade=trade,
        )

    @classmethod
    def from_trades(cls, trades: Sequence[ForwardTrade]) -> Offered:
        """Of trades one by one."""
        symbols = sorted({one.selection.symbol for one in trades})
        strategies = sorted({one.selection.strategy for one in trades})
        place = {name: at for at, name in enumerate(symbols)} | {name: at for at, name in enumerate(strategies)}
        counts = np.array([len(one.marks) for one in trades], dtype=np.int64)

        def whole(values: Sequence[int]) -> IntArray:
            return np.array(values, dtype=np.int64)

        def numbers(values: Sequence[float]) -> FloatArray:
            return np.array(values, dtype=np.float64)

        return cls(
            symbols=symbols,
            strategies=strategies,
            entry_ms=whole([one.entry_ms for one in trades]),
            exit_ms=whole([one.exit_ms for one in trades]),
            symbol=np.array([place[one.selection.symbol] for one in trades], dtype=np.int32),
            strategy=np.array([place[one.selection.strategy] for one in trades], dtype=np.int32),
            step_ms=whole([Timeframe(one.selection.timeframe).ms for one in trades]),
            direction=numbers([one.direction for one in trades]),
            size=numbers([one.size for one in trades]),
            entry_price=numbers([one.entry_price for one in trades]),
            entry_fee=numbers([one.entry_fee for one in trades]),
            pnl=numbers([one.pnl for one in trades]),
            is_filled=np.array([one.reason != DROPPED for one in trades], dtype=bool),
            is_closed=np.array([one.closed for one in trades], dtype=bool),
            is_stop=np.array([one.reason == STOP for one in trades], dtype=bool),
            filled_ms=whole([one.filled_ms for one in trades]),
            marks_at=np.cumsum(counts) - counts,
            marks=counts,
            prices=np.concatenate([np.empty(0), *(one.marks for one in trades)]),
            trade=trades.__getitem__,
        )

    def __len__(self) -> int:
        return len(self.entry_ms)


def walk(offered: Offered, settings: Settings, capital: float, times_ms: IntArray, live: Live) -> Walk:
    """Walk an account of `capital` USD over whole hours, shape (n,), and offer it trades of a fixed size."""
    from trading_assets.reporting import account_loops as loops  # noqa: PLC0415 (numba: a second)

    count, days = len(offered), int(times_ms[-1] - times_ms[0]) // DAY_MS + 2
    allowed = np.array(
        [not settings.strategies or one in settings.strategies for one in offered.strategies], dtype=bool
    )
    whole = [
        settings.max_positions,
        int(settings.leverage > settings.max_leverage),
        settings.min_signal_interval_s * 1000,
        settings.cooldown_after_stop_s * 1000,
        settings.max_stops_in_a_row,
        settings.pause_after_stops_s * 1000,
        settings.weak_symbol_hours * HOUR_MS,
        settings.weak_symbol_trades,
        CLOSINGS_BACK_MS,
    ]
    planned = settings.target_notional
    numbers: list[float | Decimal] = [
        capital,
        planned,
        planned / settings.leverage,
        settings.capital_share_pct,
        settings.max_position_margin_pct,
        settings.max_symbol_exposure_pct,
        settings.max_total_exposure_pct,
        settings.max_daily_loss_pct,
        settings.max_drawdown_pct,
        settings.weak_symbol_min_pnl,
    ]
    answers: list[int] = []
    while True:
        equity, exposure = np.empty(len(times_ms)), np.zeros(len(times_ms))
        taken, refused = np.empty(count, dtype=np.int64), np.zeros(loops.REFUSALS, dtype=np.int64)
        halts, found = np.empty((days, 3), dtype=np.int64), np.empty((days, 2))
        last_signal = np.full((max(len(offered.symbols), 1), max(len(offered.strategies), 1)), -1, dtype=np.int64)
        open_, closings = np.empty(settings.max_positions + 1, dtype=np.int64), np.empty(count, dtype=np.int64)
        moment = np.zeros(5, dtype=np.int64)
        done, halted, now_equity, peak = loops.walk(
            *_arrays(offered),
            allowed[offered.strategy] if count else np.empty(0, dtype=bool),
            offered.marks_at,
            offered.marks,
            offered.prices,
            np.array(whole, dtype=np.int64),
            np.array([float(one) for one in numbers], dtype=np.float64),
            times_ms,
            np.array(answers, dtype=np.int64),
            equity,
            exposure,
            taken,
            refused,
            halts,
            found,
            np.zeros(max(len(offered.symbols), 1), dtype=np.int64),
            last_signal,
            open_,
            closings,
            moment,
        )
        if done >= 0:
            break
        place, now, opened, closed, oldest = moment.tolist()
        known = Moment(now, now_equity, peak, open_[:opened].tolist(), closings[oldest:closed].tolist())
        gate = live.refusal(place, known) if place >= 0 else (live.losses(known) or (None,))[0]
        answers.append(loops.NOTHING if gate is None else GATES.index(gate))
    told = []
    for (now, cause, closed), (now_equity, peak) in zip(halts[:halted].tolist(), found[:halted].tolist(), strict=True):
        today = np.searchsorted(offered.exit_ms[closings[:closed]], now // DAY_MS * DAY_MS)
        reached = live.losses(Moment(now, now_equity, peak, [], closings[today:closed].tolist()))
        if reached is None or reached[0] != GATES[cause]:
            raise AssertionError(f"an account was halted by {GATES[cause]}, and live says {reached}")
        told.append((now, *reached))
    by_gate = Counter({gate: number for gate, number in zip(GATES, refused.tolist(), strict=True) if number})
    return Walk(taken[:done], by_gate, told, equity, exposure)


def _arrays(offered: Offered) -> tuple[np.ndarray, ...]:
    return (
        offered.entry_ms,
        offered.exit_ms,
        offered.symbol,
        offered.strategy,
        offered.step_ms,
        offered.direction,
        offered.size,
        offered.entry_price,
        offered.entry_fee,
        offered.pnl,
        offered.is_filled,
        offered.is_closed,
        offered.is_stop,
        offered.filled_ms,
    )
