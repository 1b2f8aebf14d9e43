"""`trading-assets dca`: DCA plans of an account, from their start to their end.

A command writes what is wanted into the ledger, and then looks after the plans itself, unless another process does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pandas as pd

from trading_assets.cli.account_context import ABOVE_ZERO, opened
from trading_assets.cli.account_option import account_option, one_account_option, shown_account
from trading_assets.cli.console import echo, frame_table, open_console
from trading_assets.cli.opening import command_time, open_ledger
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, Timeframe, floor_ms, iso, to_ms

if TYPE_CHECKING:
    from trading_assets.trading.context import ExecutionContext
    from trading_assets.trading.dca.plans import Plan
    from trading_assets.trading.dca.status import PlanStatus


_DAYS = 30
"""So far back a backtest goes by default."""


class _Moment(click.ParamType):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time, such as 2026-01-31 or 2026-01-31T09:00 (UTC)", param, ctx)
        return to_ms(found if found.tzinfo is not None else found.replace(tzinfo=UTC))


MOMENT = _Moment()
"""A moment, UTC unless it says otherwise; as UTC ms."""

_symbol = click.argument("symbol")
_symbols = click.argument("symbols", nargs=-1, required=True)
_reason = click.argument("reason", nargs=-1)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead.")

_SIDES = click.Choice(["long", "short"])
_side = click.option("--side", type=_SIDES, default="long", show_default=True, help="What it collects.")
_leverage = click.option("--leverage", type=ABOVE_ZERO, default="1", show_default=True, help="Of the symbol.")

_SHAPE = (
    click.option("--schedule", help="Such as 'every 4h' (m, h, d, w), or five fields of cron, UTC: '0 9 * * 1'."),
    click.option("--amount", type=ABOVE_ZERO, help="Value of each scheduled order, USD."),
    click.option("--max", "max_deployed", type=ABOVE_ZERO, help="Value at entry of all that it may hold, USD."),
    click.option("--stop-pct", type=ABOVE_ZERO, help="Hard stop: distance from the average entry, percent."),
    click.option("--stop", "stop_price", type=ABOVE_ZERO, help="Hard stop: a price, in place of --stop-pct."),
    click.option("--target-pct", type=ABOVE_ZERO, help="Take profit of the whole: distance from the average entry."),
    click.option("--safety", "safety_orders", type=click.IntRange(0, 20), help="Orders that wait beyond the entry."),
    click.option("--safety-step", "safety_step_pct", type=ABOVE_ZERO, help="Distance between them, percent."),
    click.option("--safety-scale", type=ABOVE_ZERO, help="Each one's amount by that before it; the first by --amount."),
    click.option("--missed", type=click.Choice(["skip", "latest"]), help="Missed times: skip, or buy the newest late."),
    click.option("--grace", "grace_s", type=click.IntRange(10, 366 * 86_400), help="So late a time is in time, s."),
    click.option("--after-target", type=click.Choice(["repeat", "end"]), help="What follows the target."),
    click.option("--end", "end_ms", type=MOMENT, help="Nothing is opened from then on, UTC."),
)


def shape_options(command: Any) -> Any:
    """The options that say what a plan is; each is None where it is not given."""
    for option in reversed(_SHAPE):
        command = option(command)
    return command


def plan_from(symbol: str, now_ms: int, given: dict[str, Any]) -> Plan:
    """A plan from what was given; what was not has its default.

    Raises:
        UsageError: something that a plan needs was not given.
    """
    from trading_assets.core.models import Side  # noqa: PLC0415
    from trading_assets.trading.dca.plans import AfterTarget, Missed, Plan  # noqa: PLC0415

    values = {name: value for name, value in given.items() if value is not None}
    needed = ("schedule", "amount", "max_deployed")
    missing = [f"--{'max' if name == 'max_deployed' else name}" for name in needed if name not in values]
    if missing:
        raise click.UsageError(f"a plan needs {', '.join(missing)}")
    if ("stop_pct" in values) == ("stop_price" in values):
        raise click.UsageError("a plan needs its hard stop: give --stop-pct or --stop")
    if values.get("safety_orders") and "safety_step_pct" not in values:
        raise click.UsageError("safety orders need their distance: --safety-step")
    start_ms = values.pop("start_ms", None)
    return Plan(
        symbol=symbol.upper(),
        side=Side.SELL if values.pop("side", "long") == "short" else Side.BUY,
        anchor_ms=now_ms if start_ms is None else start_ms,
        leverage=values.pop("leverage", Decimal(1)),
        **_words(values, Missed, AfterTarget),
    )


def _words(values: dict[str, Any], missed: Any, after_target: Any) -> dict[str, Any]:
    kinds = {"missed": missed, "after_target": after_target}
    return {name: kinds[name](value) if name in kinds else value for name, value in values.items()}


@click.group()
def dca() -> None:
    """DCA plans: a fixed amount at scheduled times, with one target and one hard stop for the whole."""


@dca.command("start")
@_symbols
@_side
@_leverage
@click.option(
    "--start", "start_ms", type=MOMENT, help="First time of an interval; nothing is due before. Default: now."
)
@shape_options
@click.option("--dry-run", is_flag=True, help="Show and check it; start nothing.")
@_yes
@one_account_option
def start_plan(symbols: tuple[str, ...], dry_run: bool, yes: bool, account: str, **given: Any) -> None:
    """Start a plan in each of SYMBOLS, which it owns until it has ended: nothing else is traded there.

    Every plan needs its hard stop, which waits at the exchange with the position. It is checked first; --dry-run checks
    alone. An interval begins at once, unless --start says otherwise.
    """
    from trading_assets.trading.dca import control  # noqa: PLC0415
    from trading_assets.trading.dca.schedule import DcaError  # noqa: PLC0415

    with opened("dca start", account) as context:
        now_ms = context.exchange.now_ms()
        coins = dict.fromkeys(symbol.upper() for symbol in symbols)
        proposals = [control.propose(context, plan_from(symbol, now_ms, given)) for symbol in coins]
        for proposal in proposals:
            _show(proposal)
        problems = any(proposal.problems for proposal in proposals)
        if dry_run:
            raise SystemExit(1 if problems else 0)
        if not yes and not problems:
            click.confirm(
                f"Start {'it' if len(symbols) == 1 else 'them'} on {context.settings.venue.value}?", abort=True
            )
        if problems:
            told = [f"{one.plan.symbol}: {'; '.join(one.problems)}" for one in proposals if one.problems]
            raise DcaError(f"no DCA plan was started: {'; '.join(told)}")
        for proposal in proposals:
            row, _ = control.start(context, proposal.plan)
            echo(f"DCA plan {row.plan_id} is in the ledger")
        _maintain(context)


@dca.command("list")
@_json
@account_option
def list_plans(as_json: bool, account: str) -> None:
    """Every plan of the account, the newest first, ended ones too."""
    _print([one.as_row() for one in _found(None, account, every=True)], as_json)


@dca.command("status")
@click.argument("symbol", required=False)
@_json
@account_option
def show_status(symbol: str | None, as_json: bool, account: str) -> None:
    """The newest plan of each symbol. Of SYMBOL also its scheduled times, and what became of them."""
    found = _found(symbol, account)
    rows = [one.as_row() | ({"times": one.buy_rows()} if symbol else {}) for one in found]
    _print(rows, as_json)
    if as_json:
        return
    for one in found:
        if one.row.reason:
            echo(f"{one.row.symbol} is {one.row.state}: {one.row.reason}")
        echo(f"{one.row.symbol}: ledger and exchange were compared at {iso(one.row.read_ms)}")
    if symbol:
        columns = {"due": "due", "outcome": "outcome", "qty": "quantity", "price": "price", "reason": "reason"}
        times = [{**row, "due": iso(int(str(row["due_ms"])))} for one in found for row in one.buy_rows()]
        open_console().print(frame_table("scheduled times", pd.DataFrame(times, columns=[*columns]), columns))


@dca.command("adjust")
@_symbol
@shape_options
@_yes
@one_account_option
def adjust_plan(symbol: str, yes: bool, account: str, **given: Any) -> None:
    """Change SYMBOL's plan. What it holds stays; times of another schedule count from now on."""
    from trading_assets.trading.dca import control  # noqa: PLC0415
    from trading_assets.trading.dca.plans import AfterTarget, Missed  # noqa: PLC0415

    changes = _words({name: value for name, value in given.items() if value is not None}, Missed, AfterTarget)
    if not changes:
        raise click.UsageError("give what is to be changed")
    if "stop_pct" in changes and "stop_price" in changes:
        raise click.UsageError("give --stop-pct or --stop")
    if "stop_pct" in changes or "stop_price" in changes:
        changes = {"stop_pct": None, "stop_price": None} | changes
    with opened("dca adjust", account) as context:
        row = control.living(context.database, context.settings.account, symbol.upper())
        if "schedule" in changes:
            changes["anchor_ms"] = context.exchange.now_ms()
        plan = replace(control.current_plan(context.database, row.account, row.symbol), **changes)
        if not yes:
            _show(control.propose(context, plan, of_row=row))
            click.confirm("Change the plan to it?", abort=True)
        control.adjust(context, plan)
        _maintain(context)


