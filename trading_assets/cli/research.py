"""`trading-assets backtest` and `trading-assets chart`: the researcher's bench as commands.

They parse, call one function of `trading_assets.research` and print.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from trading_assets.cli.console import echo, open_console
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import HOUR_MS, TRADED_TIMEFRAMES, first_hour_ms, last_hour_ms

if TYPE_CHECKING:
    from trading_assets.research import Backtest, Source

_SHOWN_TRADES = 5


@click.command("backtest")
@click.argument("strategy")
@click.argument("symbol")
@click.argument("timeframe", type=click.Choice([timeframe.value for timeframe in TRADED_TIMEFRAMES]))
@click.option("--from", "first", help="First hour or day, UTC.  [default: the pipeline's window]")
@click.option("--to", "last", help="Last hour or day, UTC, included.  [default: the newest that is held]")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="One that is not its default.")
@click.option("--chart", type=click.Path(dir_okay=False, path_type=Path), help="Write trades on candles, as one page.")
@click.option("--trades", type=click.Path(dir_okay=False, path_type=Path), help="Write the trades as CSV.")
@click.option("--seeded", is_flag=True, help="Candles of the seeded market, without a home.")
@click.option(
    "--recorded",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Candles of recorded files, as the replay market reads them.",
)
@click.option("--fetch", is_flag=True, help="Ask the venue for candles that the home does not hold.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def backtest_strategy(
    strategy: str,
    symbol: str,
    timeframe: str,
    first: str | None,
    last: str | None,
    parameters: tuple[str, ...],
    chart: Path | None,
    trades: Path | None,
    seeded: bool,
    recorded: tuple[Path, ...],
    fetch: bool,
    as_json: bool,
) -> None:
    """Test STRATEGY on SYMBOL and TIMEFRAME, trade by trade, as the pipeline does.

    Without --from and --to it is the pipeline's window up to the newest hour of the home: the row of backtest_results.
    """
    from trading_assets import research  # noqa: PLC0415 (pandas and numba: two seconds)

    last_ms = last_hour_ms(last)
    try:
        found = research.backtest(
            strategy,
            symbol,
            timeframe,
            first_hour_ms(first),
            None if last_ms is None else last_ms + HOUR_MS,
            parameters=_parsed(parameters),
            source=_source(seeded, recorded, fetch),
        )
    except research.StrategyFailedError as error:
        open_console(stderr=True).print(error.failure.traceback, highlight=False)
        raise
    if trades is not None:
        trades.write_text(found.trades.to_csv(index=False, lineterminator="\n"))
    if chart is not None:
        found.plot().save(chart)
    if as_json:
        metrics = {name: None if math.isnan(value) else value for name, value in found.metrics.items()}
        told = {"strategy": found.strategy, "symbol": found.symbol, "timeframe": found.timeframe}
        range_ = {"from": found.candles.index[0].isoformat(), "to": found.equity.index[-1].isoformat()}
        click.echo(json.dumps({**told, "parameters": found.parameters, **range_, **metrics, "source": found.source}))
        return
    _show(found)
    for what, path in (("trades", trades), ("chart", chart)):
        if path is not None:
            echo(f"{what}: {path}")


def _parsed(given: tuple[str, ...]) -> dict[str, object]:
    """`NAME=VALUE`, values as JSON where they are such."""
    found: dict[str, object] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigurationError(f"--parameter {text}: expected NAME=VALUE, such as stop_atr=2")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _source(seeded: bool, recorded: tuple[Path, ...], fetch: bool) -> Source:
    from trading_assets import research  # noqa: PLC0415 (as above)

    if sum((seeded, bool(recorded), fetch)) > 1:
        raise click.UsageError("give one of --seeded, --recorded and --fetch")
    if seeded:
        return research.seeded()
    return research.open_files(*recorded) if recorded else research.open_home(fetch=fetch)


def _show(found: Backtest) -> None:
    m, console = found.metrics, open_console()
    start, end = found.candles.index[0], found.equity.index[-1]
    echo(
        f"{found.title}, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, {len(found.candles):,} bars of "
        f"{found.source}; {found.made_with}"
    )
    table = Table("figure", "value")
    for name, value in (
        ("closed trades", f"{m['total_trades']:,.0f}"),
        ("mean of a trade", _told(m["mean_r"], "+.3f", " R")),
        ("win rate", f"{m['win_rate']:.1f} %"),
        ("profit factor", f"{m['profit_factor']:.2f}"),
        ("PnL", f"{m['total_pnl']:+,.2f} USD"),
        ("largest drawdown", f"{m['max_drawdown']:.2f} %"),
        ("Sharpe ratio, by the year", f"{m['sharpe_ratio']:.2f}"),
        ("fees", f"{m['fees_paid']:,.2f} USD"),
        ("funding paid", f"{m['funding_paid']:+,.2f} USD"),
        ("held back: trades, PnL", f"{m['out_of_sample_trades']:.0f}, {m['out_of_sample_pnl']:+,.2f} USD"),
        ("p-value, of one try", _told(m["p_value"], ".3f", "") if m["total_pnl"] > 0 else "– (no profit)"),
    ):
        table.add_row(name, value)
    console.print(table)
    if found.trades.empty:
        return
    by_end = found.trades.groupby("reason")["r"].agg(["size", "mean"])
    ends = Table("ended by", "trades", "mean R")
    for reason, row in by_end.iterrows():
        ends.add_row(str(reason), f"{row['size']:.0f}", f"{row['mean']:+.2f}")
    console.print(ends)


def _told(value: float, form: str, unit: str) -> str:
    return "– (too few)" if math.isnan(value) else f"{value:{form}}{unit}"


@click.command("chart")
@click.argument("what")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File.  [default: charts/ in the home]")
@click.option("--fetch", is_flag=True, help="Ask the venue for candles that the home does not hold.")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
def chart_of(what: str, output: Path | None, fetch: bool, show: bool) -> None:
    """Draw WHAT on its candles: an order, a signal, or a selection.

    An order or a signal by its id; a unique beginning is enough. A selection by its coin, such as ETHUSDT, in the
    newest hour, or by hour and coin: 2026-03-02-05:00/ETHUSDT. One HTML file that needs nothing else.
    """
    from trading_assets import research  # noqa: PLC0415 (as above)
    from trading_assets.core.private_files import private_folder, write_private  # noqa: PLC0415

    home = research.open_home(fetch=fetch)
    page = research.chart(what, source=home)
    if output is None:
        private_folder(home.settings.home / "charts")
        output = home.settings.home / "charts" / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', what)}.html"
        write_private(output, page.html)
    else:
        page.save(output)
    echo(f"{page.title}: {output}")
    if show:
        click.launch(str(output))
