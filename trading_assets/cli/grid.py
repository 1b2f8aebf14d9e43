"""`trading-assets grid`: grids of an account, from their start to their end.

A command writes what is wanted into the ledger, and then looks after the grids itself, unless another process does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
import pandas as pd
from click.core import ParameterSource

from trading_assets.cli.account_context import ABOVE_ZERO, opened
from trading_assets.cli.account_option import account_option, one_account_option, shown_account
from trading_assets.cli.console import echo, frame_table, open_console
from trading_assets.cli.grid_backtest import backtest_grid
from trading_assets.cli.grid_options import (
    LEVERAGE,
    RULE,
    STOP_HIGH,
    STOP_LOW,
    bounds_options,
    shape_options,
    stop_options,
)
from trading_assets.cli.opening import command_time, open_ledger
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import Timeframe, hour_key, iso

if TYPE_CHECKING:
    from trading_assets.trading.context import ExecutionContext
    from trading_assets.trading.grid.control import Proposal
    from trading_assets.trading.grid.levels import Plan
    from trading_assets.trading.grid.status import GridStatus

_CANDLES = 200
"""Bounds from ATR or Bollinger bands are computed over so many closed candles."""


_OF_SELECTION = (
    *("kind", "spacing", "low", "high", "atr", "bollinger", "timeframe", "levels"),
    *("stop_low", "stop_high", "stop_beyond", "out_of_range"),
)
"""Options of `grid start` that a selection says itself."""

_symbol = click.argument("symbol")
_reason = click.argument("reason", nargs=-1)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def grid() -> None:
    """Grids: limit orders between two prices, each fill answered by an order one level on."""


grid.add_command(backtest_grid)


@grid.command("selections")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead.")
def show_selections(as_json: bool) -> None:
    """Grids that the newest researched hour selected, the best first. Start one: grid start --from-selection."""
    from trading_assets.trading.grid import selected  # noqa: PLC0415

    with open_ledger(load_settings()) as database:
        hour_ms, rows = selected.newest_hour_ms(database), selected.newest(database)
    if as_json:
        click.echo(rows.to_json(orient="records"))
        return
    if hour_ms is None:
        echo(f"no grid was ever selected: {selected.HOW}")
        return
    columns = {
        "symbol": "symbol",
        "total_trades": "lives",
        "win_rate": "won %",
        "profit_factor": "profit factor",
        "total_pnl": "PnL $",
        "out_of_sample_pnl": "unseen $",
        "mean_r": "mean R",
        "configurations_tried": "tried",
        "deflated_sharpe": "deflated Sharpe",
        "p_value_corrected": "p corrected",
        "parameters": "setting",
    }
    open_console().print(frame_table(f"grids selected in {hour_key(hour_ms)}", rows, columns))


@grid.command("start")
@click.argument("symbol", required=False)
@click.option("--from-selection", is_flag=True, help="As the newest hour selected it, for SYMBOL or the best coin.")
@shape_options
@bounds_options
@click.option("--levels", type=click.IntRange(2, 400), default=10, show_default=True, help="Number of levels.")
@click.option("--capital", type=ABOVE_ZERO, required=True, help="Margin that all levels together may take, USD.")
@LEVERAGE
@stop_options
@click.option("--dry-run", is_flag=True, help="Show and check it; start nothing.")
@_yes
@one_account_option
def start_grid(
    symbol: str | None,
    from_selection: bool,
    kind: str,
    spacing: str,
    low: Decimal | None,
    high: Decimal | None,
    atr: float | None,
    bollinger: float | None,
    timeframe: str,
    levels: int,
    capital: Decimal,
    leverage: Decimal,
    stop_low: Decimal | None,
    stop_high: Decimal | None,
    stop_beyond: float | None,
    out_of_range: str | None,
    dry_run: bool,
    yes: bool,
    account: str,
) -> None:
    """Start a grid in SYMBOL, which it owns until it has ended: no signal of a strategy is traded there.

    Bounds are given by --low and --high, by --atr or by --bollinger. A side that it may hold needs its stop beyond the
    bounds, which waits at the exchange from before the first level on. It is checked first; --dry-run checks alone.
    With --from-selection kind, bounds, levels and stops are those that research selected, at the prices of now; the
    selection is kept with the grid.
    """
    from trading_assets.trading.grid.levels import Kind, OutOfRange, Plan, Spacing  # noqa: PLC0415
    from trading_assets.trading.grid.shapes import stops_beyond  # noqa: PLC0415

    if from_selection:
        given = [name for name in _OF_SELECTION if _is_given(name)]
        if given:
            raise click.UsageError(f"--from-selection has its own {', '.join(given)}: leave that out")
        _start_selected(symbol, capital, leverage, dry_run, yes, account)
        return
    if symbol is None:
        raise click.UsageError("give the SYMBOL, or --from-selection")
    if sum((low is not None or high is not None, atr is not None, bollinger is not None)) != 1:
        raise click.UsageError("give the bounds once: --low and --high, or --atr, or --bollinger")
    with opened("grid start", account) as context:
        if low is None or high is None:
            low, high = _bounds(context, symbol.upper(), low, high, atr, bollinger, timeframe)
        if stop_beyond is not None:
            beyond = stops_beyond(Kind(kind), low, high, stop_beyond)
            stop_low = beyond[0] if stop_low is None else stop_low
            stop_high = beyond[1] if stop_high is None else stop_high
        plan = Plan(
            symbol=symbol.upper(),
            kind=Kind(kind),
            spacing=Spacing(spacing),
            low=low,
            high=high,
            levels=levels,
            capital=capital,
            leverage=leverage,
            stop_low=stop_low,
            stop_high=stop_high,
            out_of_range=OutOfRange(out_of_range or "wait"),
        )
        _start(context, plan, dry_run, yes)


@grid.command("status")
@click.argument("symbol", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead.")
@account_option
def show_status(symbol: str | None, as_json: bool, account: str) -> None:
    """The newest grid of each symbol, or of SYMBOL: state, inventory, profit of pairs and of the inventory apart."""
    from trading_assets.trading.grid.selected import told  # noqa: PLC0415

    found = _found(symbol, account)
    if as_json:
        click.echo(json.dumps([one.as_row() for one in found]))
        return
    columns = {
        "grid_id": "grid",
        "kind": "kind",
        "state": "state",
        "bounds": "bounds",
        "mark_price": "price",
        "inventory": "holds",
        "round_trips": "trips",
        "grid_profit": "grid profit",
        "inventory_pnl": "inventory",
        "funding": "funding",
        "total": "total",
        "waiting_orders": "orders",
        "blocked_levels": "blocked",
    }
    rows = [{**one.as_row(), "bounds": f"{one.grid.low} .. {one.grid.high}"} for one in found]
    open_console().print(frame_table("grids", pd.DataFrame(rows, columns=[*columns]), columns))
    for one in found:
        if one.grid.reason:
            echo(f"{one.grid.symbol} is {one.grid.state}: {one.grid.reason}")
        if one.grid.evidence:
            echo(f"{one.grid.symbol}: {told(one.grid.evidence)}")
        echo(f"{one.grid.symbol}: ledger and exchange were compared at {iso(one.grid.read_ms)}")


@grid.command("levels")
@_symbol
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead.")
@account_option
def show_levels(symbol: str, as_json: bool, account: str) -> None:
    """Levels of SYMBOL's newest grid, the highest first: state, order, what they hold and have earned."""
    (found,) = _found(symbol, account)
    rows = found.level_rows()
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = {
        "level": "level",
        "low": "low",
        "high": "high",
        "side": "opens with",
        "status": "state",
        "held": "holds",
        "order": "order",
        "round_trips": "trips",
        "profit": "profit",
        "blocked": "blocked",
    }
    title = f"{found.grid.symbol} generation {found.grid.generation}"
    open_console().print(frame_table(title, pd.DataFrame(rows, columns=[*columns]), columns))


