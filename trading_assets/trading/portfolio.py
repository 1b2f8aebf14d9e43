"""The account as the ledger knows it: equity, positions, closed trades and funding, for a reader. Reads only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from trading_assets.core.models import FillKind
from trading_assets.core.timeframes import DAY_MS, floor_ms
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import balance, orders, risk, signals
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import StateChange
from trading_assets.trading.risk.limits import drawdown_pct

DIMENSIONS = ("strategy", "timeframe", "symbol")
_SUMS = ["closings", "wins", "pnl", "funding", "net"]


@dataclass(frozen=True)
class Performance:
    """Closed trades and funding, USD.

    `by` has one row per strategy, timeframe and symbol: closings, wins, pnl (net of fees), funding (paid), net of both.
    What was not opened by a signal is "unknown".
    """

    closings: int
    wins: int
    pnl: float
    funding: float
    by: pd.DataFrame

    @property
    def net(self) -> float:
        return self.pnl - self.funding

    def by_one(self, dimension: str) -> pd.DataFrame:
        """The same, summed over the other dimensions."""
        return self.by.groupby(dimension)[_SUMS].sum().reset_index()

    def plain(self) -> dict[str, object]:
        """The same as values for JSON: numbers, and lists of rows."""
        return {
            "closings": self.closings,
            "wins": self.wins,
            "pnl": self.pnl,
            "funding": self.funding,
            "net": self.net,
            **{f"by_{dimension}": records(self.by_one(dimension)) for dimension in DIMENSIONS},
        }


@dataclass(frozen=True)
class Portfolio:
    """The account as of the last reconciliation. USD and percent of equity.

    Attributes:
        positions: symbol, side, size, notional, share_pct, entry_price, mark_price, stop_loss, liquidation_price,
            liquidation_pct (distance of the mark price to it, percent; NaN where the venue gives none), unrealised_pnl.
        drawdown_pct: of equity to the peak that the risk guard counts from, <= 0.
        max_drawdown_pct: the deepest since the first snapshot, <= 0.
    """

    as_of_ms: int
    state: StateChange
    equity: float
    available: float
    drawdown_pct: float
    max_drawdown_pct: float
    positions: pd.DataFrame
    today: Performance
    ever: Performance

    @property
    def exposure(self) -> float:
        """Value of all positions, USD."""
        return float(self.positions["notional"].sum())

    @property
    def net_exposure(self) -> float:
        """Longs less shorts, USD."""
        sign = self.positions["side"].map({"Buy": 1.0, "Sell": -1.0})
        return float((self.positions["notional"] * sign).sum())

    @property
    def exposure_pct(self) -> float:
        return self.exposure / self.equity * 100 if self.equity > 0 else 0.0


def records(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Rows of a frame as values for JSON; what is not a number is None."""
    return [
        {str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in rows.to_dict("records")
    ]


def portfolio(database: Database, account: str) -> Portfolio | None:
    """The account as of the last reconciliation; None before the first."""
    as_of_ms = account_ledger.reconciled_until_ms(database, account)
    snapshots = balance.equity_rows(database, account)
    if as_of_ms is None or snapshots.empty:
        return None
    newest = snapshots.iloc[-1]
    equity = float(newest["equity"])
    deepest = (snapshots["equity"] / snapshots["equity"].cummax() - 1).min() * 100
    return Portfolio(
        as_of_ms=as_of_ms,
        state=risk.in_force(risk.read_history(database, account), as_of_ms),
        equity=equity,
        available=float(newest["available"]),
        drawdown_pct=drawdown_pct(Decimal(str(equity)), balance.peak_equity(database, account)),
        max_drawdown_pct=float(deepest),
        positions=_exposures(account_ledger.position_rows(database, account), equity),
        today=performance(database, account, floor_ms(as_of_ms, DAY_MS)),
        ever=performance(database, account),
    )


def performance(database: Database, account: str, since_ms: int = 0, until_ms: int | None = None) -> Performance:
    """Results of closed trades and of funding at or after a time, joined with the signals that opened the positions.

    Args:
        until_ms: what happened at this time or later does not count.
    """
    closed = execution_ledger.closing_rows(database, account, since_ms)
    funding = execution_ledger.fill_rows(database, account, since_ms, FillKind.FUNDING)
    if until_ms is not None:
        closed, funding = closed[closed["closed_ms"] < until_ms], funding[funding["time_ms"] < until_ms]
    held = {intent.signal_id for intent in orders.occupying(database, account)}
    known = signals.by_ids(database, sorted({*closed["signal_id"].dropna().astype(str), *held}))
    trades = closed.merge(known[["signal_id", "strategy", "timeframe"]], on="signal_id", how="left")
    trades = trades.assign(closings=1, wins=(trades["pnl"] > 0).astype(int), funding=0.0)
    parts = [trades[[*DIMENSIONS, *_SUMS[:-1]]], _funding_of_trades(funding, known, closed, held)]
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows[["strategy", "timeframe"]] = rows[["strategy", "timeframe"]].fillna("unknown")
    rows["net"] = rows["pnl"] - rows["funding"]
    by = rows.groupby(list(DIMENSIONS))[_SUMS].sum().reset_index()
    return Performance(
        closings=len(closed),
        wins=int((closed["pnl"] > 0).sum()),
        pnl=float(closed["pnl"].sum()),
        funding=float(funding["fee"].sum()),
        by=by,
    )


def _funding_of_trades(
    funding: pd.DataFrame, known: pd.DataFrame, closed: pd.DataFrame, held: set[str]
) -> pd.DataFrame:
    """Funding rows with the strategy and timeframe of the position that was open then and paid it."""
    ended = closed.groupby("signal_id")["closed_ms"].max().to_dict()
    opened = known.dropna(subset=["executed_at_ms"]).sort_values("executed_at_ms")
    by_symbol = {symbol: rows.to_dict("records") for symbol, rows in opened.groupby("symbol")}
    rows = []
    for row in funding.to_dict("records"):
        payers = [
            trade
            for trade in by_symbol.get(row["symbol"], [])
            if trade["executed_at_ms"] <= row["time_ms"]
            and (trade["signal_id"] in held or row["time_ms"] <= ended.get(trade["signal_id"], 0))
        ]
        payer = payers[-1] if payers else {"strategy": None, "timeframe": None}
        rows.append([payer["strategy"], payer["timeframe"], row["symbol"], 0, 0, 0.0, row["fee"]])
    return pd.DataFrame(rows, columns=[*DIMENSIONS, *_SUMS[:-1]])


def _exposures(held: pd.DataFrame, equity: float) -> pd.DataFrame:
    mark, liquidation = held["mark_price"].astype(float), held["liquidation_price"].astype(float)
    notional = held["size"].astype(float) * mark
    rows = held.assign(
        notional=notional,
        share_pct=notional / equity * 100 if equity > 0 else float("nan"),
        liquidation_price=liquidation,
        liquidation_pct=(liquidation / mark - 1).abs() * 100,
    )
    columns = ["symbol", "side", "size", "notional", "share_pct", "entry_price", "mark_price", "stop_loss"]
    return rows[[*columns, "liquidation_price", "liquidation_pct", "unrealised_pnl"]]
