"""The performance report: what was really traded, from the ledger, beside the walk-forward of the same hours.

What a single trade's backtest would have done is the business of `trading.parity`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.errors import DataError, NothingYetError
from trading_assets.core.models import FillKind
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, floor_ms, iso
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import balance, signals
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import entry_signals, order_intents
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.evidence import evidence
from trading_assets.reporting.figures import TRADE_COLUMNS, Curve, figures
from trading_assets.reporting.report import RandomBaseline, Report, Track
from trading_assets.reporting.trades import OPEN, last_closes
from trading_assets.reporting.walk_forward import SAME_HOURS, short_range

LIVE, BACKTESTED = "Really traded", "Walk-forward"


@dataclass(frozen=True)
class LiveSpan:
    """Whole hours [start_ms, end_ms] of the account, and its equity at the start, USD."""

    start_ms: int
    end_ms: int
    opening: float


def live_span(database: Database, account: str, first_ms: int | None, last_ms: int | None) -> LiveSpan:
    """From the hour of the first executed signal, or `first_ms`, to the newest reading of the books.

    Or to the end of the hour that starts at `last_ms`.

    Raises:
        DataError: nothing was traded in it, or the books were never read.
        NothingYetError: no hour of it is over yet.
    """
    earliest = signals.first_executed_ms(database, account, first_ms or 0)
    read_until = account_ledger.reconciled_until_ms(database, account)
    snapshots = balance.equity_rows(database, account)
    if earliest is None or read_until is None or snapshots.empty:
        raise DataError(
            f"account {account} has not traded in this range: no signal was executed, or no books were read"
        )
    start_ms = floor_ms(earliest, HOUR_MS) if first_ms is None else first_ms
    end_ms = floor_ms(read_until if last_ms is None else min(last_ms + HOUR_MS, read_until), HOUR_MS)
    if end_ms <= start_ms:
        raise NothingYetError(
            f"the range from {iso(start_ms)} to {iso(end_ms)} has no whole hour yet, wait or take another"
        )
    before = snapshots[snapshots["time_ms"] <= start_ms]
    opening = before.iloc[-1] if len(before) else snapshots.iloc[0]
    return LiveSpan(start_ms, end_ms, float(opening["equity"]))


def performance(
    database: Database, reader: CandleReader, settings: Settings, span: LiveSpan, expected: Report
) -> Report:
    """The account's own curve and trades, beside those of `expected`, the walk-forward of the same span."""
    account = settings.account
    times = np.arange(span.start_ms, span.end_ms + 1, HOUR_MS, dtype=np.int64)
    trades = _trades(database, account, span)
    curve = Curve(LIVE, times, _equity(reader, span, trades, times))
    exposure = _exposure(trades, times)
    main = Track(curve, trades, figures(curve, trades, exposure), exposure)
    return replace(
        expected,
        kind="performance",
        title=f"Performance of account {account}",
        main=main,
        beside=[_renamed(expected.main, BACKTESTED), *expected.beside],
        facts={
            "venue": settings.venue.value,
            "opening equity": f"${span.opening:,.2f}",
            "trades": f"{len(trades):,}",
            "selections followed by the walk-forward": expected.facts["selections"],
        },
        refused={},
        matched=None,
        under_costs={},
        evidence=evidence(reader, curve, trades, trades.iloc[:0]),
        sample=_against(expected, curve),
        notes=[
            *short_range(span.start_ms, span.end_ms),
            *(
                f"Walk-forward: {note}"
                for note in expected.notes
                if note not in short_range(span.start_ms, span.end_ms)
            ),
        ],
        assumptions=[
            "Really traded: the trades of this system, with fills, fees and funding as the exchange booked them. The "
            "curve is the opening equity and their PnL, open ones at the last close of each hour; deposits, "
            "withdrawals and what others traded on the account are not in it.",
            "Slippage of what was really traded is that of the entries alone, against the close of the signal's bar.",
            "Live fills at real prices, misses what closed while nothing ran, and follows an hour's selection longer "
            "where the next one is late; where positions are limited, one trade more or less lets others in. So single "
            "trades differ: docs/parity.md tells why.",
            "Walk-forward and random choice begin with the account's opening equity. Their rules:",
            *expected.assumptions,
        ],
    )


def _against(expected: Report, curve: Curve) -> RandomBaseline | None:
    """The random choices held against the account's own curve, where they cover the same hours."""
    if expected.sample is None or any(track.curve.name == SAME_HOURS for track in expected.beside):
        return None
    return replace(expected.sample, compared=float(curve.equity[-1]))


def _renamed(track: Track, name: str) -> Track:
    return replace(track, curve=replace(track.curve, name=name))


