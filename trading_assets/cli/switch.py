"""`trading-assets trading`: the switch that says whether an account is traded at all."""

from __future__ import annotations

import click

from trading_assets.cli.account_option import every_account_option, one_account_option, shown_account, the_account
from trading_assets.cli.console import echo
from trading_assets.cli.opening import announce, open_ledger, reason_argument, reason_text, who
from trading_assets.core.deadline import ends_within
from trading_assets.core.settings import load_settings


@click.group("trading")
def switch() -> None:
    """Whether the account is traded at all: a switch in its ledger. At first it is on at the simulator, else off."""


@switch.command("on")
@reason_argument
@one_account_option
def switch_on(reason: tuple[str, ...], account: str) -> None:
    """Let sessions and runs open positions for the account; schedules and sensors start them."""
    _switch(reason, account, on=True)


@switch.command("off")
@reason_argument
@one_account_option
def switch_off(reason: tuple[str, ...], account: str) -> None:
    """Open nothing more, whatever runs. Open positions keep their stops, and books are still read."""
    _switch(reason, account, on=False)


@switch.command("state")
@every_account_option
def switch_state(account: str) -> None:
    """Whether the account is traded, and who said so."""
    from trading_assets.accounts import effective  # noqa: PLC0415
    from trading_assets.trading.context import why_off  # noqa: PLC0415

    base = load_settings(lenient=True)
    with open_ledger(base) as database:
        for name in effective.several_names(database, base, account):
            settings = shown_account(database, base, name)
            echo(why_off(database, settings) or f"trading of account {settings.account!r} is on")


def _switch(reason: tuple[str, ...], account: str, *, on: bool) -> None:
    from trading_assets.core.timeframes import local_ms  # noqa: PLC0415
    from trading_assets.ledger import switches  # noqa: PLC0415

    base, command = load_settings(lenient=not on), f"trading {'on' if on else 'off'}"
    with ends_within(base.command_deadline_s, command), open_ledger(base) as database:
        settings = the_account(database, base, account, command)
        announce(settings)
        switches.set_switch(
            database,
            settings.account,
            on=on,
            actor=who(),
            reason=reason_text(reason, "no reason given"),
            wall_ms=local_ms(),
        )
    echo(f"trading of account {settings.account} on {settings.venue.value} is {'on' if on else 'off'}")
