"""What the live page shows, as values for JSON: read by the functions that metrics, commands and reports use, too.

Money is in USD. Moments are UTC ms; a name with `wall` is of the local clock, every other one of the venue's. Text of
others goes out as it is: the page shows it as text, and never as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from trading_assets.core.models import FillKind
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, floor_ms, hour_key
from trading_assets.ledger import alarms, balance, dca, executions, orders, risk, selections, signals
from trading_assets.ledger.alarms import AlarmState
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions, written_by
from trading_assets.ledger.tables import (
    closings,
    dca_plans,
    entry_signals,
    equity,
    fills,
    grids,
    live_changes,
    order_events,
    reconciliations,
    risk_states,
    trading_switches,
)
from trading_assets.observability.readings import AccountReading, OpenPosition
from trading_assets.service.conditions import blocked_lines, channel_lines, halt_line, no_coin_line, trouble_lines
from trading_assets.trading.dca import status as dca_status
from trading_assets.trading.explain import SELECTIONS, Links
from trading_assets.trading.grid import status as grid_status
from trading_assets.trading.portfolio import performance, records
from trading_assets.trading.risk.limits import loss_counts_from_ms, lost_today_pct

FILLS_SHOWN, CLOSINGS_SHOWN, SIGNALS_SHOWN, SELECTIONS_SHOWN = 20, 20, 40, 40
CURVE_POINTS = 400

Json = dict[str, Any]

_SIGNAL = (
    "signal_id",
    "symbol",
    "timeframe",
    "strategy",
    "position_type",
    "entry_price",
    "confidence",
    "status",
    "reason",
    "created_at_ms",
    "ttl_ms",
)
_CHOSEN = (
    "symbol",
    "timeframe",
    "strategy",
    "score",
    "total_trades",
    "win_rate",
    "profit_factor",
    "total_pnl",
    "deflated_sharpe",
    "p_value_hour",
)


@dataclass(frozen=True)
class Stamp:
    """What is another one as soon as there is something new of an account: anything, closed trades, equity."""

    anything: tuple[object, ...]
    results: tuple[object, ...]
    equity: object


def stamp(database: Database, account: str) -> Stamp:
    """Look whether there is something new of an account: one statement, by indexes."""

    def newest(column: sa.Column[Any], *where: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
        return sa.select(sa.func.max(column)).where(*where).scalar_subquery()

    table = entry_signals.c
    waiting = sa.select(sa.func.count()).where(
        table.account == account, table.status.in_([signals.ACTIVE, signals.EXECUTING])
    )
    statement = sa.select(
        newest(reconciliations.c.reconciliation_id),
        newest(order_events.c.event_id),
        newest(risk_states.c.state_id),
        newest(live_changes.c.version),
        newest(trading_switches.c.switch_id),
        newest(table.created_at_ms, table.account == account),
        waiting.scalar_subquery(),
        newest(grids.c.updated_ms, grids.c.account == account),
        newest(dca_plans.c.updated_ms, dca_plans.c.account == account),
        newest(fills.c.time_ms, fills.c.account == account),
        newest(closings.c.closing_id, closings.c.account == account),
        newest(equity.c.time_ms, equity.c.account == account),
        newest(equity.c.equity_id, equity.c.account == account),
    )
    with database.read() as connection:
        *others, filled, closed, read_ms, equity_id = connection.execute(statement).one()
    # A day that begins makes "today" another one.
    results = (filled, closed, None if read_ms is None else floor_ms(read_ms, DAY_MS))
    return Stamp((*others, *results, equity_id), results, equity_id)


def account_view(database: Database, reading: AccountReading) -> Json:
    """Everything of an account but its results."""
    settings, name = reading.settings, reading.account
    links = Links(settings.ui_url)
    session = reading.session
    held = held_by(database, name)
    return {
        "name": name,
        "venue": settings.venue.value,
        "is_real_money": settings.venue.adapter.is_real_money,
        "state": {
            "state": "HALTED" if reading.halted_by_file else reading.state.state.value,
            "reason": halt_line(settings) or reading.state.reason,
            "actor": reading.state.actor,
            "since_ms": reading.state.time_ms,
            "until_ms": reading.state.until_ms,
        },
        "off": reading.off,
        "venue_now_ms": reading.venue_now_ms,
        "books_ms": reading.books_ms,
        "equity": reading.equity,
        "available": reading.available,
        "unrealised": reading.unrealised,
        "realised_today": reading.today,
        "drawdown_pct": None if reading.drawdown is None else reading.drawdown * 100,
        "trader": reading.trader,
        "session": None
        if session is None
        else {
            "updated_wall_ms": session.updated_wall_ms,
            "started_wall_ms": session.started_wall_ms,
            "heard_wall_ms": session.gauges.get("heard_wall_ms"),
            "looped_wall_ms": session.gauges.get("looped_wall_ms"),
        },
        "limits": limits_used(database, reading),
        "positions": [position_view(one, held.get(one.symbol), reading.equity, links) for one in reading.positions],
        "waiting": _signals(database, name, [signals.ACTIVE, signals.EXECUTING], links),
        "refused": _signals(database, name, [signals.REJECTED, signals.EXPIRED], links),
        "plans": [plan for kind in PLANS.values() for plan in kind(database, name)],
        "alarms": [
            {
                "name": one.name,
                "state": one.state.value,
                "severity": one.severity.value,
                "detail": one.detail,
                "since_wall_ms": one.since_wall_ms,
            }
            for one in alarms.current(database, name)
            if one.state is not AlarmState.PENDING
        ],
        "troubles": [*trouble_lines(database, settings), *channel_lines(database, settings)],
    }


def held_by(database: Database, account: str) -> dict[str, Json]:
    """By symbol the signal and the order that a position of ours is from."""
    intents = {one.signal_id: one for one in orders.occupying(database, account)}
    rows = signals.by_ids(database, sorted(intents)).to_dict("records")
    return {
        str(row["symbol"]): {
            "signal_id": row["signal_id"],
            "strategy": row["strategy"],
            "timeframe": row["timeframe"],
            "hour_ms": int(row["hour_ms"]),
            "run_id": row["run_id"] if isinstance(row["run_id"], str) else None,
            "signal_stop": float(row["stop_loss"]),
            "order": intents[row["signal_id"]].order_link_id,
        }
        for row in rows
    }


def position_view(position: OpenPosition, held: Json | None, equity_now: float | None, links: Links) -> Json:
    """A position with its distances, percent of the mark; `along` is its way from the stop to the target, 0 to 1."""
    sign = 1.0 if position.side == "LONG" else -1.0
    stop, target, mark = position.stop, position.target, position.mark

    def away(price: float | None) -> float | None:
        return None if price is None or not mark else sign * (price / mark - 1) * 100

    def along(price: float) -> float | None:
        if stop is None or target is None or stop == target:
            return None
        return min(max((price - stop) / (target - stop), 0.0), 1.0)

    risked = None if held is None else sign * (position.entry - held["signal_stop"])
    return {
        "symbol": position.symbol,
        "side": position.side,
        "size": position.size,
        "entry": position.entry,
        "mark": mark,
        "stop": stop,
        "target": target,
        "liquidation": position.liquidation,
        "pnl": position.pnl,
        "pnl_pct": sign * (mark / position.entry - 1) * 100 if position.entry else None,
        "notional": position.notional,
        "share_pct": position.notional / equity_now * 100 if equity_now else None,
        "opened_ms": position.opened_ms,
        "stop_pct": away(stop),
        "target_pct": away(target),
        "liquidation_pct": None if (far := away(position.liquidation)) is None else abs(far),
        "along": along(mark),
        "entry_along": along(position.entry),
        "risk_multiple": sign * (mark - position.entry) / risked if risked and risked > 0 else None,
        **({"strategy": None, "timeframe": None, "order": None} if held is None else held),
        "links": {}
        if held is None
        else {
            "signals": links.partition("entry_signals", held["hour_ms"]),
            "selection": links.partition(SELECTIONS, held["hour_ms"]),
            "backtests": links.partition(f"backtest_results/{held['timeframe']}", held["hour_ms"]),
            **({"run": links.run(held["run_id"])} if held["run_id"] else {}),
        },
    }


def limits_used(database: Database, reading: AccountReading) -> list[Json]:
    """How much of each limit is used, in the limit's unit; nothing before the first reading of the books."""
    if reading.equity is None or reading.equity <= 0:
        return []
    settings, name = reading.settings, reading.account
    capital = reading.equity * float(settings.capital_share_pct) / 100
    states = risk.read_history(database, name)
    lost = executions.realised(database, name, loss_counts_from_ms(states, reading.books_ms or reading.venue_now_ms))
    exposures = [one.notional / capital * 100 for one in reading.positions]
    rows = [
        ("drawdown", (reading.drawdown or 0.0) * 100, settings.max_drawdown_pct, "%"),
        (
            "daily loss",
            max(0.0, lost_today_pct(Decimal(str(reading.equity)), lost)),
            settings.max_daily_loss_pct,
            "%",
        ),
        ("exposure", sum(exposures), float(settings.max_total_exposure_pct), "%"),
        ("largest coin", max(exposures, default=0.0), float(settings.max_symbol_exposure_pct), "%"),
        ("positions", float(len(reading.positions)), float(settings.max_positions), ""),
    ]
    if reading.books_ms is not None and reading.is_traded:
        age_s = max(0.0, (reading.venue_now_ms - reading.books_ms) / 1000)
        rows.append(("age of the books", age_s, float(settings.max_reconciliation_age_s), "s"))
    return [{"name": what, "used": used, "limit": float(limit), "unit": unit} for what, used, limit, unit in rows]


