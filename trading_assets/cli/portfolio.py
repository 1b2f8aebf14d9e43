"""`trading-assets portfolio`: exposure, distances, drawdown and results, printed or as plain values. No decisions."""

from __future__ import annotations

from rich.console import Console

from trading_assets.cli.console import frame_table, line
from trading_assets.core.timeframes import iso
from trading_assets.ledger.risk import RiskState
from trading_assets.trading.portfolio import DIMENSIONS, Portfolio, records

_POSITION = {
    "symbol": "coin",
    "side": "side",
    "size": "quantity",
    "notional": "value $",
    "share_pct": "% of equity",
    "entry_price": "entry",
    "mark_price": "mark",
    "stop_loss": "stop",
    "liquidation_price": "liquidation",
    "liquidation_pct": "% away",
    "unrealised_pnl": "open PnL $",
}
_RESULT = {"closings": "closed", "wins": "with a profit", "pnl": "PnL $", "funding": "funding paid $", "net": "net $"}


def print_portfolio(found: Portfolio, account: str, console: Console) -> None:
    """Everything at a glance, the largest position first."""
    console.print(
        f"account {account} as of {iso(found.as_of_ms)}: equity ${found.equity:,.2f}, free ${found.available:,.2f}, "
        f"drawdown {found.drawdown_pct:.2f} % (deepest {found.max_drawdown_pct:.2f} %)",
        highlight=False,
    )
    console.print(line("risk guard: ", state_line(found)))
    console.print(
        f"exposure ${found.exposure:,.2f} ({found.exposure_pct:.1f} % of equity), longs less shorts "
        f"${found.net_exposure:+,.2f}",
        highlight=False,
    )
    console.print(frame_table("Open positions", found.positions.sort_values("notional", ascending=False), _POSITION))
    for title, results in (("Today", found.today), ("Since the start", found.ever)):
        console.print(
            line(
                (title, "bold"),
                f": {results.closings} closed, {results.wins} with a profit, PnL {results.pnl:+,.2f}, ",
                f"funding paid {results.funding:+,.2f}, net {results.net:+,.2f} USD",
            )
        )
    for dimension in DIMENSIONS:
        rows = found.ever.by_one(dimension).sort_values("net", ascending=False)
        console.print(frame_table(f"Results by {dimension}", rows, {dimension: dimension, **_RESULT}))


def state_line(found: Portfolio) -> str:
    """The risk guard's state, who set it and why."""
    state = found.state
    if state.state is RiskState.ACTIVE and not state.actor:
        return state.state.value
    until = "" if state.until_ms is None else f" until {iso(state.until_ms)}"
    return f"{state.state.value}{until}, set {iso(state.time_ms)} by {state.actor}: {state.reason}"


def plain(found: Portfolio) -> dict[str, object]:
    """The same as values for JSON: numbers, texts and lists of rows."""
    return {
        "as_of_ms": found.as_of_ms,
        "state": found.state.state.value,
        "state_reason": found.state.reason,
        "equity": found.equity,
        "available": found.available,
        "exposure": found.exposure,
        "exposure_pct": found.exposure_pct,
        "net_exposure": found.net_exposure,
        "drawdown_pct": found.drawdown_pct,
        "max_drawdown_pct": found.max_drawdown_pct,
        "positions": records(found.positions),
        "today": found.today.plain(),
        "ever": found.ever.plain(),
    }
