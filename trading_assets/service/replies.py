"""What the bot answers to those who look: short lines for a telephone. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from trading_assets.core.foreign_text import plain
from trading_assets.core.models import CloseReason
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, iso, local_ms
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import balance, executions, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import in_force, read_history
from trading_assets.ledger.strategies import registry_rows, seed_registry
from trading_assets.service.conditions import blocked_lines, channel_lines, halt_line, trouble_lines
from trading_assets.trading import explain
from trading_assets.trading.context import why_off
from trading_assets.trading.portfolio import Performance, portfolio

SHOWN = 10
NEVER_READ = "The books were never read: start the reconcile job, or wait for its sensor."


def status(settings: Settings, database: Database) -> str:
    """State, money and age of the books, and what is wrong."""
    lines = [f"{settings.venue.value}, account {settings.account}"]
    if halt_line(settings):
        lines.append(halt_line(settings))
    found = portfolio(database, settings.account)
    state = in_force(read_history(database, settings.account), local_ms()) if found is None else found.state
    why = f" since {iso(state.time_ms)}, by {state.actor}: {state.reason}" if state.actor else ""
    lines.append(f"{state.state.value}{why}")
    if found is None:
        lines.append(NEVER_READ)
    else:
        lines += [
            f"equity {found.equity:,.2f} USD, {len(found.positions)} open, drawdown {found.drawdown_pct:.2f} %",
            f"today: {_result(found.today)}",
            f"books as of {iso(found.as_of_ms)}",
        ]
    off = why_off(database, settings)
    troubles = [*blocked_lines(database), *trouble_lines(database, settings), *channel_lines(database, settings)]
    return _text([*lines, *([off] if off else []), *troubles])


def portfolio_text(settings: Settings, database: Database) -> str:
    """Money, exposure and results."""
    found = portfolio(database, settings.account)
    if found is None:
        return NEVER_READ
    return _text(
        [
            f"equity {found.equity:,.2f} USD, free {found.available:,.2f}",
            f"exposure {found.exposure:,.2f} USD ({found.exposure_pct:.1f} %), longs less shorts "
            f"{found.net_exposure:+,.2f}",
            f"drawdown {found.drawdown_pct:.2f} %, deepest {found.max_drawdown_pct:.2f} %",
            f"today: {_result(found.today)}",
            f"ever: {_result(found.ever)}",
            f"as of {iso(found.as_of_ms)}",
        ]
    )


def positions(settings: Settings, database: Database) -> str:
    """Each open position in three lines."""
    held = account_ledger.position_rows(database, settings.account)
    if balance.newest_snapshot_ms(database, settings.account) is None:
        return NEVER_READ
    if held.empty:
        return "no open position"
    lines = []
    for row in held.to_dict("records"):
        side = "LONG" if row["side"] == "Buy" else "SHORT"
        lines += [
            f"{side} {row['symbol']} {_number(row['size'])}: {float(row['unrealised_pnl']):+,.2f} USD",
            f"  at {_number(row['entry_price'])}, now {_number(row['mark_price'])}",
            f"  stop {_number(row['stop_loss'])}, target {_number(row['take_profit'])}",
        ]
    return _text(lines)


def trades(settings: Settings, database: Database) -> str:
    """The newest closed trades."""
    closed = executions.closing_rows(database, settings.account).tail(SHOWN)
    if closed.empty:
        return "no trade was closed yet"
    return _text(
        f"{_moment(row['closed_ms'])} {row['position_side']} {row['symbol']}, {_reason(row['reason'])}: "
        f"{float(row['pnl']):+,.2f} USD"
        for row in reversed(closed.to_dict("records"))
    )


def performance(settings: Settings, database: Database) -> str:
    """Results by strategy."""
    found = portfolio(database, settings.account)
    if found is None:
        return NEVER_READ
    by = found.ever.by_one("strategy").sort_values("net", ascending=False)
    lines = [f"ever: {_result(found.ever)}", f"today: {_result(found.today)}"]
    lines += [
        f"{row['strategy']}: {row['closings']} closed, {row['wins']} won, net {row['net']:+,.2f}"
        for row in by.to_dict("records")
    ]
    return _text(lines)


def newest_signals(settings: Settings, database: Database) -> str:
    """The newest signals of a day, and what became of each."""
    newest = balance.newest_snapshot_ms(database, settings.account) or 0
    found = signals.since(database, settings.account, newest - DAY_MS).sort_values("created_at_ms").tail(SHOWN)
    if found.empty:
        return "no signal within a day"
    return _text(
        f"{_moment(row['created_at_ms'])} {row['position_type']} {row['symbol']} {row['timeframe']} "
        f"{row['strategy']}, {row['confidence']:.0f} %: {row['status']}"
        + (f" ({row['reason']})" if isinstance(row["reason"], str) else "")
        for row in reversed(found.to_dict("records"))
    )


def strategies(database: Database) -> str:
    """Which strategies are started."""
    seed_registry(database)
    return _text(f"{'on ' if row.is_active else 'off'} {row.name}" for row in registry_rows(database))


def why(settings: Settings, database: Database, order: str) -> str:
    """An order followed back to its candles.

    Raises:
        DataError: there is none, or several begin so.
    """
    found = explain.explain(database, order, explain.Links(settings.ui_url), settings.symbols.btc)
    return _text([found.title, *(f"{step.what}: {step.found}" for step in found.steps)])


def _result(found: Performance) -> str:
    return f"{found.closings} closed, {found.wins} won, net {found.net:+,.2f} USD"


def _reason(value: Any) -> str:
    return "by an order" if value == CloseReason.OTHER else str(value)


def _moment(time_ms: Any) -> str:
    return iso(int(time_ms))[5:16].replace("T", " ")


def _number(value: Any) -> str:
    return "none" if pd.isna(value) else f"{float(str(value)):.10g}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(plain, lines))
