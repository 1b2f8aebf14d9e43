"""Checks of an installation: settings, stores, exchange. Each finding says what to do.

Nothing is repaired here but the rights of files.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trading_assets.cli.notify import a_test
from trading_assets.cli.status import blocked_lines, channel_lines, halt_line, trouble_lines
from trading_assets.core.code_version import code_version
from trading_assets.core.configuration import PREFIX, config_file
from trading_assets.core.errors import (
    AccountShapeError,
    ConfigurationError,
    DataError,
    StorageError,
    TradingAssetsError,
)
from trading_assets.core.private_files import exposed, make_private, private_folder
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import iso
from trading_assets.ledger import books, installation
from trading_assets.ledger.database import Database, Timeouts, shown
from trading_assets.notifications.channels import channels_of
from trading_assets.notifications.delivery import send_to_each
from trading_assets.trading import home_mark
from trading_assets.trading.binding import describe, require_bound, require_market
from trading_assets.trading.context import why_off
from trading_assets.venues import open_exchange
from trading_assets.venues.accounts import examine_account, settle_coins_held
from trading_assets.venues.keys import require_trading_key

LOCATION = "trading_assets"
BROKER_VARIABLE = f"{PREFIX}BROKER_URL"
_BROKER_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
_LOW_DISK_BYTES = 500 * 1024**2


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, and what was found."""

    what: str
    ok: bool
    found: str


def examine(settings: Settings, *, send: bool = False) -> list[Finding]:
    """Look at everything a run needs, in the order in which it would fail.

    Args:
        send: send a test message to each channel of notifications.
    """
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("home directory", _home),
        ("rights of files", _rights),
        ("web server", _web_server),
        ("database", _database),
        ("installation", _installation),
        ("message broker", _broker),
        ("code locations", _locations),
        ("research", _research),
        ("schedules and sensors", _automation),
        ("exchange", _exchange),
        ("API key", _api_key),
        ("account", _account),
        ("books", _books),
        ("trading", _switch),
        ("file HALTED", _halt_file),
        ("settings", _names),
        ("settle coins", _settle_coins),
        ("notifications", _send_test if send else _notifications),
    ]
    findings = [Finding("venue", True, f"{settings.venue.value}, account {settings.account}")]
    for what, check in checks:
        try:
            findings.append(Finding(what, True, check(settings)))
        except TradingAssetsError as error:
            findings.append(Finding(what, False, str(error)))
    return findings


def _home(settings: Settings) -> str:
    home: Path = settings.home
    try:
        private_folder(home)
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise StorageError(
            f"{home} cannot be written: {error.strerror}; free some space or choose another directory with "
            "TRADING_ASSETS_HOME"
        ) from error
    if free < _LOW_DISK_BYTES:
        raise StorageError(f"{home} has {free // 1024**2} MB left, expected at least {_LOW_DISK_BYTES // 1024**2} MB")
    return f"{home}, {free / 1024**3:.1f} GB free"


def _rights(settings: Settings) -> str:
    """Takes away what others may read or write: nothing of it is meant for them."""
    file = config_file()
    places = (settings.home, file if file is not None and file.is_file() else None, settings.limits_dir)
    found = [path for place in places if place is not None for path in exposed(place)]
    left = [path for path in found if not make_private(path)]
    if left:
        raise StorageError(
            f"others may read or write {left[0]} and {len(left) - 1} more, and this user cannot change it; let its "
            "owner do: chmod -R go-rwx"
        )
    return f"of this user alone; taken away from others just now: {len(found)}" if found else "of this user alone"


def _web_server(settings: Settings) -> str:
    from trading_assets.defs.instance.web_guard import guards  # noqa: PLC0415 (imports dagster)

    guarded = guards(settings.ui_url)
    if guarded is None:
        return f"none answers at {settings.ui_url}"
    if not guarded:
        raise ConfigurationError(
            f"the one at {settings.ui_url} answers to the name attacker.example, so any web page can command it; start "
            "it with `trading-assets web`, or with this project's dagster.yaml"
        )
    return f"{settings.ui_url} is guarded against foreign web pages"


def _database(settings: Settings) -> str:
    database = _opened(settings)
    try:
        with database.write():
            return shown(database.url)
    finally:
        database.close()


def _installation(settings: Settings) -> str:
    database = _opened(settings)
    try:
        said = home_mark.describe(database, settings)
        held = installation.read(database)
    finally:
        database.close()
    if held is not None and held.code not in (None, code_version()):
        raise ConfigurationError(
            f"{said}; but this command runs the code {code_version()}, and the daemon's code server {held.code}: "
            "install one version everywhere, and start every process again"
        )
    return f"{said}, code {code_version()}"


