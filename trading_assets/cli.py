"""The command line, `trading-assets ...`. Commands parse, call one function and print; no logic of their own.

Dagster is imported by the commands that run jobs, inside them.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.table import Table as RichTable

from trading_assets.bench.cli import bench
from trading_assets.console import open_console
from trading_assets.errors import TradingAssetsError
from trading_assets.market.timeframes import to_ms
from trading_assets.settings import load_settings
from trading_assets.simulator.auth import Credentials
from trading_assets.simulator.clock import ClockMode, ClockSpec


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trading-assets")
def cli() -> None:
    """Scan, backtest, select and trade Bybit's USDT perpetuals, as Dagster assets."""


@cli.command()
@click.option("--hours", default=6, show_default=True, type=click.IntRange(6, 48), help="Hours to walk through.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object on the last line.")
@click.option("--home", type=click.Path(path_type=Path), help="Directory of the demo's state (made anew).")
def demo(hours: int, as_json: bool, home: Path | None) -> None:
    """The whole system on the embedded exchange: hours of a seeded market, advanced by hand, offline."""
    from trading_assets.defs.demo import run_demo  # noqa: PLC0415 (imports dagster)

    run_demo(hours=hours, as_json=as_json, home=home)


@cli.command()
@click.option("--quiet", is_flag=True, help="Print only what is wrong.")
def doctor(quiet: bool) -> None:
    """Check settings, stores and exchange, and say what to do about what is wrong."""
    from trading_assets.doctor import examine  # noqa: PLC0415 (imports the connector)

    findings = examine(load_settings())
    console = open_console()
    for finding in findings:
        if not finding.ok or not quiet:
            mark = "[green]ok[/]" if finding.ok else "[red]no[/]"
            console.print(f"{mark}  [bold]{finding.what}[/]: {finding.found}", highlight=False)
    if not all(finding.ok for finding in findings):
        sys.exit(2)


@cli.command("settings")
@click.option("--env-example", is_flag=True, help="Print the text of .env.example.")
@click.option("--markdown", is_flag=True, help="Print the table of README.md.")
def show_settings(env_example: bool, markdown: bool) -> None:
    """The settings in force; secrets are shown only as set or not set."""
    from trading_assets import settings_reference  # noqa: PLC0415

    if env_example:
        click.echo(settings_reference.env_example(), nl=False)
        return
    if markdown:
        click.echo(settings_reference.markdown_table(), nl=False)
        return
    table = RichTable("variable", "value")
    for variable, value in settings_reference.current_values(load_settings()):
        table.add_row(variable, value)
    open_console().print(table)


@cli.command()
def status() -> None:
    """Positions, balance, signals and results of the account in the ledger."""
    from trading_assets.ledger.database import Database  # noqa: PLC0415
    from trading_assets.trading.status import print_status  # noqa: PLC0415

    settings = load_settings()
    database = Database(settings.resolved_database_url, busy_timeout_s=settings.database_busy_timeout_s)
    print_status(database, settings, open_console())


cli.add_command(bench)


@cli.group()
def strategies() -> None:
    """The registry of strategies."""


@strategies.command("list")
def list_strategies() -> None:
    """Every strategy, whether it is active, and its parameters."""
    from trading_assets.ledger.database import Database  # noqa: PLC0415
    from trading_assets.strategies import registry  # noqa: PLC0415

    settings = load_settings()
    database = Database(settings.resolved_database_url, busy_timeout_s=settings.database_busy_timeout_s)
    registry.seed_registry(database)
    table = RichTable("strategy", "active", "parameters", "what it does")
    for row in registry.registry_rows(database):
        table.add_row(row.name, "yes" if row.is_active else "no", row.parameters, row.description)
    open_console().print(table)


def _switch(name: str, active: bool) -> None:
    from trading_assets.ledger.database import Database  # noqa: PLC0415
    from trading_assets.strategies import registry  # noqa: PLC0415

    settings = load_settings()
    database = Database(settings.resolved_database_url, busy_timeout_s=settings.database_busy_timeout_s)
    registry.seed_registry(database)
    registry.set_active(database, name, active)
    click.echo(f"{name} is {'active' if active else 'stopped'} from the next hour on")


@strategies.command("start")
@click.argument("name")
def start_strategy(name: str) -> None:
    """Backtest and trade NAME from the next hour on."""
    _switch(name, True)


@strategies.command("stop")
@click.argument("name")
def stop_strategy(name: str) -> None:
    """Leave NAME out from the next hour on; open positions keep their stops."""
    _switch(name, False)


