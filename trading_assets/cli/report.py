"""`trading-assets report ...`. Commands parse, make one report, print it and say where its page lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from trading_assets.cli.account_option import account_option, shown_account
from trading_assets.cli.console import line, open_console
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import first_hour_ms, iso, last_hour_ms

if TYPE_CHECKING:
    from trading_assets.reporting.answers import Answer
    from trading_assets.reporting.build import Sources, Written
    from trading_assets.reporting.report import Report


def _range(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--from", "first", help="First hour or day, UTC.  [default: all]"),
        click.option("--to", "last", help="Last hour or day, UTC, included.  [default: all]"),
        click.option(
            "--name", default="", help="Name of the files: they stay.  [default: by hours, and replaces the one before]"
        ),
        click.option("--open", "show", is_flag=True, help="Open the page in the browser."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def report() -> None:
    """Pages of what the system would have done, and of what it did."""


@report.command("walk-forward")
@_range
@account_option
def walk_forward(first: str | None, last: str | None, name: str, show: bool, account: str) -> None:
    """What each hour's selections would have traded in the hour after it, on candles they had not seen."""
    from trading_assets.reporting.build import make_walk_forward  # noqa: PLC0415 (numba: a second)

    _make(make_walk_forward, first, last, name, show, account)


@report.command("strategy")
@click.argument("strategy", metavar="NAME")
@_range
@account_option
def one_strategy(strategy: str, first: str | None, last: str | None, name: str, show: bool, account: str) -> None:
    """What following NAME's selections earned: by coin, timeframe, hour, month, parameters, beside its backtests."""
    from trading_assets.reporting.build import strategy_page  # noqa: PLC0415 (numba: a second)

    sources, console = _sources(account), open_console()
    with console.status("following the selections") as status:
        path = strategy_page(
            sources,
            strategy,
            first_hour_ms(first),
            last_hour_ms(last),
            lambda done, total: status.update(f"following the selections: {done} of {total} coins and timeframes"),
            name,
        )
    console.print(line("page: ", path), soft_wrap=True)
    if show:
        click.launch(str(path))


@report.command("performance")
@_range
@account_option
def performance(first: str | None, last: str | None, name: str, show: bool, account: str) -> None:
    """What the account really traded, beside the walk-forward of the same hours."""
    from trading_assets.reporting.build import make_performance  # noqa: PLC0415 (numba: a second)

    _make(make_performance, first, last, name, show, account)


@report.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
def compare(first: str, second: str, show: bool) -> None:
    """Hold two reports against each other: the page or JSON of each, or its name in the folder of reports."""
    from trading_assets.reporting.build import compare_reports  # noqa: PLC0415 (numba: a second)
    from trading_assets.reporting.compare_page import apart, rows_of, told  # noqa: PLC0415 (as above)

    console = open_console()
    found, page = compare_reports(first, second, load_settings())
    table = Table("", "first", "second", "difference")
    for row in rows_of(found):
        table.add_row(*row)
    console.print(line(("first", "bold"), f": {found.first.name}, ", ("second", "bold"), f": {found.second.name}"))
    console.print(table)
    for text in apart(found):
        console.print(line((text, "yellow")))
    _print_answers(told(found), console)
    console.print(line("page: ", page), soft_wrap=True)
    if show:
        click.launch(str(page))


@report.command("score")
@click.option("--from", "first", help="First hour or day, UTC.  [default: all]")
@click.option("--to", "last", help="Last hour or day, UTC, included.  [default: all]")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Write the table as SVG, too.")
def score(first: str | None, last: str | None, picture: Path | None) -> None:
    """Does the score predict? The selections' figures against what following them earned, by group."""
    from trading_assets.cli.score_tables import score_tables  # noqa: PLC0415 (pandas)
    from trading_assets.reporting.build import make_score_study  # noqa: PLC0415 (numba: a second)
    from trading_assets.reporting.score_study import picture as drawn  # noqa: PLC0415 (as above)

    sources, console = _sources(), open_console()
    with console.status("following the selections") as status:
        cells, earned = make_score_study(
            sources,
            first_hour_ms(first),
            last_hour_ms(last),
            lambda done, total: status.update(f"following the selections: {done} of {total} coins and timeframes"),
        )
    preset = sources.settings.selection_preset
    for table in score_tables({preset: (cells, earned)}):
        console.print(table)
    if picture is not None:
        picture.write_text(drawn([cell for cell in cells if cell.group in ("all", "timeframe")], preset))