@grid.command("adjust")
@_symbol
@click.option("--low", type=ABOVE_ZERO, help="Lowest price.")
@click.option("--high", type=ABOVE_ZERO, help="Highest price.")
@click.option("--levels", type=click.IntRange(2, 400), help="Number of levels.")
@click.option("--capital", type=ABOVE_ZERO, help="Margin that all levels together may take, USD.")
@STOP_LOW
@STOP_HIGH
@RULE
@_yes
@one_account_option
def adjust_grid(symbol: str, yes: bool, account: str, **changes: Any) -> None:
    """Move SYMBOL's grid to other bounds, levels, capital or stops. What it holds goes over to the new levels."""
    from trading_assets.trading.grid.levels import OutOfRange  # noqa: PLC0415

    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        raise click.UsageError("give what is to be changed")
    if "out_of_range" in given:
        given["out_of_range"] = OutOfRange(given["out_of_range"])
    _adjust(symbol.upper(), account, yes, lambda _context, plan: replace(plan, **given))


@grid.command("recentre")
@_symbol
@STOP_LOW
@STOP_HIGH
@_yes
@one_account_option
def recentre_grid(symbol: str, stop_low: Decimal | None, stop_high: Decimal | None, yes: bool, account: str) -> None:
    """Lay bounds of the same width around the price of now. The stops stay, unless others are given."""
    from trading_assets.trading.grid.laying import moved  # noqa: PLC0415

    def around(context: ExecutionContext, plan: Plan) -> Plan:
        rules = context.contracts.get(context.exchange, {plan.symbol}, context.wall_ms())[plan.symbol]
        found = moved(plan, context.exchange.ticker(plan.symbol).last, rules.tick_size)
        low = stop_low if stop_low is not None else found.stop_low
        return replace(found, stop_low=low, stop_high=stop_high if stop_high is not None else found.stop_high)

    _adjust(symbol.upper(), account, yes, around)


