"""`trading-assets bench ...`: commands that measure and print. What is measured is in the modules beside."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click
from rich.table import Table as RichTable

from trading_assets.console import open_console


@click.group()
def bench() -> None:
    """Measure the embedded exchange on this machine."""


@bench.command("market")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def bench_market(as_json: bool) -> None:
    """The seeded market of 600 symbols and a replay of a year, in CPU milliseconds."""
    from trading_assets.bench.market import run  # noqa: PLC0415 (imports the exchange)

    _show(run(), as_json)


def _show(figures: Mapping[str, float], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = RichTable("what", "figure")
    for name, value in figures.items():
        table.add_row(name, f"{value:g}")
    open_console().print(table)