def _make(
    make: Callable[..., Report], first: str | None, last: str | None, name: str, show: bool, account: str
) -> None:
    from trading_assets.reporting.build import require_free, write  # noqa: PLC0415

    sources, console = _sources(account), open_console()
    require_free(sources.settings, name)
    with console.status("following the selections") as status:
        made = make(
            sources,
            first_hour_ms(first),
            last_hour_ms(last),
            lambda done, total: status.update(f"following the selections: {done} of {total} coins and timeframes"),
        )
    written = write(made, sources.settings, name)
    _print_summary(made, written, console)
    if show:
        click.launch(str(written.page))


def _print_summary(report: Report, written: Written, console: Console) -> None:
    """One column a track, one line a number."""
    from trading_assets.reporting.answers import answers  # noqa: PLC0415 (as above)
    from trading_assets.reporting.page import matched_sentence  # noqa: PLC0415 (as above)

    console.print(line((report.title, "bold"), f", {iso(report.start_ms)} to {iso(report.end_ms)}"))
    console.print(line(", ".join(f"{name} {value}" for name, value in report.facts.items())))
    _print_answers(answers(report), console)
    tracks = [report.main, *report.beside]
    table = Table("", *(track.curve.name for track in tracks), *([report.holding.name] if report.holding else []))
    for name, field, form in (
        ("return %", "return_pct", "+.2f"),
        ("largest drawdown %", "max_drawdown_pct", ".2f"),
        ("Sharpe ratio", "sharpe_ratio", ".2f"),
        ("its standard error", "sharpe_error", ".2f"),
        ("deflated Sharpe", "deflated_sharpe", ".2f"),
        ("closed trades", "trades", ",d"),
        ("win rate %", "win_rate", ".1f"),
        ("profit factor", "profit_factor", ".2f"),
        ("PnL closed $", "pnl", "+,.2f"),
        ("mean of a trade R", "mean_r", "+.3f"),
        ("mean of a trade bp", "mean_bps", "+.1f"),
        ("open trades", "open_trades", ",d"),
        ("PnL open $", "open_pnl", "+,.2f"),
        ("fees $", "fees", ",.2f"),
        ("slippage $", "slippage", ",.2f"),
        ("funding paid $", "funding", "+,.2f"),
        ("turnover $", "turnover", ",.0f"),
        ("mean exposure %", "exposure_pct", ".1f"),
    ):
        values = [_number(getattr(track.figures, field), form) for track in tracks]
        if report.holding is not None and field == "return_pct":
            values.append(format(report.holding.returns_pct[-1], form))
        if report.holding is not None and field == "max_drawdown_pct":
            values.append(format(report.holding.drawdown_pct.min(), form))
        table.add_row(name, *values)
    console.print(table)
    for model, one in report.under_costs.items():
        told = f"{one.return_pct:+.2f} %, {_number(one.mean_r, '+.3f')} R a trade, slippage ${one.slippage:,.2f}"
        console.print(line(f"costs {model}: ", told))
    if report.matched is not None:
        console.print(line("random entries in place of the trades: ", matched_sentence(report.matched)))
    for note in report.notes:
        console.print(line((note, "yellow")))
    console.print(line("page: ", written.page), soft_wrap=True)
    console.print(line("trades: ", written.trades), soft_wrap=True)
    console.print(line("figures: ", written.figures), soft_wrap=True)
    if written.charts is not None:
        console.print(line("each trade on its candles: ", written.charts), soft_wrap=True)


def _print_answers(found: Sequence[Answer], console: Console) -> None:
    for one in found:
        console.print(line((one.question, "bold"), f" {one.number} ({one.interval}): {one.verdict}"))


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def _sources(account: str = "") -> Sources:
    from trading_assets.ledger.database import Database  # noqa: PLC0415
    from trading_assets.ledger.fees import with_own_fees  # noqa: PLC0415
    from trading_assets.market.opening import open_candle_store  # noqa: PLC0415
    from trading_assets.reporting.build import Sources  # noqa: PLC0415
    from trading_assets.venues import open_market_data  # noqa: PLC0415 (imports the connector)

    base = load_settings()
    database = Database.of(base)
    settings = shown_account(database, base, account)
    store = open_candle_store(settings)
    return Sources(with_own_fees(settings, database), database, store, open_market_data(base))