@grid.command("pause")
@_symbol
@_reason
@one_account_option
def pause_grid(symbol: str, reason: tuple[str, ...], account: str) -> None:
    """Open nothing more in SYMBOL's grid; what it holds is closed at its levels."""
    from trading_assets.trading.grid import control  # noqa: PLC0415

    with opened("grid pause", account) as context:
        now_ms = command_time(context.settings, may_be_local=True)
        text = " ".join(reason) or "no reason given"
        control.pause(context.database, context.settings.account, symbol.upper(), text, now_ms)
        _maintain(context)


@grid.command("resume")
@_symbol
@one_account_option
def resume_grid(symbol: str, account: str) -> None:
    """Go on after a pause, or after a block that a person has looked into. Blocked levels are placed again."""
    from trading_assets.trading.grid import control  # noqa: PLC0415

    with opened("grid resume", account) as context:
        now_ms = command_time(context.settings, may_be_local=True)
        control.resume(context.database, context.settings.account, symbol.upper(), now_ms)
        _maintain(context)


@grid.command("stop")
@_symbol
@_reason
@click.option("--keep", is_flag=True, help="Leave what it holds open, with its stop; it is yours from then on.")
@_yes
@one_account_option
def stop_grid(symbol: str, reason: tuple[str, ...], keep: bool, yes: bool, account: str) -> None:
    """Cancel what waits in SYMBOL's grid, close what it holds at the market, and end it."""
    from trading_assets.trading.grid import control  # noqa: PLC0415

    with opened("grid stop", account) as context:
        what = "leave its inventory open" if keep else "close its inventory at the market"
        if not yes:
            click.confirm(f"Stop the grid in {symbol.upper()} and {what}?", abort=True)
        now_ms = command_time(context.settings, may_be_local=True)
        text = " ".join(reason) or "stopped by command"
        control.stop(context.database, context.settings.account, symbol.upper(), text, now_ms, closes=not keep)
        _maintain(context)