@cli.group()
def exchange() -> None:
    """The embedded exchange."""


@exchange.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--symbols", type=click.IntRange(1, 600), help="Perpetuals of the market.  [default: the setting]")
@click.option("--seed", type=click.IntRange(0), help="Seed of the market.  [default: the setting]")
@click.option("--start", type=click.DateTime(), help="Virtual time to start at, UTC.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Seconds of market for each real second.")
@click.option("--manual", is_flag=True, help="The clock stands still until it is advanced over /admin/clock.")
@click.option("--home", type=click.Path(path_type=Path), help="Directory of the account.  [default: the setting]")
@click.option("--deposit", type=Decimal, help="Opening balance, USDT.  [default: the setting]")
@click.option("--idle-stop", type=float, help="Stop after so many seconds without a request.  [default: never]")
@click.option("--api-key", help="Key that clients must use.")
@click.option("--api-secret", help="Secret that clients must sign with.")
def serve_exchange(
    *,
    host: str,
    port: int,
    symbols: int | None,
    seed: int | None,
    start: datetime | None,
    speed: float | None,
    manual: bool,
    home: Path | None,
    deposit: Decimal | None,
    idle_stop: float | None,
    api_key: str | None,
    api_secret: str | None,
) -> None:
    """Run the embedded exchange in the foreground until Ctrl-C; prints its URLs when ready."""
    from trading_assets.simulator.server import ServeConfig, serve  # noqa: PLC0415

    settings = load_settings()
    defaults = Credentials()
    serve(
        ServeConfig(
            home=home or settings.simulator_home,
            host=host,
            port=port,
            seed=settings.simulator_seed if seed is None else seed,
            symbols=settings.simulator_symbols if symbols is None else symbols,
            clock=_clock(start, speed, manual),
            deposit=settings.simulator_deposit if deposit is None else deposit,
            idle_stop_s=idle_stop,
            credentials=Credentials(api_key or defaults.key, api_secret or defaults.secret),
        )
    )


def _clock(start: datetime | None, speed: float | None, manual: bool) -> ClockSpec | None:
    """What the options ask for; None resumes the account's own clock, or takes the real one."""
    start_ms = to_ms(start.replace(tzinfo=UTC)) if start is not None else None
    if manual:
        if speed is not None:
            raise click.UsageError("--manual and --speed exclude each other: a clock moved by hand has no speed")
        return ClockSpec(ClockMode.MANUAL, start_ms=start_ms)
    if speed is None and start_ms is None:
        return None
    return ClockSpec(ClockMode.ACCELERATED, start_ms=start_ms, speed=speed or 1.0)


@exchange.command("status")
def exchange_status() -> None:
    """Whether the embedded exchange runs, its clock and its account."""
    running = _running_exchange()
    account = running["account"]
    click.echo(
        f"{running['url']}  clock {running['clock']} {running['now']}  equity {account['equity']} USDT  "
        f"{account['open_positions']} positions"
    )


@exchange.command("advance")
@click.argument("minutes", type=click.FloatRange(min=0, min_open=True))
def advance_exchange(minutes: float) -> None:
    """Move a manual clock MINUTES forward."""
    import requests  # noqa: PLC0415

    answer = requests.post(
        f"{_running_exchange()['url']}/admin/clock", json={"advance_ms": round(minutes * 60_000)}, timeout=60
    )
    if not answer.ok:
        raise click.ClickException(str(answer.json().get("error", answer.text)))
    click.echo(f"it is {answer.json()['now']}")


@exchange.command("stop")
def stop_exchange() -> None:
    """Stop the embedded exchange; the account is kept."""
    import requests  # noqa: PLC0415

    requests.post(f"{_running_exchange()['url']}/admin/stop", timeout=10)
    click.echo("stopped")


def _running_exchange() -> dict[str, Any]:
    """Health and `url` of the running embedded exchange of these settings."""
    from trading_assets.simulator.files import SERVER_INFO  # noqa: PLC0415
    from trading_assets.simulator.launcher import health  # noqa: PLC0415

    settings = load_settings()
    url = settings.simulator_url
    info = settings.simulator_home / SERVER_INFO
    if url is None and info.is_file():
        url = str(json.loads(info.read_text())["url"])
    found = health(url) if url else None
    if found is None:
        raise click.ClickException("the embedded exchange does not run; it starts by itself when it is needed")
    return {"url": url, **found}


def main() -> None:
    """Entry point: errors raised on purpose become one line and exit code 2."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        sys.exit(130)
    except TradingAssetsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
