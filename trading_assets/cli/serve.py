"""`trading-assets serve` and `dashboard`: the process beside Dagster. Parse, call one function and print."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import click

from trading_assets.cli.console import echo
from trading_assets.cli.opening import announce, open_ledger
from trading_assets.core.settings import DASHBOARD_PORT, Settings, load_settings


@click.command()
@click.option(
    "--with",
    "parts",
    metavar="PART,...",
    help="Of outbox (delivers messages), bot (takes commands by chat), alarms (watches), dashboard (the live page), "
    "monitor (metrics) and mirror (DynamoDB).  [default: what the settings name]",
)
@click.option("--if-configured", is_flag=True, help="End at once, with success, where there is nothing to do.")
@click.option(
    "--dashboard",
    "with_dashboard",
    is_flag=True,
    help=f"The live page and the alarms, too, at port {DASHBOARD_PORT} where no setting names one.",
)
def serve(parts: str | None, if_configured: bool, with_dashboard: bool) -> None:
    """Deliver messages, take commands by chat, show metrics and the live page, until SIGTERM, which lets it finish.

    Dagster need not run. A second process waits, and takes over when the first has gone.
    """
    from trading_assets.service import serve as serving  # noqa: PLC0415 (pandas costs a second)

    settings = _with_page(load_settings(lenient=True)) if with_dashboard else load_settings(lenient=True)
    names = [one.strip() for one in parts.split(",")] if parts is not None else serving.wanted_parts(settings)
    unknown = sorted(set(names) - serving.PARTS.keys())
    if unknown:
        raise click.UsageError(f"--with has {unknown[0]!r}, expected some of {', '.join(serving.PARTS)}")
    if "dashboard" in names:
        settings = _with_page(settings)
    idle = [name for name in names if not serving.PARTS[name].is_wanted(settings)]
    if not names or idle:
        if if_configured and not parts:
            return
        what = f"--with has {idle[0]}, but" if idle else "nothing is to be done:"
        raise click.UsageError(
            f"{what} the settings name no channel, no bot and no port; expected TRADING_ASSETS_NOTIFY_URLS for outbox, "
            "TRADING_ASSETS_TELEGRAM_TOKEN for bot, TRADING_ASSETS_MONITOR_PORT for monitor, "
            "TRADING_ASSETS_DASHBOARD_PORT for dashboard, any of them for alarms, TRADING_ASSETS_DYNAMODB_MIRROR for "
            "mirror"
        )
    _serve(settings, names)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of the setting's; 0 takes a free one.")
def dashboard(port: int | None) -> None:
    """Show the live page, and watch for alarms, until SIGTERM or Ctrl-C.

    The same as serve --with dashboard,alarms. The page only shows; with TRADING_ASSETS_DASHBOARD_TOKEN who has the
    token may halt and close.
    """
    settings = load_settings(lenient=True)
    if port is not None:
        settings = settings.model_copy(update={"dashboard_port": port})
    _serve(_with_page(settings), ["dashboard", "alarms"])


def _with_page(settings: Settings) -> Settings:
    """The settings with a port for the page."""
    if settings.dashboard_port is not None:
        return settings
    return settings.model_copy(update={"dashboard_port": DASHBOARD_PORT})


def _serve(settings: Settings, names: Sequence[str]) -> None:
    from trading_assets.service import serve as serving  # noqa: PLC0415 (as above)

    announce(settings)
    ends = threading.Event()
    serving.end_on_signals(ends)
    with open_ledger(settings) as database:
        serving.serve(settings, database, names, lambda text: echo(text, err=True), ends)
