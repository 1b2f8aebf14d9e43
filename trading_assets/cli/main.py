"""The command line, `trading-assets ...`. Commands parse, call one function and print; no logic of their own.

Dagster is imported by the commands that run jobs, inside them.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TextIO

import click
from rich.table import Table as RichTable

from trading_assets.cli import backup as backups
from trading_assets.cli import journal
from trading_assets.cli.account_option import account_option, shown_account
from trading_assets.cli.accounts import accounts
from trading_assets.cli.alarms import alarms
from trading_assets.cli.backfill import backfill
from trading_assets.cli.bench import bench
from trading_assets.cli.brakes import halt, reduce, resume
from trading_assets.cli.candles import candles
from trading_assets.cli.chaos import chaos
from trading_assets.cli.closing import close, flatten
from trading_assets.cli.confirm import confirm
from trading_assets.cli.console import echo, line, open_console
from trading_assets.cli.dca import dca
from trading_assets.cli.exchange import exchange
from trading_assets.cli.grid import grid
from trading_assets.cli.history import history
from trading_assets.cli.intents import intents
from trading_assets.cli.ledger import ledger
from trading_assets.cli.live import config, flags
from trading_assets.cli.metrics import metrics
from trading_assets.cli.mirror import mirror
from trading_assets.cli.notify import notify
from trading_assets.cli.opening import open_ledger, warn_of_other_books
from trading_assets.cli.rehearse import rehearse
from trading_assets.cli.report import report
from trading_assets.cli.research import backtest_strategy, chart_of
from trading_assets.cli.results import results
from trading_assets.cli.serve import dashboard, serve
from trading_assets.cli.strategies import print_reports, strategies
from trading_assets.cli.switch import switch
from trading_assets.cli.views import explain, portfolio
from trading_assets.core import logs
from trading_assets.core.configuration import CONFIG_VARIABLE, HOME_VARIABLE
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe

_log = get_logger("trading_assets.cli")

TRADING = (halt, reduce, resume, flatten, close, confirm, portfolio, explain, ledger, switch)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trading-assets")
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of settings.  [default: TRADING_ASSETS_CONFIG, or .env in the home, or in the checkout]",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the database, candles and exchange account.  [default: TRADING_ASSETS_HOME]",
)
@click.pass_context
def cli(context: click.Context, config: Path | None, home: Path | None) -> None:
    """Scan, backtest, select and trade Bybit's USDT perpetuals, as Dagster assets."""
    # In the environment, so that whatever a command starts is given the same.
    for variable, path in ((CONFIG_VARIABLE, config), (HOME_VARIABLE, home)):
        if path is not None:
            os.environ[variable] = str(path.expanduser().resolve())
    logs.start(context.invoked_subcommand or "")


@cli.command()
@click.option("--hours", default=6, show_default=True, type=click.IntRange(6, 48), help="Hours to walk through.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object on the last line.")
@click.option("--home", type=click.Path(path_type=Path), help="Directory of the demo's state (made anew).")
def demo(hours: int, as_json: bool, home: Path | None) -> None:
    """The whole system on the embedded exchange: hours of a seeded market, advanced by hand, offline."""
    from trading_assets.cli.demo import run_demo  # noqa: PLC0415 (imports dagster)

    run_demo(hours=hours, as_json=as_json, home=home)


@cli.command()
@click.option("--quiet", is_flag=True, help="Print only what is wrong.")
@click.option("--send", is_flag=True, help="Send a test message to each channel of notifications, too.")
@click.option("--go-live", is_flag=True, help="What permits the next stage, too: trades, parity, slippage, alerts.")
def doctor(quiet: bool, send: bool, go_live: bool) -> None:
    """The checklist before trading: each point is ok, or says what to do.

    "see" is advice: it works, and should be made better before real money. Exit code 2 tells of a "no".
    """
    from trading_assets.cli.doctor import Level, examine  # noqa: PLC0415 (imports the connector)

    settings = load_settings(lenient=True)
    findings = examine(settings, send=send)
    if go_live:
        from trading_assets.cli.go_live import examine_stage  # noqa: PLC0415

        findings += examine_stage(settings)
    console, group = open_console(), ""
    styles = {Level.OK: "green", Level.ADVICE: "yellow", Level.FAULT: "red"}
    for finding in findings:
        if quiet and finding.ok:
            continue
        if finding.group != group and not quiet:
            group = finding.group
            console.print(line((group, "bold underline")))
        mark = (f"{finding.level:<3}", styles[finding.level])
        console.print(line(mark, "  ", (finding.what, "bold"), ": ", finding.found))
    if not all(finding.ok for finding in findings):
        sys.exit(2)


@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"]}
)
@click.option("--show-token", is_flag=True, help="Print the token that opens the UI from elsewhere, and end.")
@click.pass_context
def web(context: click.Context, show_token: bool) -> None:
    """Dagster's UI behind the guard; takes the options of dagster-webserver.

    Whatever storage dagster.yaml names, foreign web pages are refused. Every server that uses this project's
    dagster.yaml is guarded, however it is started.
    """
    from trading_assets.defs.instance import web_guard  # noqa: PLC0415 (imports dagster)
    from trading_assets.service.guard import ui_token  # noqa: PLC0415 (as above)

    if show_token:
        click.echo(ui_token(load_settings()))
        return
    web_guard.serve(context.args)


