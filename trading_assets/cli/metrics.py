"""`trading-assets metrics`: what Prometheus would see, printed. Parses, calls one function and prints."""

from __future__ import annotations

import click

from trading_assets.cli.opening import open_ledger
from trading_assets.core.settings import load_settings


@click.group()
def metrics() -> None:
    """Metrics for Prometheus; `trading-assets serve --with monitor` serves them."""


@metrics.command("show")
@click.option("--openmetrics", is_flag=True, help="Print the newer format, OpenMetrics.")
@click.argument("words", nargs=-1)
def show(openmetrics: bool, words: tuple[str, ...]) -> None:
    """Print every metric, or those whose names have one of WORDS in them."""
    from prometheus_client import exposition  # noqa: PLC0415 (not needed by other commands)
    from prometheus_client.openmetrics import exposition as openmetrics_exposition  # noqa: PLC0415

    from trading_assets.observability.metrics import registry, with_names  # noqa: PLC0415 (pandas costs a second)

    settings = load_settings(lenient=True)
    with open_ledger(settings) as database:
        found = with_names(registry(settings, lambda: database), words)
        encode = openmetrics_exposition.generate_latest if openmetrics else exposition.generate_latest
        click.echo(encode(found).decode(), nl=False)