def _equity(reader: CandleReader, span: LiveSpan, trades: pd.DataFrame, times: IntArray) -> FloatArray:
    """Opening equity, what trades have brought since, and what open ones are worth, at whole hours, USD.

    As in the walk-forward, funding and the exit's fee count when a trade ends. Marked here rather than by the ledger's
    snapshots: those pause when nothing runs, and contain deposits.
    """
    total = np.full(len(times), span.opening)
    for symbol, rows in trades.groupby("symbol"):
        start_ms, end_ms = int(times[0]), int(times[-1])
        hourly = reader.read(str(symbol), Timeframe.M60, start_ms - HOUR_MS, end_ms).closed_by(end_ms)
        marks = last_closes(hourly, times.tolist())
        for row in rows.to_dict("records"):
            direction, size, price = (1 if row["side"] == "LONG" else -1), row["size"], row["entry_price"]
            is_open = row["reason"] == OPEN
            held = (times >= row["entry_ms"]) & (times < row["exit_ms"])
            share = 1.0 if is_open else price / (price + row["exit_price"])
            gain = np.where(np.isfinite(marks), direction * size * (marks - price), 0.0)
            total += np.where(held, gain - row["fees"] * share, 0.0)
            total += np.where(times >= row["exit_ms"], row["pnl"], 0.0)
    return total


def _exposure(trades: pd.DataFrame, times: IntArray) -> FloatArray:
    """Value of the positions at their entry prices, USD."""
    total = np.zeros(len(times))
    columns = (trades[name] for name in ("entry_ms", "exit_ms", "size", "entry_price"))
    for entry_ms, exit_ms, size, price in zip(*columns, strict=True):
        total[(times >= entry_ms) & (times < exit_ms)] += size * price
    return total


def _trades(database: Database, account: str, span: LiveSpan) -> pd.DataFrame:
    """Filled entries of the span, each with all closings of its position up to the end: columns `TRADE_COLUMNS`."""
    signal = entry_signals.c
    statement = (
        sa.select(
            *(signal.signal_id, signal.executed_at_ms, signal.symbol, signal.timeframe, signal.strategy),
            *(signal.parameters, signal.hour_ms, signal.position_type, signal.entry_price, signal.stop_loss),
            signal.confidence,
            *(order_intents.c.filled_qty, order_intents.c.average_price, order_intents.c.order_link_id),
        )
        .join(order_intents, order_intents.c.signal_id == signal.signal_id)
        .where(
            signal.account == account,
            signal.executed_at_ms >= span.start_ms,
            signal.executed_at_ms < span.end_ms,
            order_intents.c.average_price.is_not(None),
        )
        .order_by(signal.executed_at_ms, signal.signal_id)
    )
    with database.read() as connection:
        entries = connection.execute(statement).all()
    closings: dict[str, list[execution_ledger.Closing]] = {}
    for closing in execution_ledger.own_closings(database, account, span.start_ms):
        if closing.closed_ms <= span.end_ms:
            closings.setdefault(str(closing.signal_id), []).append(closing)
    fills = execution_ledger.fill_rows(database, account, span.start_ms)
    entry_fees = fills[fills["kind"] == FillKind.TRADE.value].groupby("order_link_id")["fee"].sum().to_dict()
    funding = fills[fills["kind"] == FillKind.FUNDING.value]
    marks = account_ledger.position_rows(database, account).set_index("symbol")["mark_price"].to_dict()
    rows = [
        _trade(entry, closings.get(entry.signal_id, []), entry_fees, funding, marks, span.end_ms) for entry in entries
    ]
    return pd.DataFrame(rows, columns=TRADE_COLUMNS)


def _trade(
    entry: Any,
    ends: Sequence[execution_ledger.Closing],
    entry_fees: Mapping[Hashable, float],
    funding: pd.DataFrame,
    marks: Mapping[Hashable, float],
    end_ms: int,
) -> tuple[object, ...]:
    """A row; what is still open is worth what the last reading of the books says."""
    direction = 1 if entry.position_type == "LONG" else -1
    entry_ms, size, price = int(entry.executed_at_ms), float(entry.filled_qty), float(entry.average_price)
    out = sum(float(end.qty) for end in ends)
    is_open = out < size * (1 - 1e-9)
    mark = float(marks.get(entry.symbol, price))
    exit_ms = end_ms if is_open else ends[-1].closed_ms
    pnl = sum(float(end.pnl) for end in ends)
    fees = sum(float(end.fees) for end in ends)
    worth = sum(float(end.qty * end.exit_price) for end in ends)
    if is_open:
        pnl += direction * (size - out) * (mark - price)
        worth += (size - out) * mark
        if not ends:
            fees = entry_fees.get(entry.order_link_id, 0.0)
            pnl -= fees
    of_trade = (funding["symbol"] == entry.symbol) & funding["time_ms"].between(entry_ms, exit_ms)
    paid = float(funding.loc[of_trade, "fee"].sum())
    return (
        *(entry_ms, exit_ms, entry.symbol, entry.timeframe, entry.strategy, entry.parameters, int(entry.hour_ms)),
        *(entry.position_type, price, worth / size, size, fees),
        *(direction * size * (price - entry.entry_price), paid, pnl - paid),
        *((pnl - paid) / (size * abs(entry.entry_price - entry.stop_loss)), (pnl - paid) / (size * price) * 10_000),
        *(OPEN if is_open else ends[-1].reason, float(entry.confidence)),
    )