@cli.command("settings")
@click.option("--env-example", is_flag=True, help="Print the text of .env.example.")
def show_settings(env_example: bool) -> None:
    """The settings in force; secrets are shown only as set or not set."""
    from trading_assets.reference import settings_page  # noqa: PLC0415

    if env_example:
        click.echo(settings_page.env_example(), nl=False)
        return
    table = RichTable("variable", "value")
    for variable, value in settings_page.current_values(load_settings(lenient=True)):
        table.add_row(variable, value)
    open_console().print(table)


@cli.command("reference")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 tells which pages are not what the code says.")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Root of the checkout whose pages are written.  [default: that of this program]",
)
def reference_pages(check: bool, to: Path | None) -> None:
    """Write docs/reference, .env.example and the settings of docs/howto/configure.md again, from the code."""
    from trading_assets.reference import pages  # noqa: PLC0415
    from trading_assets.reference.dagster_page import build as dagster_page  # noqa: PLC0415 (imports dagster)

    root = to or pages.checkout()
    texts = pages.texts(root, dagster_page=dagster_page(), commands=cli)
    if check:
        stale = pages.stale(root, texts)
        for path in stale:
            echo(f"{path} is not what the code says; to write it again: make docs")
        sys.exit(1 if stale else 0)
    for path in pages.write(root, texts):
        echo(f"wrote {path}")


@cli.command()
@account_option
def status(account: str) -> None:
    """Positions, balance, signals and results of the account in the ledger."""
    from trading_assets.cli.status import print_status  # noqa: PLC0415
    from trading_assets.service.conditions import halt_line  # noqa: PLC0415

    settings = load_settings(lenient=True)
    named = settings.model_copy(update={"account": account or settings.account})
    if halt_line(named):  # before the ledger is opened, which may not answer
        open_console().print(line((halt_line(named), "red")))
    with open_ledger(settings) as database:
        settings = shown_account(database, settings, account)
        warn_of_other_books(settings, database)
        print_status(database, settings, open_console())


@cli.group()
def check() -> None:
    """Checks that can be run at any time."""


@check.command("strategy")
@click.argument("name")
@click.option("--symbol", help="Symbol to check on.  [default: three of each market]")
@click.option("--timeframe", "timeframes", multiple=True, help="May be given several times.  [default: all eight]")
@click.option("--bars", default=800, show_default=True, type=click.IntRange(50, 20_000), help="Bars to decide on.")
@click.option("--parameters", default="{}", show_default=True, help="JSON object; what is absent has its default.")
@click.option(
    "--signals",
    default=200,
    show_default=True,
    type=click.IntRange(min=0),
    help="Bars with an entry to decide again, on each symbol and timeframe; 0: all of them.",
)
def check_one_strategy(
    name: str, symbol: str | None, timeframes: tuple[str, ...], bars: int, parameters: str, signals: int
) -> None:
    """Whether NAME looks ahead or remembers too far back, and what it earns at double costs.

    On the seeded market, and on stored candles where there are some. Exit code 1 tells of a violation.
    """
    from trading_assets.backtesting.run import production_engine  # noqa: PLC0415
    from trading_assets.ledger.fees import with_own_fees  # noqa: PLC0415
    from trading_assets.reporting import strategy_check  # noqa: PLC0415
    from trading_assets.strategies.registry import make_strategy  # noqa: PLC0415

    settings = load_settings()
    strategy = make_strategy(name, parameters)
    with open_ledger(settings) as database:
        targets, settings = strategy_check.check_targets(settings, database, symbol), with_own_fees(settings, database)
    reports = list(
        strategy_check.check_strategy(
            strategy,
            targets,
            [_timeframe(value) for value in timeframes] or list(TRADED_TIMEFRAMES),
            bars,
            settings,
            production_engine(),
            signals or None,
        )
    )
    print_reports(name, reports, open_console())
    if not all(report.passed for report in reports):
        sys.exit(1)


def _timeframe(value: str) -> Timeframe:
    if value not in TRADED_TIMEFRAMES:
        raise click.UsageError(f"--timeframe is {value!r}, expected one of {', '.join(TRADED_TIMEFRAMES)}")
    return Timeframe(value)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, UserWarning | FutureWarning):
        if logs.is_json():
            _log.warning("%s", message)
        else:
            echo(f"warning: {message}", err=True)


for command in (*TRADING, *journal.COMMANDS, *backups.COMMANDS):
    cli.add_command(command)
cli.add_command(exchange)
cli.add_command(rehearse)
cli.add_command(results)
cli.add_command(accounts)
cli.add_command(intents)
cli.add_command(dca)
cli.add_command(grid)
cli.add_command(config)
cli.add_command(flags)
cli.add_command(backfill)
cli.add_command(candles)
cli.add_command(history)
cli.add_command(notify)
cli.add_command(alarms)
cli.add_command(metrics)
cli.add_command(mirror)
cli.add_command(serve)
cli.add_command(dashboard)
cli.add_command(report)
cli.add_command(backtest_strategy)
cli.add_command(chart_of)
cli.add_command(strategies)
cli.add_command(bench)
cli.add_command(chaos)


def main() -> None:
    """Entry point: errors raised on purpose, and those of files, become one line and exit code 2, warnings one line."""
    warnings.showwarning = _show_warning
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        echo("stopped", err=True)
        sys.exit(130)
    except TradingAssetsError as error:
        if logs.is_json():
            _log.error("%s", error)
        else:
            echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:  # no file that somebody named
            raise
        echo(f"error: {error.filename} cannot be read or written: {error.strerror or error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
