"""Handles that a step asks for. Each is opened on first use and shared by the process.

Values come from `trading_assets.core.settings`, never from run config: keys and database passwords must not be stored
in runs.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import dagster as dg
from sqlalchemy import URL

from trading_assets.accounts import effective
from trading_assets.core import logs
from trading_assets.core.configuration import config_file
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.ports import Exchange, MarketData
from trading_assets.core.settings import PREFIX, Settings, load_settings
from trading_assets.ledger.database import Database, Timeouts
from trading_assets.ledger.strategies import seed_registry
from trading_assets.market.opening import claim_candles, open_candle_store, open_local_candle_store
from trading_assets.market.store import CandleStore
from trading_assets.notifications.notifier import Notifier, notifier_of
from trading_assets.trading import binding, home_mark
from trading_assets.venues import open_exchange, open_market_data
from trading_assets.venues.keys import require_trading_key

_log = get_logger(__name__)

_notifiers: dict[str, tuple[Settings, Notifier]] = {}
"""By account, with the settings that it was made of."""
_notifiers_lock = threading.Lock()


def current_settings() -> Settings:
    """The settings, read again only when environment or file has changed: a step asks many times.

    Unknown names only warn here: what may open a position asks `require_known_names`.
    """
    return _settings(*_given(), lenient=True)


def _given() -> tuple[tuple[tuple[str, str], ...], int, str]:
    """What settings are read from: names and values of the environment, and which file it is."""
    relevant = tuple(sorted(item for item in os.environ.items() if item[0].upper().startswith((PREFIX, "BYBIT_"))))
    file = config_file()
    return relevant, file.stat().st_mtime_ns if file is not None else 0, str(file)


@lru_cache(maxsize=4)
def _settings(_environment: tuple[tuple[str, str], ...], _stamp: int, _file: str, *, lenient: bool) -> Settings:
    return load_settings(lenient=lenient)


def require_known_names() -> None:
    """Check every name and value of the settings, before anything may open a position.

    Raises:
        ConfigurationError: a name is unknown, a value malformed, or two names contradict each other.
    """
    _settings(*_given(), lenient=False)


def _database(settings: Settings) -> Database:
    where = settings.home, settings.store_url, settings.store_cache_dir
    return _opened(_Ledger(settings.resolved_database_url, Timeouts.of(settings), where, settings))


def _place(account: str) -> Settings:
    """With what an account's connection is opened: its venue, keys and place."""
    base = current_settings()
    return effective.place_of(_database(base), base, account)


class SettingsResource(dg.ConfigurableResource):
    """The project's settings, from environment and `.env` of the process that runs the step, and from the ledger."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Name the run in every line that this process logs from now on: it executes one at a time."""
        if context.run is not None:
            logs.of_process(run_id=context.run.run_id, job=context.run.job_name)

    def get(self, account: str = "", *, with_keys: bool = True) -> Settings:
        """Those of an account, with what was changed while the system runs.

        Args:
            with_keys: False for what asks no exchange: keys that cannot be read do not matter then.

        Raises:
            ConfigurationError: there is no such account, or its keys cannot be read.
            StorageError: the ledger cannot be read.
        """
        base = current_settings()
        return effective.settings_of(_database(base), base, account, with_keys=with_keys)

    def installed(self) -> Settings:
        """Those of environment and `.env` alone: for what must not wait for the ledger."""
        return current_settings()

    def of_research(self) -> Settings:
        """Those that research is done with: of no account."""
        base = current_settings()
        return effective.common_settings(_database(base), base)

    def newest(self, account: str = "") -> Callable[[], Settings]:
        """What holds for an account, for a process that lives on: environment and file are those of now."""
        base = current_settings()
        return lambda: effective.settings_of(_database(base), base, account, with_keys=False)

    def names(self) -> list[str]:
        """Every account: that of the settings first."""
        base = current_settings()
        return effective.names(_database(base), base)

    def one_name(self, account: str, command: str) -> str:
        """The account that a command means which must not guess; raises as `effective.one_name`."""
        base = current_settings()
        return effective.one_name(_database(base), base, account, command)

    def several_names(self, account: str) -> list[str]:
        """The accounts that a command means which acts on all unless one is named."""
        base = current_settings()
        return effective.several_names(_database(base), base, account)