@dca.command("pause")
@_symbol
@_reason
@one_account_option
def pause_plan(symbol: str, reason: tuple[str, ...], account: str) -> None:
    """Open nothing more in SYMBOL: scheduled times are skipped, safety orders cancelled. Stop and target stay."""
    from trading_assets.trading.dca import control  # noqa: PLC0415

    with opened("dca pause", account) as context:
        now_ms = command_time(context.settings, may_be_local=True)
        text = " ".join(reason) or "no reason given"
        control.pause(context.database, context.settings.account, symbol.upper(), text, now_ms)
        _maintain(context)


@dca.command("resume")
@_symbol
@one_account_option
def resume_plan(symbol: str, account: str) -> None:
    """Go on after a pause, or after a block that a person has looked into."""
    from trading_assets.trading.dca import control  # noqa: PLC0415

    with opened("dca resume", account) as context:
        now_ms = command_time(context.settings, may_be_local=True)
        control.resume(context.database, context.settings.account, symbol.upper(), now_ms)
        _maintain(context)


@dca.command("stop")
@_symbol
@_reason
@click.option("--keep", is_flag=True, help="Leave the position open, with its stop; it is yours from then on.")
@_yes
@one_account_option
def stop_plan(symbol: str, reason: tuple[str, ...], keep: bool, yes: bool, account: str) -> None:
    """Cancel what waits in SYMBOL's plan, close its position at the market, and end it."""
    from trading_assets.trading.dca import control  # noqa: PLC0415

    with opened("dca stop", account) as context:
        what = "leave its position open" if keep else "close its position at the market"
        if not yes:
            click.confirm(f"Stop the DCA plan in {symbol.upper()} and {what}?", abort=True)
        now_ms = command_time(context.settings, may_be_local=True)
        text = " ".join(reason) or "stopped by command"
        control.stop(context.database, context.settings.account, symbol.upper(), text, now_ms, closes=not keep)
        _maintain(context)


