"""What commands begin with: whose account, which ledger, who asks and what time it is. No command is here."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from trading_assets.cli.console import echo
from trading_assets.core.configuration import config_file
from trading_assets.core.foreign_text import plain
from trading_assets.core.settings import Settings

if TYPE_CHECKING:
    from trading_assets.ledger.database import Database

reason_argument = click.argument("reason", nargs=-1)
anyway_option = click.option(
    "--anyway", is_flag=True, help="These books are meant, although a session lives on others and none on these."
)


def announce(settings: Settings) -> None:
    """Print what a command that acts is about to act on: venue, account, home and where the settings come from."""
    file = config_file()
    where = "the environment alone" if file is None else str(file)
    echo(f"{settings.venue.value}, account {settings.account}, home {settings.home}, settings of {where}", err=True)


def warn_of_other_books(settings: Settings, database: Database) -> None:
    """Say when the rows that are shown are not those of the settings' venue."""
    from trading_assets.ledger import books  # noqa: PLC0415
    from trading_assets.trading.binding import describe  # noqa: PLC0415

    owner = books.read(database, settings.account).owner
    if owner is not None and owner.venue != settings.venue.value:
        echo(f"the settings say {settings.venue.value}, but {describe(database, settings.account)}", err=True)


@contextmanager
def open_ledger(settings: Settings, *, upgrade: bool = True, wait_s: float = float("inf")) -> Iterator[Database]:
    """The ledger of the settings, closed at the end; its schema as it is unless `upgrade`.

    Args:
        wait_s: wait no longer for it at each step, s.
    """
    from trading_assets.ledger.database import Database, Timeouts  # noqa: PLC0415

    timeouts = Timeouts.of(settings).at_most(wait_s)
    database = Database.of(settings, timeouts=timeouts, upgrade=upgrade)
    try:
        yield database
    finally:
        database.close()


def require_living_books(settings: Settings, database: Database, base: Settings, what: str, anyway: bool) -> None:
    from trading_assets.accounts import effective  # noqa: PLC0415
    from trading_assets.trading.session.registry import require_books_of_living_session  # noqa: PLC0415

    if not anyway:
        require_books_of_living_session(settings, database, what, effective.names(database, base))


def command_time(settings: Settings, *, may_be_local: bool) -> int:
    """See `service.actions.command_time`."""
    from trading_assets.service import actions  # noqa: PLC0415 (imports the connector)

    return actions.command_time(settings, may_be_local=may_be_local)


def who() -> str:
    """Who gives a command, for the history."""
    try:
        return plain(f"{getpass.getuser()} (command line)")
    except (ImportError, KeyError, OSError):  # a user without a name, as in some containers
        return "somebody (command line)"


def reason_text(reason: tuple[str, ...], default: str) -> str:
    return plain(" ".join(reason).strip()) or default