class DatabaseResource(dg.ConfigurableResource):
    """The system of record."""

    def get(self) -> Database:
        return _database(current_settings())


def require_market(source: MarketData, *, trades: bool = False) -> None:
    """Check that the home is the ledger's, and that research and candles kept are of the market of the source.

    Args:
        trades: candles in S3 are not looked at, as trading has none there.

    Raises:
        WrongBooksError: they are of another, or nobody has said yet of which.
    """
    settings = current_settings()
    database = _database(settings)
    held = home_mark.require_home(database, settings)
    words = home_mark.compare_code(database, settings.account, held)
    if words:
        _log.warning("%s", words)
    market = binding.require_market(database, source, settings.candle_store, settings.venue.value)
    if not trades:
        claim_candles(settings, market)


class CandleStoreResource(dg.ConfigurableResource):
    """Candles and funding: those of research, which may be in S3, and those of trading on this machine."""

    def get(self) -> CandleStore:
        return _candle_store(current_settings())

    def local(self) -> CandleStore:
        settings = current_settings()
        return self.get() if settings.store_url is None else _local_candle_store(settings)


class ExchangeResource(dg.ConfigurableResource):
    """The exchange connector. Research uses `market_data()`, which needs no key; trading uses `account()`.

    `connector()` is that of the account before the venue was asked whether the key may trade.
    """

    def market_data(self) -> MarketData:
        return _market_data(current_settings())

    def connector(self, account: str = "") -> Exchange:
        return _connector(_place(account))

    def account(self, account: str = "") -> Exchange:
        return _exchange(_place(account))


class NotifierResource(dg.ConfigurableResource):
    """Tells a human. What was told is kept and tried before the process of a run ends."""

    def get(self, account: str = "") -> Notifier:
        base = current_settings()
        return _notifier(base.model_copy(update={"account": account or base.account}))


@dataclass(frozen=True)
class _Ledger:
    """A ledger and its sealed results: the same one for all settings that name the same."""

    url: str | URL
    timeouts: Timeouts
    results: tuple[object, ...]
    settings: Settings = field(compare=False)


@lru_cache(maxsize=4)
def _opened(ledger: _Ledger) -> Database:
    database = Database.of(ledger.settings)
    seed_registry(database)
    return database


@lru_cache(maxsize=4)
def _candle_store(settings: Settings) -> CandleStore:
    return open_candle_store(settings)


@lru_cache(maxsize=4)
def _local_candle_store(settings: Settings) -> CandleStore:
    return open_local_candle_store(settings)


@lru_cache(maxsize=4)
def _market_data(settings: Settings) -> MarketData:
    return open_market_data(settings)


@lru_cache(maxsize=32)
def _connector(settings: Settings) -> Exchange:
    return open_exchange(settings)


@lru_cache(maxsize=32)
def _exchange(settings: Settings) -> Exchange:
    exchange = _connector(settings)
    verdict = require_trading_key(exchange)
    for warning in verdict.warnings if not settings.venue.adapter.is_simulated else ():
        _log.warning("API key: %s", warning)
    return exchange


def _notifier(settings: Settings) -> Notifier:
    """An account's notifier. When its settings change the one before ends, after a last delivery."""
    with _notifiers_lock:
        made_of, notifier = _notifiers.get(settings.account, (None, None))
        if notifier is not None and made_of == settings:
            return notifier
        found = notifier_of(settings, lambda: _database(settings))
        _notifiers[settings.account] = settings, found
    if notifier is not None:
        notifier.close(timeout_s=0.0)
    return found


def close_notifiers() -> None:
    """Let what this process told be kept and tried, and end the threads that do so."""
    with _notifiers_lock:
        notifiers = [notifier for _, notifier in _notifiers.values()]
        _notifiers.clear()
    for notifier in notifiers:
        notifier.close()
