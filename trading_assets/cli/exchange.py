"""`trading-assets exchange ...`: serve, look at, advance and stop the embedded exchange. No logic of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import click

from trading_assets.cli.console import echo
from trading_assets.cli.opening import announce
from trading_assets.core.foreign_text import plain
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import to_ms
from trading_assets.simulator.auth import Credentials
from trading_assets.simulator.clock import ClockMode, ClockSpec


@click.group()
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
@click.option("--account", type=click.Path(path_type=Path, dir_okay=False), help="File of the account, instead.")
@click.option("--deposit", type=Decimal, help="Opening balance, USDT.  [default: the setting]")
@click.option("--idle-stop", type=float, help="Stop after so many seconds without a request.  [default: never]")
@click.option(
    "--faults", type=click.Path(path_type=Path, dir_okay=False), help="Fault rules, JSON or YAML, from the start on."
)
@click.option(
    "--limits/--no-limits", default=True, show_default=True, help="Refuse who asks more often than Bybit allows."
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Recorded candles (Parquet or CSV) to play instead of the seed's market; may be repeated.",
)
@click.option(
    "--like",
    type=click.Choice(("mainnet", "testnet", "demo")),
    help="Leave out what that venue of Bybit's does not have.  [default: nothing]",
)
@click.option("--allow-host", multiple=True, help="Name by which clients call this machine; may be repeated.")
@click.option("--api-key", help="Key that clients must use.")
@click.option(
    "--api-secret-file",
    "api_secret",
    type=click.File(),
    help="File with the secret that clients must sign with, - reads it from standard input: others see a command line.",
)
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
    account: Path | None,
    deposit: Decimal | None,
    idle_stop: float | None,
    faults: Path | None,
    limits: bool,
    replay: tuple[Path, ...],
    like: str | None,
    allow_host: tuple[str, ...],
    api_key: str | None,
    api_secret: TextIO | None,
) -> None:
    """Run the embedded exchange in the foreground until Ctrl-C; prints its URLs when ready."""
    from trading_assets.simulator.server import ServeConfig, serve  # noqa: PLC0415
    from trading_assets.venues.behaviour import behaviour_like  # noqa: PLC0415

    if home is not None and account is not None:
        raise click.UsageError("--home and --account exclude each other: both say where the account is")
    settings = load_settings()
    defaults = Credentials()
    secret = api_secret.read().strip() if api_secret is not None else defaults.secret
    if not secret:
        raise click.UsageError("--api-secret-file is empty; expected a secret in it")
    serve(
        ServeConfig(
            home=None if account is not None else home or settings.simulator_home,
            account=account,
            host=host,
            port=port,
            seed=settings.simulator_seed if seed is None else seed,
            symbols=settings.simulator_symbols if symbols is None else symbols,
            clock=_clock(start, speed, manual),
            deposit=settings.simulator_deposit if deposit is None else deposit,
            idle_stop_s=idle_stop,
            credentials=Credentials(api_key or defaults.key, secret),
            limits=limits,
            faults=faults,
            replay=replay,
            names=allow_host,
            behaviour=behaviour_like(like),
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
    account = running.get("account")  # an exchange on another machine does not tell
    told = f"  equity {account['equity']} USDT  {account['open_positions']} positions" if account else ""
    echo(f"{running['url']}  clock {running['clock']} {running['now']}{told}")


@exchange.command("advance")
@click.argument("minutes", type=click.FloatRange(min=0, min_open=True))
def advance_exchange(minutes: float) -> None:
    """Move a manual clock MINUTES forward."""
    import requests  # noqa: PLC0415

    announce(load_settings())
    answer = requests.post(
        f"{_running_exchange()['url']}/admin/clock", json={"advance_ms": round(minutes * 60_000)}, timeout=60
    )
    if not answer.ok:
        raise click.ClickException(plain(answer.json().get("error", answer.text)))
    echo(f"it is {answer.json()['now']}")


@exchange.command("stop")
def stop_exchange() -> None:
    """Stop the embedded exchange; the account is kept."""
    import requests  # noqa: PLC0415

    announce(load_settings())
    answer = requests.post(f"{_running_exchange()['url']}/admin/stop", timeout=10)
    if not answer.ok:
        raise click.ClickException(plain(answer.json().get("error", answer.text)))
    echo("stopped")


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
