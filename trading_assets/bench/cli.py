"""`trading-assets bench ...`: options in, a table or one JSON object out. The modules beside do the measuring."""

from __future__ import annotations

import json

import click

from trading_assets.console import open_console
from trading_assets.market.timeframes import TRADED_TIMEFRAMES, Timeframe


@click.group()
def bench() -> None:
    """How fast this machine is at what costs time here."""


@bench.command()
@click.option("--symbols", default=20, show_default=True, type=click.IntRange(1), help="Coins of a random market.")
@click.option("--params", default=20, show_default=True, type=click.IntRange(1, 20), help="Parameter sets of the grid.")
@click.option(
    "--timeframes",
    default=",".join(TRADED_TIMEFRAMES),
    show_default=True,
    help="Comma-separated; each with the window that the pipeline gives it.",
)
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1), help="The fastest of so many counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def backtests(symbols: int, params: int, timeframes: str, repeat: int, as_json: bool) -> None:
    """Sweep bollinger_rsi with the kernel and with other engines, check that results are equal, compare the times."""
    from trading_assets.bench.backtests import measure, table  # noqa: PLC0415 (imports what it measures)

    wanted = timeframes.split(",")
    unknown = [name for name in wanted if name not in TRADED_TIMEFRAMES]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}; expected some of {', '.join(TRADED_TIMEFRAMES)}")
    report = measure(symbols, params, [Timeframe(name) for name in wanted], repeat)
    if as_json:
        click.echo(json.dumps(report))
    else:
        open_console().print(table(report))