@grid.command("maintain")
@one_account_option
def maintain_grids(account: str) -> None:
    """Look after the account's grids once, as the session and the sensor do."""
    with opened("grid maintain", account) as context:
        _maintain(context)


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _start_selected(
    symbol: str | None, capital: Decimal, leverage: Decimal, dry_run: bool, yes: bool, account: str
) -> None:
    from trading_assets.trading.grid import selected  # noqa: PLC0415
    from trading_assets.trading.grid.ranking import BOUNDS, BOUNDS_BARS  # noqa: PLC0415

    with opened("grid start", account) as context:
        now_ms, oldest_s = context.exchange.now_ms(), context.settings.max_selection_age_s
        found = selected.choose(context.database, None if symbol is None else symbol.upper(), now_ms, oldest_s)
        candles = context.exchange.candles(found.symbol, BOUNDS, now_ms - (BOUNDS_BARS + 1) * BOUNDS.ms, now_ms)
        evidence = found.evidence()
        echo(f"{found.symbol}: {selected.told(evidence)}")
        _start(context, found.plan(candles.closed_by(now_ms), capital, leverage), dry_run, yes, evidence)


def _start(context: ExecutionContext, plan: Plan, dry_run: bool, yes: bool, evidence: str | None = None) -> None:
    from trading_assets.trading.grid import control  # noqa: PLC0415

    proposal = control.propose(context, plan)
    _show(proposal)
    if dry_run:
        raise SystemExit(1 if proposal.problems else 0)
    if not yes and not proposal.problems:
        click.confirm(f"Start it on {context.settings.venue.value}?", abort=True)
    found, _ = control.start(context, plan, evidence=evidence)
    echo(f"grid {found.grid_id} is in the ledger")
    _maintain(context)


def _adjust(symbol: str, account: str, yes: bool, change: Any) -> None:
    from trading_assets.trading.grid import control  # noqa: PLC0415

    with opened("grid adjust", account) as context:
        held = control.current_plan(context.database, context.settings.account, symbol)
        plan = change(context, held)
        if not yes:
            moving = control.living(context.database, context.settings.account, symbol)
            _show(control.propose(context, plan, of_grid=moving))
            click.confirm("Move the grid to it?", abort=True)
        control.adjust(context, plan)
        _maintain(context)


def _maintain(context: ExecutionContext) -> None:
    from trading_assets.trading.grid.maintain import maintain  # noqa: PLC0415

    report = maintain(context)
    echo(str(report))
    if report.failed:
        raise SystemExit(1)


def _found(symbol: str | None, account: str) -> list[GridStatus]:
    from trading_assets.trading.grid.status import status_of  # noqa: PLC0415

    base = load_settings()
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        return status_of(database, settings.account, None if symbol is None else symbol.upper())


def _show(proposal: Proposal) -> None:
    plan, levels = proposal.plan, proposal.levels
    echo(
        f"{plan.symbol} at {proposal.price}: {plan.kind} grid of {len(levels)} levels from {levels[0].low} to "
        f"{levels[-1].high}, {levels[0].qty} each; a round trip earns at least {proposal.earns_pct:.3f} % after fees"
    )
    for stop, lost in proposal.loses.items():
        echo(f"with every level open, the stop {stop} costs ${lost:.2f}")
    for problem in proposal.problems:
        echo(f"refused: {problem}", err=True)


def _bounds(
    context: ExecutionContext,
    symbol: str,
    low: Decimal | None,
    high: Decimal | None,
    atr: float | None,
    bollinger: float | None,
    timeframe: str,
) -> tuple[Decimal, Decimal]:
    from trading_assets.trading.grid import levels  # noqa: PLC0415

    if low is not None or high is not None:
        raise click.UsageError("give both --low and --high")
    try:
        step = Timeframe(timeframe)
    except ValueError as error:
        raise click.UsageError(f"{timeframe!r} is no timeframe; such as 60m") from error
    now_ms = context.exchange.now_ms()
    candles = context.exchange.candles(symbol, step, now_ms - _CANDLES * step.ms, now_ms)
    if atr is not None:
        return levels.bounds_by_atr(candles, atr)
    return levels.bounds_by_bollinger(candles, bollinger or 2.0)
