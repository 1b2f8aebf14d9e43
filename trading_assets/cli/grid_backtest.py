"""`trading-assets grid backtest`: a grid over candles of the past. Nothing is started, and no account is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pandas as pd

from trading_assets.cli.account_context import ABOVE_ZERO
from trading_assets.cli.console import echo, frame_table, open_console
from trading_assets.cli.grid_options import LEVERAGE, bounds_options, shape_options, stop_options
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ConfigurationError, DataError
from trading_assets.core.models import Instrument
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe, first_hour_ms, iso, last_hour_ms

if TYPE_CHECKING:
    from trading_assets.trading.grid.backtest import GridBacktest
    from trading_assets.trading.grid.levels import Plan
    from trading_assets.trading.grid.simulation import GridResult

_BOUNDS_CANDLES = 200
_MOST_MINUTES = 45_000
"""Bars of a minute up to a month, of five beyond."""


@dataclass(frozen=True)
class _Source:
    """Where prices come from."""

    name: str
    instrument: Callable[[str], Instrument]
    candles: Callable[[str, Timeframe, int, int], Candles]
    funding: Callable[[str, int, int], Funding]


@click.command("backtest")
@click.argument("symbol")
@click.option("--from", "first", required=True, help="First hour or day, UTC: the grid starts then.")
@click.option("--to", "last", required=True, help="Last hour or day, UTC, included.")
@shape_options
@bounds_options
@click.option("--levels", type=click.IntRange(2, 400), default=10, show_default=True, help="Number of levels.")
@click.option("--capital", type=ABOVE_ZERO, default="500", show_default=True, help="Margin of all levels, USD.")
@LEVERAGE
@stop_options
@click.option("--bars", help="Timeframe of the candles.  [default: 1m up to a month, else 5m]")
@click.option("--detail", help="A shorter timeframe: its candles stand for the longer ones where they are whole.")
@click.option("--seeded", is_flag=True, help="Prices of the seeded market, without an exchange.")
@click.option(
    "--recorded",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Prices of recorded candles, as the replay market reads them.",
)
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture, too (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def backtest_grid(
    symbol: str,
    first: str,
    last: str,
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
    bars: str | None,
    detail: str | None,
    seeded: bool,
    recorded: tuple[Path, ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """What a grid in SYMBOL would have come to from one time to another, decided by the rule that live decides by.

    Two readings of the candles are told: what they prove, which is the result, and one way that the price may have
    taken. Bounds from --atr or --bollinger are those of the start; stops lie 5 % beyond the bounds unless they are
    given.
    """
    from trading_assets.trading.grid.backtest import backtest  # noqa: PLC0415
    from trading_assets.trading.grid.levels import Kind, OutOfRange, Plan, Spacing  # noqa: PLC0415
    from trading_assets.trading.grid.shapes import stops_beyond  # noqa: PLC0415
    from trading_assets.trading.grid.simulation import GridCosts  # noqa: PLC0415

    settings, symbol = load_settings(), symbol.upper()
    start_ms, last_ms = first_hour_ms(first), last_hour_ms(last)
    if start_ms is None or last_ms is None or start_ms >= last_ms + HOUR_MS:
        raise ConfigurationError("--from is not before --to; expected such as --from 2026-03-01 --to 2026-03-30")
    end_ms = last_ms + HOUR_MS
    source = _source(settings, seeded, recorded)
    step = _timeframe(bars or ("1m" if end_ms - start_ms <= _MOST_MINUTES * MINUTE_MS else "5m"))
    finer = None if detail is None else _timeframe(detail)
    if finer is not None and finer.ms >= step.ms:
        raise click.UsageError(f"--detail {finer.value} is not shorter than the bars of {step.value}")
    if low is None or high is None:
        low, high = _bounds(source, symbol, start_ms, low, high, atr, bollinger, timeframe)
    beyond = stops_beyond(Kind(kind), low, high, 5.0 if stop_beyond is None else stop_beyond)
    plan = Plan(
        symbol=symbol,
        kind=Kind(kind),
        spacing=Spacing(spacing),
        low=low,
        high=high,
        levels=levels,
        capital=capital,
        leverage=leverage,
        stop_low=stop_low if stop_low is not None else beyond[0],
        stop_high=stop_high if stop_high is not None else beyond[1],
        out_of_range=OutOfRange(out_of_range or "wait"),
    )
    rules = source.instrument(symbol)
    # From the bar that closes when the grid starts.
    candles = source.candles(symbol, step, start_ms - step.ms, end_ms)
    found = backtest(
        plan,
        candles,
        rules,
        GridCosts(_share(settings.maker_fee), _share(settings.taker_fee), _share(settings.slippage_bps / 10_000)),
        source.funding(symbol, start_ms, end_ms),
        detail=None if finer is None else source.candles(symbol, finer, start_ms, end_ms),
    )
    refusals = _refusals(found, plan, rules, settings, candles.close[0])
    if picture is not None:
        from trading_assets.reporting.grid_picture import draw_backtest  # noqa: PLC0415 (matplotlib)

        picture.write_bytes(draw_backtest(found))
    if as_json:
        readings = {"proven": _figures(found.proven), "path": _figures(found.path)}
        rest = {"market": source.name, "wide_bars_pct": found.wide_bars_pct, "holding": found.holding}
        click.echo(json.dumps({"symbol": symbol, **readings, **rest, "refused": refusals}))
        return
    _show(found, source.name, step, start_ms, end_ms, refusals)
    if picture is not None:
        echo(f"picture: {picture}")


def _share(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _timeframe(name: str) -> Timeframe:
    try:
        return Timeframe(name)
    except ValueError as error:
        raise click.UsageError(f"{name!r} is no timeframe; such as {', '.join(Timeframe)}") from error


def _source(settings: Settings, seeded: bool, recorded: tuple[Path, ...]) -> _Source:
    if seeded and recorded:
        raise click.UsageError("give --seeded or --recorded, not both")
    if seeded or recorded:
        from trading_assets.simulator.market.reader import MarketReader  # noqa: PLC0415
        from trading_assets.simulator.market.replay import ReplayMarket  # noqa: PLC0415
        from trading_assets.simulator.market.seeded import SeededMarket  # noqa: PLC0415

        market = (
            ReplayMarket(recorded, settings.simulator_seed)
            if recorded
            else SeededMarket(settings.simulator_seed, settings.simulator_symbols)
        )
        reader = MarketReader(market)

        def listed(symbol: str) -> Instrument:
            if symbol not in market.contracts:
                raise DataError(f"{symbol} is not listed; there are {', '.join(list(market.contracts)[:8])} ...")
            return reader.instrument(symbol)

        return _Source("recorded" if recorded else "seeded", listed, reader.read, reader.read_funding)
    from trading_assets.venues import open_market_data  # noqa: PLC0415 (imports the connector)

    data = open_market_data(settings)

    def of_venue(symbol: str) -> Instrument:
        found = next((one for one in data.instruments() if one.symbol == symbol), None)
        if found is None:
            raise DataError(f"{symbol} is not listed at {settings.venue.value}")
        return found

    return _Source(data.market(), of_venue, data.candles, data.funding)


def _bounds(
    source: _Source,
    symbol: str,
    start_ms: int,
    low: Decimal | None,
    high: Decimal | None,
    atr: float | None,
    bollinger: float | None,
    timeframe: str,
) -> tuple[Decimal, Decimal]:
    """Of the candles that had closed when the grid started."""
    from trading_assets.trading.grid import levels  # noqa: PLC0415

    if low is not None or high is not None:
        raise click.UsageError("give both --low and --high")
    step = _timeframe(timeframe)
    source.instrument(symbol)
    candles = source.candles(symbol, step, start_ms - _BOUNDS_CANDLES * step.ms, start_ms).closed_by(start_ms)
    if bollinger is not None:
        return levels.bounds_by_bollinger(candles, bollinger)
    return levels.bounds_by_atr(candles, 6.0 if atr is None else atr)


def _refusals(found: GridBacktest, plan: Plan, rules: Instrument, settings: Settings, price: float) -> list[str]:
    """Why a start would be refused with the capital of reports."""
    from trading_assets.trading.grid.checks import Surroundings, problems  # noqa: PLC0415

    capital = settings.report_capital
    around = Surroundings(
        instrument=rules,
        price=Decimal(repr(float(price))),
        equity=capital,
        available=capital,
        maker=_share(settings.maker_fee),
        taker=_share(settings.taker_fee),
    )
    return problems(plan, found.proven.levels, around, settings)


def _figures(result: GridResult) -> dict[str, object]:
    found = result.figures
    return {
        "state": result.state,
        "reason": result.reason,
        "fills": len(result.fills),
        "round_trips": found.round_trips,
        "grid_profit": round(float(found.grid_profit), 8),
        "inventory_pnl": round(float(found.inventory_pnl), 8),
        "funding": round(float(found.funding), 8),
        "fees": round(float(found.fees), 8),
        "total": round(float(found.total), 8),
        "inventory": float(found.inventory),
        "max_drawdown": round(result.max_drawdown, 8),
        "worst_inventory": round(result.worst_inventory, 2),
        "moves": len(result.bounds) - 1,
    }


def _show(found: GridBacktest, market: str, step: Timeframe, start_ms: int, end_ms: int, refusals: list[str]) -> None:
    plan, result = found.proven.plan, found.proven
    levels = result.levels
    echo(
        f"{plan.symbol} of {market}, {iso(start_ms)} to {iso(end_ms)}, {len(result.bars)} bars of {step.value}: "
        f"{plan.kind} grid of {len(levels)} levels from {levels[0].low} to {levels[-1].high}, {levels[0].qty} each, "
        f"stops {plan.stop_low or 'none'} and {plan.stop_high or 'none'}"
    )
    columns = {
        "reading": "reading",
        "state": "state",
        "fills": "fills",
        "round_trips": "trips",
        "grid_profit": "grid profit",
        "inventory_pnl": "inventory",
        "funding": "funding",
        "fees": "fees",
        "total": "total $",
        "max_drawdown": "drawdown $",
        "worst_inventory": "worst value $",
        "moves": "moves",
    }
    rows = [{"reading": "proven", **_figures(found.proven)}, {"reading": "one way", **_figures(found.path)}]
    open_console().print(frame_table("backtest", pd.DataFrame(rows, columns=[*columns]), columns))
    if result.reason:
        echo(f"it is {result.state}: {result.reason}")
    echo(
        f"{found.return_pct:+.2f} % of its capital of ${plan.capital}; ${found.uncertain:.2f} between both readings; "
        f"the capital in the coin itself: {found.holding:+.2f} USD"
    )
    from trading_assets.trading.grid.backtest import MANY_WIDE_BARS_PCT  # noqa: PLC0415

    if found.wide_bars_pct > MANY_WIDE_BARS_PCT:
        echo(f"{found.wide_bars_pct:.0f} % of the bars span two levels or more: shorter --bars or --detail tell more")
    for problem in refusals:
        echo(f"a start would be refused: {problem}")
