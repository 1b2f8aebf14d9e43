"""The option `--account`, and the settings of the account that a command means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from trading_assets.core.settings import Settings

if TYPE_CHECKING:
    from trading_assets.ledger.database import Database

account_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--account", default="", metavar="NAME", help="Name of the account.  [default: that of the settings]"
)
one_account_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--account", default="", metavar="NAME", help="Name of the account; needed where there are several."
)
every_account_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--account", default="", metavar="NAME", help="This account alone.  [default: every account]"
)


def only_remembered(base: Settings, command: str) -> str:
    """The one account, for a command that acts before the ledger answers.

    Raises:
        ConfigurationError: there are several.
    """
    from trading_assets.accounts import effective  # noqa: PLC0415 (imports the ledger)

    return effective.one_of(effective.remembered_names(base), base, "", command)


def the_account(database: Database, base: Settings, account: str, command: str) -> Settings:
    """The settings of the account that a command means which must not guess; without keys.

    Raises:
        ConfigurationError: there are several and none is named, or there is none of the name.
    """
    from trading_assets.accounts import effective  # noqa: PLC0415 (imports the ledger)

    name = effective.one_name(database, base, account, command)
    return effective.settings_of(database, base, name, with_keys=False)


def shown_account(database: Database, base: Settings, account: str) -> Settings:
    """The settings of an account that is looked at; without keys.

    Raises:
        ConfigurationError: there is none of the name.
    """
    from trading_assets.accounts import effective  # noqa: PLC0415 (as above)

    return effective.settings_of(database, base, account, with_keys=False)


def with_keys(database: Database, base: Settings, account: str) -> Settings:
    """The settings of an account whose exchange is opened.

    Raises:
        ConfigurationError: there is none of the name, or its keys cannot be read.
    """
    from trading_assets.accounts import effective  # noqa: PLC0415 (as above)

    return effective.settings_of(database, base, account)
