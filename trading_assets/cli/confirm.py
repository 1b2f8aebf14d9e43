"""`trading-assets confirm`: one-time codes for jobs of the UI."""

from __future__ import annotations

import click

from trading_assets.cli.account_option import one_account_option, the_account
from trading_assets.cli.console import echo
from trading_assets.cli.opening import announce, open_ledger, who
from trading_assets.core.settings import load_settings

SETTINGS_JOBS = "set_setting, set_flag, set_strategy or start_strategy"


@click.group()
def confirm() -> None:
    """One-time codes for jobs of the UI that risk or move money. Halting and reducing need none."""


@confirm.command("flatten")
@click.option("--foreign", is_flag=True, help="For positions that this system did not open, too.")
@one_account_option
def confirm_flatten(foreign: bool, account: str) -> None:
    """A code for the job `flatten`: good once, for ten minutes."""
    _print_code("flatten foreign" if foreign else "flatten", "close_all_positions", account, foreign=foreign)


@confirm.command("resume")
@one_account_option
def confirm_resume(account: str) -> None:
    """A code for the job `resume`: good once, for ten minutes."""
    _print_code("resume", "resume_trading", account, foreign=False)


@confirm.command("settings")
@one_account_option
def confirm_settings(account: str) -> None:
    """A code for jobs that change settings, flags and strategies where money is real: good once, for ten minutes."""
    _print_code("settings", "the op", account, foreign=False)


def _print_code(action: str, op: str, account: str, *, foreign: bool) -> None:
    from trading_assets.trading.risk import confirmations  # noqa: PLC0415

    base = load_settings(lenient=action != "resume")
    with open_ledger(base) as database:
        settings = the_account(database, base, account, f"confirm {action}")
    announce(settings)
    code = confirmations.create(settings, action, who())
    job = SETTINGS_JOBS if action == "settings" else action.partition(" ")[0]
    also = "; set foreign: true there, too" if foreign else ""
    also += f"; set account: {settings.account} there, too" if settings.account != base.account else ""
    echo(
        f"{code}\nconfirms {action} of account {settings.account} on {settings.venue.value}, once, for "
        f"{confirmations.VALID_S // 60} minutes: in the launchpad of the job {job}, as the confirmation of "
        f"{op}{also}"
    )
