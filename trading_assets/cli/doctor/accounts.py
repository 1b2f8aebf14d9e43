"""What the checklist says of named accounts: whether the keys of each can be read, and are right at its venue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from trading_assets.accounts import effective, master_keys, registry
from trading_assets.core.errors import ConfigurationError, ExchangeUnavailableError, NotSentError, TradingAssetsError
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.ledger import books, named_accounts
from trading_assets.ledger.database import Database
from trading_assets.trading.binding import describe, owner_at, require_bound
from trading_assets.trading.context import why_off
from trading_assets.venues.accounts import examine_account
from trading_assets.venues.keys import require_trading_key


def names_of(database: Database, base: Settings) -> list[str]:
    """The named accounts; that of the settings has lines of its own.

    Raises:
        StorageError: the ledger cannot be read.
    """
    return [one.name for one in named_accounts.listed(database) if one.name != base.account]


def examine_named(
    database: Database, base: Settings, name: str, opened: Callable[[Settings], Exchange]
) -> tuple[str, list[str]]:
    """Look at one named account, without an order: its keys, its shape at the venue, and whose books it has.

    Args:
        opened: opens the connection to the settings' venue.

    Returns: what was found, and what should be made better.

    Raises:
        TradingAssetsError: it cannot be traded; the message says why, and what to do.
    """
    try:
        settings = effective.settings_of(database, base, name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}. Until then no session of it starts; halt and reduce need no key") from None
    what = f"{settings.venue.value}, {'off' if why_off(database, settings) else 'on'}"
    if settings.venue.adapter.is_simulated:
        return f"{what}; needs no keys", []
    try:
        with closing(opened(settings)) as exchange:
            key = require_trading_key(exchange)
            shape = examine_account(exchange, settings.symbols)
            owner = owner_at(exchange, settings)
            if books.read(database, name).owner is not None:  # looking binds nothing
                require_bound(database, exchange, settings)
    except (ExchangeUnavailableError, NotSentError) as error:
        raise ConfigurationError(
            f"{what}; the keys can be read, whether they are right is not known: {error}; look again: trading-assets "
            f"accounts test {name}"
        ) from None
    except TradingAssetsError as error:
        raise ConfigurationError(f"{what}; {error}. For other keys: trading-assets accounts rotate {name}") from None
    other = registry.same_account(database, name, owner.venue, owner.user_id)
    if other:
        raise ConfigurationError(
            f"{what}; its key is of {owner}, which this ledger has under the name {other!r} already, so it is not "
            f"traded. For other keys: trading-assets accounts rotate {name}"
        )
    if shape.faults:
        raise ConfigurationError(f"{what}; {'; '.join(shape.faults)} (with --account {name})")
    better = [*key.warnings, *shape.warnings]
    if exposed := master_keys.exposed(base):
        better.append(exposed)
    return f"{what}; {key.summary}; {describe(database, name)}", better


def is_off(database: Database, base: Settings, name: str) -> bool:
    """Whether the account is switched off: nothing of it is traded, whatever is wrong with its keys."""
    return bool(why_off(database, effective.settings_of(database, base, name, with_keys=False)))