def results_view(database: Database, account: str) -> Json:
    """Closed trades since the start and today, by strategy, symbol and timeframe; the last ones, and fills."""
    newest = balance.newest_snapshot_ms(database, account)
    return {
        "name": account,
        "ever": performance(database, account).plain(),
        "today": None if newest is None else performance(database, account, floor_ms(newest, DAY_MS)).plain(),
        "fills": _fills(database, account),
        "closings": _closings(database, account),
    }


def curve_view(database: Database, account: str, curve: Curve) -> Json:
    """The equity since the start, and what was earned."""
    curve.update(database, account)
    return {
        "name": account,
        "first_ms": curve.first_ms,
        "change": curve.change,
        "paid_in": curve.paid_in,
        "points": curve.points(),
    }


class Curve:
    """The equity of an account since its start. Rows are read once: what is new since the last look is added."""

    def __init__(self) -> None:
        self._newest_id = 0
        self._rows: list[tuple[int, float]] = []
        self.paid_in = 0.0

    def update(self, database: Database, account: str) -> None:
        """Read what is new."""
        for newest_id, time_ms, value, transferred in balance.equity_since(database, account, self._newest_id):
            self.paid_in += transferred if self._rows else 0.0
            self._rows.append((time_ms, value))
            self._newest_id = newest_id

    @property
    def first_ms(self) -> int | None:
        """Moment of the first snapshot."""
        return self._rows[0][0] if self._rows else None

    @property
    def invested(self) -> float:
        """What the account began with and was paid in since, USD."""
        return (self._rows[0][1] if self._rows else 0.0) + self.paid_in

    @property
    def change(self) -> float:
        """What was earned since the first snapshot, USD: money paid in or out is no result."""
        return self._rows[-1][1] - self.invested if self._rows else 0.0

    def points(self) -> list[tuple[int, float]]:
        """Moments (UTC s, each once) and equity: as many as a picture shows, the newest among them."""
        step = max(1, -(-len(self._rows) // CURVE_POINTS))
        thinned = self._rows[::-1][::step][::-1]
        return list({time_ms // 1000: value for time_ms, value in thinned}.items())


def market_view(database: Database, settings: Settings) -> Json:
    """The newest hour's selections, and what is wrong with research."""
    links = Links(settings.ui_url)
    hour = selections.newest_hour_ms(database)
    found: Json = {
        "hour": None if hour is None else hour_key(hour),
        "hour_end_ms": None if hour is None else hour + HOUR_MS,
        "rows": [],
        "links": {},
        "troubles": [one for one in (*blocked_lines(database), no_coin_line(database)) if one],
    }
    if hour is None:
        return found
    rows = read_partitions(database, STRATEGY_SELECTIONS, [hour]).sort_values("score", ascending=False)
    run = written_by(database, SELECTIONS, hour)
    return {
        **found,
        "count": len(rows),
        "rows": [
            {**row, "link": links.partition(f"backtest_results/{row['timeframe']}", hour)}
            for row in records(rows[list(_CHOSEN)].head(SELECTIONS_SHOWN))
        ],
        "links": {"selection": links.partition(SELECTIONS, hour), **({"run": links.run(run)} if run else {})},
    }


def _signals(database: Database, account: str, statuses: Sequence[str], links: Links) -> list[Json]:
    rows = signals.newest(database, account, SIGNALS_SHOWN, statuses=statuses)
    return [
        {**{name: row[name] for name in _SIGNAL}, "link": links.partition("entry_signals", int(str(row["hour_ms"])))}
        for row in records(rows.iloc[::-1])
    ]


def _fills(database: Database, account: str) -> list[Json]:
    rows = executions.fill_rows(database, account, _since(database, account), FillKind.TRADE)
    return records(rows.tail(FILLS_SHOWN).iloc[::-1])


def _closings(database: Database, account: str) -> list[Json]:
    rows = executions.closing_rows(database, account, _since(database, account))
    return records(rows.tail(CLOSINGS_SHOWN).iloc[::-1])


def _since(database: Database, account: str) -> int:
    """A week before the newest reading of the books: what is shown last is looked for there."""
    return max(0, (balance.newest_snapshot_ms(database, account) or 0) - 7 * DAY_MS)


def _grids(database: Database, account: str) -> list[Json]:
    return [
        {
            "kind": "grid",
            "id": row["grid_id"],
            "symbol": row["symbol"],
            "style": f"{row['kind']} {row['spacing']}, {row['levels']} levels",
            "state": row["state"],
            "reason": row["reason"],
            "ends": [["low", row["low"]], ["high", row["high"]]],
            "mark": row["mark_price"],
            "profit": row["total"],
            "booked": row["grid_profit"],
            "detail": f"{row['round_trips']} round trips, {row['waiting_orders']} orders wait, "
            f"{row['blocked_levels']} levels blocked",
        }
        for row in (one.as_row() for one in grid_status.status_of(database, account, all_of_them=False))
    ]


def _dca(database: Database, account: str) -> list[Json]:
    return [
        {
            "kind": "DCA",
            "id": row["plan_id"],
            "symbol": row["symbol"],
            "style": f"{row['side']} {row['amount']:g} USD, {row['schedule']}",
            "state": row["state"],
            "reason": row["reason"],
            "ends": [["stop", row["stop"]], ["target", row["target"]]],
            "mark": row["mark_price"],
            "profit": row["total"],
            "booked": row["closed_pnl"],
            "detail": f"{row['deployed']:,.2f} of {row['max_deployed']:,.2f} USD deployed, "
            f"{row[dca.FILLED]} buys filled, {row[dca.REFUSED]} refused, {row['waiting_orders']} orders wait",
        }
        for row in (one.as_row() for one in dca_status.status_of(database, account, ended=False))
    ]


PLANS: Mapping[str, Callable[[Database, str], list[Json]]] = {"grid": _grids, "dca": _dca}
"""What trades by a plan of its own instead of signals: kind, and its rows for the page. Another kind: another line."""
