"""Handles that a step asks for. Each is opened on first use and shared by the process.

Values come from `trading_assets.core.settings`, never from run config: keys and database passwords must not be stored
in runs.
"""

import os
from functools import lru_cache

import dagster as dg
from sqlalchemy import URL

from trading_assets.core.configuration import config_file
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.ports import Exchange, MarketData
from trading_assets.core.settings import PREFIX, Settings, load_settings
from trading_assets.ledger.database import Database, Timeouts
from trading_assets.ledger.strategies import seed_registry
from trading_assets.market.store import CandleStore
from trading_assets.notifications.notifier import Notifier, notifier_of
from trading_assets.trading import binding, home_mark
from trading_assets.venues import open_exchange, open_market_data
from trading_assets.venues.keys import require_trading_key

_log = get_logger(__name__)


def current_settings() -> Settings:
    """The settings, read again only when environment or file has changed: a step asks many times.

    Unknown names only warn here: what may open a position asks `require_known_names`.
    """
    relevant = tuple(sorted(item for item in os.environ.items() if item[0].upper().startswith((PREFIX, "BYBIT_"))))
    file = config_file()
    stamp = file.stat().st_mtime_ns if file is not None else 0
    return _settings(relevant, stamp, str(file))


@lru_cache(maxsize=4)
def _settings(_environment: tuple[tuple[str, str], ...], _stamp: int, _file: str) -> Settings:
    return load_settings(lenient=True)


def require_known_names() -> None:
    """Check every name and value of the settings, before anything may open a position.

    Raises:
        ConfigurationError: a name is unknown, a value malformed, or two names contradict each other.
    """
    load_settings()


def _database(settings: Settings) -> Database:
    return _opened(settings.resolved_database_url, Timeouts.of(settings))


class SettingsResource(dg.ConfigurableResource):
    """The project's settings, from the environment and `.env` of the process that runs the step."""

    def get(self) -> Settings:
        return current_settings()


class DatabaseResource(dg.ConfigurableResource):
    """The system of record."""

    def get(self) -> Database:
        return _database(current_settings())


def require_market(source: MarketData) -> None:
    """Check that the home is the ledger's, and that research and candles on disk are of the market of the source.

    Raises:
        WrongBooksError: they are of another, or nobody has said yet of which.
    """
    settings = current_settings()
    database = _database(settings)
    held = home_mark.require_home(database, settings)
    words = home_mark.compare_code(database, settings.account, held)
    if words:
        _log.warning("%s", words)
    binding.require_market(database, source, settings.candle_store, settings.venue.value)


class CandleStoreResource(dg.ConfigurableResource):
    """Candles and funding on disk."""

    def get(self) -> CandleStore:
        return _candle_store(current_settings())


class ExchangeResource(dg.ConfigurableResource):
    """The exchange connector. Research uses `market_data()`, which needs no key; trading uses `account()`."""

    def market_data(self) -> MarketData:
        return _market_data(current_settings())

    def account(self) -> Exchange:
        return _exchange(current_settings())


class NotifierResource(dg.ConfigurableResource):
    """Tells a human. What was told is kept and tried before the process of a run ends."""

    def get(self) -> Notifier:
        return _notifier(current_settings())


@lru_cache(maxsize=4)
def _opened(url: str | URL, timeouts: Timeouts) -> Database:
    database = Database(url, timeouts=timeouts)
    seed_registry(database)
    return database


@lru_cache(maxsize=4)
def _candle_store(settings: Settings) -> CandleStore:
    return CandleStore(settings.candle_store, btc=settings.symbols.btc)


@lru_cache(maxsize=4)
def _market_data(settings: Settings) -> MarketData:
    return open_market_data(settings)


@lru_cache(maxsize=4)
def _exchange(settings: Settings) -> Exchange:
    exchange = open_exchange(settings)
    verdict = require_trading_key(exchange)
    for warning in verdict.warnings if not settings.venue.adapter.is_simulated else ():
        _log.warning("API key: %s", warning)
    return exchange


@lru_cache(maxsize=4)
def _notifier(settings: Settings) -> Notifier:
    return notifier_of(settings, lambda: _database(settings))
