"""Options that commands of `trading-assets grid` share: which grid is meant."""

from __future__ import annotations

from collections.abc import Callable

import click

from trading_assets.cli.account_context import ABOVE_ZERO, FiniteRange

_Command = Callable[..., None]


STOP_LOW = click.option("--stop-low", type=ABOVE_ZERO, help="What is long is closed here: below the bounds.")
STOP_HIGH = click.option("--stop-high", type=ABOVE_ZERO, help="What is short is closed here: above the bounds.")
RULE = click.option(
    "--out-of-range", type=click.Choice(["wait", "stop", "recentre"]), help="When the price leaves the bounds."
)
LEVERAGE = click.option("--leverage", type=ABOVE_ZERO, default="5", show_default=True, help="Of the symbol.")


def shape_options(command: _Command) -> _Command:
    """--kind and --spacing."""
    return _all(
        command,
        click.option(
            "--kind",
            type=click.Choice(["neutral", "long", "short"]),
            default="neutral",
            show_default=True,
            help="Which side it may hold.",
        ),
        click.option(
            "--spacing",
            type=click.Choice(["geometric", "arithmetic"]),
            default="geometric",
            show_default=True,
            help="Equal ratios or equal steps.",
        ),
    )


def bounds_options(command: _Command) -> _Command:
    """--low and --high, --atr, --bollinger, and the candles for them."""
    return _all(
        command,
        click.option("--low", type=ABOVE_ZERO, help="Lowest price."),
        click.option("--high", type=ABOVE_ZERO, help="Highest price."),
        click.option("--atr", type=FiniteRange(0, min_open=True), help="Bounds: so many ATR(14) around the price."),
        click.option("--bollinger", type=FiniteRange(0, min_open=True), help="Bounds: bands of so many deviations."),
        click.option("--timeframe", default="60m", show_default=True, help="Of the candles for --atr and --bollinger."),
    )


def stop_options(command: _Command) -> _Command:
    """The stops, and what is done beyond the bounds."""
    beyond = click.option(
        "--stop-beyond", type=FiniteRange(0, 90, min_open=True), help="Stops so many percent beyond the bounds."
    )
    return _all(command, STOP_LOW, STOP_HIGH, beyond, RULE)


def _all(command: _Command, *options: Callable[[_Command], _Command]) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command