def _broker(_settings: Settings) -> str:
    """The one that Celery workers take runs from, where the environment names one."""
    url = os.environ.get(BROKER_VARIABLE, "")
    if not url:
        return "none is named: runs are not handed to Celery workers"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _BROKER_PORTS.get(parts.scheme, 5672)
    except ValueError:
        raise ConfigurationError(f"{BROKER_VARIABLE} is no URL; expected amqp://user:password@host:5672//") from None
    try:
        with socket.create_connection((host, port), timeout=5):
            return f"answers at {host}:{port}"
    except OSError as error:
        raise ConfigurationError(
            f"the broker at {host}:{port} ({BROKER_VARIABLE}) does not answer: {error}; start it, no run begins before"
        ) from error


def _locations(_settings: Settings) -> str:
    """Switches of schedules and sensors belong to the name of a code location."""
    from trading_assets.defs.instance.locations import names_with_switches  # noqa: PLC0415 (imports dagster)

    names = names_with_switches()
    if names is None:
        return "no Dagster instance is here: neither DAGSTER_HOME nor a dagster.yaml"
    others = sorted(names - {LOCATION})
    if others:
        raise ConfigurationError(
            f"schedules and sensors were switched in the code location {', '.join(others)}, expected {LOCATION} alone: "
            "start webserver and daemon with -w workspace.yaml, and switch them there again"
        )
    return f"every switch belongs to {LOCATION}"


def _research(settings: Settings) -> str:
    database = Database(settings.resolved_database_url, timeouts=Timeouts.of(settings).at_most(5.0))
    try:
        blocked = blocked_lines(database)
    finally:
        database.close()
    if blocked:
        raise DataError("; ".join(blocked))
    return "no hour of the last day is blocked"


def _automation(settings: Settings) -> str:
    database = _opened(settings)
    try:
        found = trouble_lines(database, settings)
    finally:
        database.close()
    if found:
        raise DataError("; ".join(found))
    return "none has met a limit of tries, a blocked hour or a stuck run"


def _exchange(settings: Settings) -> str:
    exchange = open_exchange(settings)
    try:
        now = exchange.now_ms()
        wallet = exchange.wallet()
    finally:
        exchange.close()
    return f"answers, its clock says {iso(now)}, equity {wallet.equity:.2f} USD"


def _api_key(settings: Settings) -> str:
    exchange = open_exchange(settings)
    try:
        verdict = require_trading_key(exchange)
    finally:
        exchange.close()
    if settings.venue.adapter.is_simulated:
        return "the embedded exchange's own, it guards nothing"
    return "; ".join((verdict.summary, *verdict.warnings))


def _account(settings: Settings) -> str:
    exchange = open_exchange(settings)
    try:
        verdict = examine_account(exchange, settings.symbols)
    finally:
        exchange.close()
    found = "; ".join((verdict.summary, *verdict.faults, *verdict.warnings))
    if verdict.faults:
        raise AccountShapeError(found)
    return found


def _books(settings: Settings) -> str:
    exchange, database = open_exchange(settings), _opened(settings)
    try:
        held = books.read(database, settings.account)
        if held.market is not None:  # looking binds nothing
            require_market(database, exchange)
        if held.owner is not None:
            require_bound(database, exchange, settings)
        return describe(database, settings.account)
    finally:
        database.close()
        exchange.close()


def _halt_file(settings: Settings) -> str:
    held = halt_line(settings)
    if held:
        raise DataError(f"{held}; nothing is opened before: trading-assets resume")
    return "there is none"


def _switch(settings: Settings) -> str:
    database = _opened(settings)
    try:
        return why_off(database, settings) or "on"
    finally:
        database.close()


def _notifications(settings: Settings) -> str:
    """Every channel can be used, and nothing waits or was given up. Nothing is sent."""
    channels = channels_of(settings)
    if not channels:
        return "no channel is set: messages go to the log and the ledger alone"
    for channel in channels:
        channel.check()
    database = _opened(settings)
    try:
        stuck = channel_lines(database, settings)
    finally:
        database.close()
    if stuck:
        raise DataError("; ".join(stuck))
    return f"{', '.join(one.name for one in channels)}: nothing waits; trading-assets notify test sends to each"


def _send_test(settings: Settings) -> str:
    found = send_to_each(channels_of(settings), a_test(settings))
    failed = [f"{name}: {why}" for name, why in found.items() if why]
    if failed:
        raise DataError(f"a test message was not taken by {'; '.join(failed)}")
    return f"a test message was taken by {', '.join(found)}" if found else "no channel is set"


def _names(_settings: Settings) -> str:
    load_settings()
    file = config_file()
    return f"every name is known; the file is {file}" if file is not None else "every name is known; there is no file"


def _opened(settings: Settings) -> Database:
    return Database(settings.resolved_database_url, timeouts=Timeouts.of(settings).at_most(5.0))


def _settle_coins(settings: Settings) -> str:
    exchange = open_exchange(settings)
    try:
        held = settle_coins_held(exchange)
    finally:
        exchange.close()
    traded = settings.symbols.settle_coin
    parts = [f"positions in {coin}: {', '.join(symbols)}" for coin, symbols in held.items()] or ["no position is open"]
    if set(held) - {traded}:
        parts.append(f"only contracts in {traded} are traded; the exposure of the others counts")
    return "; ".join(parts)