@dca.command("backtest")
@_symbol
@_side
@_leverage
@click.option("--from", "first", type=MOMENT, help="First candle, UTC.  [default: 30 days before the last]")
@click.option("--to", "last", type=MOMENT, help="End of the last candle, UTC.  [default: now]")
@click.option("--timeframe", default="1m", show_default=True, help="Of the candles.")
@click.option("--picture", type=click.Path(dir_okay=False, writable=True), help="Write a picture (PNG) there.")
@shape_options
@_json
def backtest_plan(
    symbol: str,
    first: int | None,
    last: int | None,
    timeframe: str,
    picture: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Run a plan over SYMBOL's candles of the venue: seeded, recorded, or Bybit's. Needs no key, and sends nothing.

    Fees and slippage are those of the settings. Of several orders in one candle the worst for the plan counts.
    """
    from trading_assets.reporting.dca_report import backtest, draw_backtest, table  # noqa: PLC0415
    from trading_assets.trading.dca.backtest import report_lines  # noqa: PLC0415
    from trading_assets.venues import open_market_data  # noqa: PLC0415 (imports the connector)

    try:
        step = Timeframe(timeframe)
    except ValueError as error:
        raise click.UsageError(f"{timeframe!r} is no timeframe; such as 1m") from error
    settings = load_settings()
    source = open_market_data(settings)
    end_ms = min(source.now_ms(), last if last is not None else source.now_ms())
    start_ms = end_ms - _DAYS * DAY_MS if first is None else first
    plan = plan_from(symbol, floor_ms(start_ms, step.ms), given)
    found, candles = backtest(source, plan, step, floor_ms(start_ms, step.ms), end_ms, settings)
    if picture is not None:
        Path(picture).write_bytes(draw_backtest(found, candles))
    if as_json:
        click.echo(json.dumps(found.as_row()))
        return
    frame = table(found)
    open_console().print(frame_table("backtest of a DCA plan", frame, {"figure": "figure", "value": "value"}))
    for line in report_lines(found):
        echo(line)


@dca.command("maintain")
@one_account_option
def maintain_plans(account: str) -> None:
    """Look after the account's plans once, as the session and the sensor do."""
    with opened("dca maintain", account) as context:
        _maintain(context)


def _maintain(context: ExecutionContext) -> None:
    from trading_assets.trading.dca.maintain import maintain  # noqa: PLC0415

    report = maintain(context)
    echo(str(report))
    if report.failed:
        raise SystemExit(1)


def _show(proposal: Any) -> None:
    from trading_assets.trading.dca.control import describe  # noqa: PLC0415

    for line in describe(proposal):
        echo(line)
    for problem in proposal.problems:
        echo(f"refused: {problem}", err=True)


def _found(symbol: str | None, account: str, *, every: bool = False) -> list[PlanStatus]:
    from trading_assets.trading.dca.status import status_of  # noqa: PLC0415

    base = load_settings()
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        return status_of(database, settings.account, None if symbol is None else symbol.upper(), every=every)


def _print(rows: list[dict[str, object]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = {
        "plan_id": "plan",
        "side": "side",
        "schedule": "schedule",
        "state": "state",
        "mark_price": "price",
        "held": "holds",
        "deployed": "deployed",
        "average_entry": "average",
        "stop": "stop",
        "target": "target",
        "filled": "filled",
        "skipped": "skipped",
        "closed_pnl": "closed",
        "open_pnl": "open",
        "total": "total",
    }
    open_console().print(frame_table("DCA plans", pd.DataFrame(rows, columns=[*columns]), columns))
