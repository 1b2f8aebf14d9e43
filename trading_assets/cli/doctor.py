"""The checklist before trading: settings, machine, ledger, exchange, Dagster. Each finding says what to do.

Nothing is repaired here but the rights of files.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from trading_assets.cli.notify import a_test
from trading_assets.cli.status import blocked_lines, channel_lines, halt_line, trouble_lines
from trading_assets.core.code_version import code_version
from trading_assets.core.configuration import CONFIG_VARIABLE, PREFIX, checkout, config_file
from trading_assets.core.errors import (
    AccountShapeError,
    ClockSkewError,
    ConfigurationError,
    DataError,
    StorageError,
    TradingAssetsError,
)
from trading_assets.core.memory import limit_mb
from trading_assets.core.private_files import exposed, limits_folder, make_private, owned_folder, private_folder
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import iso, local_ms
from trading_assets.ledger import books, installation, leases, migrations
from trading_assets.ledger.database import Database, Timeouts, shown
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.notifications.channels import channels_of
from trading_assets.notifications.delivery import send_to_each
from trading_assets.trading import home_mark
from trading_assets.trading.binding import describe, require_bound, require_market
from trading_assets.trading.context import trading_lease, why_off
from trading_assets.trading.session.registry import unreached
from trading_assets.venues import open_exchange
from trading_assets.venues.accounts import examine_account, settle_coins_held
from trading_assets.venues.keys import require_trading_key

LOCATION = "trading_assets"
BROKER_VARIABLE = f"{PREFIX}BROKER_URL"
_BROKER_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
_LOW_DISK_BYTES = 500 * 1024**2

INSTALLATION_MB, RESEARCH_MB, COIN_MB = 750.0, 650.0, 1.3
"""What Dagster, a session and the embedded exchange need together; research beside it; each coin more. See
docs/production.md, "Memory"."""


class Advice(str):
    """What a check returns of something that works and should be made better, with what to do."""


class Level(StrEnum):
    """How it stands with what was looked at."""

    OK = "ok"
    ADVICE = "see"
    """It works; before real money it should be made better."""
    FAULT = "no"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it stands, what was found, and what to do."""

    group: str
    what: str
    level: Level
    found: str

    @property
    def ok(self) -> bool:
        """Whether what needs it works."""
        return self.level is not Level.FAULT


def examine(settings: Settings, *, send: bool = False) -> list[Finding]:
    """Look at everything a run needs, in the order in which it would fail, in groups.

    Args:
        send: send a test message to each channel of notifications.
    """
    findings = []
    for group, checks in CHECKS.items():
        for what, check in checks.items():
            look = _send_test if send and check is _notifications else check
            try:
                found = look(settings)
            except TradingAssetsError as error:
                findings.append(Finding(group, what, Level.FAULT, str(error)))
            else:
                findings.append(Finding(group, what, Level.ADVICE if isinstance(found, Advice) else Level.OK, found))
    return findings


def _file(_settings: Settings) -> str:
    file = config_file()
    if file is None:
        return "none: settings are those of the environment, and defaults"
    return f"{file}{', named by ' + CONFIG_VARIABLE if os.environ.get(CONFIG_VARIABLE) else ''}"


def _venue(settings: Settings) -> str:
    money = "REAL MONEY" if settings.venue.adapter.is_real_money else "no real money"
    return f"{settings.venue.value}, account {settings.account}, {money}"


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


def _limits(settings: Settings) -> str:
    """All processes count their requests in one directory, into which nobody else can write."""
    folder = limits_folder(settings.limits_dir)
    try:
        return str(owned_folder(folder))
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be used: {error.strerror}; name another directory in TRADING_ASSETS_LIMITS_DIR"
        ) from error


def _memory(settings: Settings) -> str:
    limit, who = limit_mb()
    needed = INSTALLATION_MB + RESEARCH_MB + COIN_MB * settings.max_symbols
    text = (
        f"{limit / 1024:.1f} GB by {who}; research of {settings.max_symbols} coins beside a session and Dagster needs "
        f"{needed / 1024:.1f}"
    )
    if limit < needed:
        return Advice(f"{text}: the system would kill a run; lower TRADING_ASSETS_MAX_SYMBOLS, or give it more memory")
    return text


def _clock(settings: Settings) -> str:
    exchange = open_exchange(settings)
    try:
        offset = exchange.clock_offset_ms()
    finally:
        exchange.close()
    if settings.venue.adapter.is_simulated:
        return "the exchange's own is used"
    text = f"{offset:+d} ms between the exchange's and this machine's, {settings.max_clock_offset_ms} are allowed"
    if abs(offset) > settings.max_clock_offset_ms:
        raise ClockSkewError(f"{text}: no order is sent; let the system set its clock (NTP, such as chrony)")
    return text


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


def _token(settings: Settings) -> str:
    if not settings.venue.adapter.is_real_money:
        return "not needed on this machine without real money"
    return "needed on this machine, too; trading-assets web --show-token prints it"


def _dagster(settings: Settings) -> str:
    """What is trusted to the `dagster.yaml` in force: the guard, groups, and the end of dead runs."""
    named, ours = os.environ.get("DAGSTER_HOME", "").strip(), checkout()
    folder = Path(named).expanduser() if named else ours
    if folder is None:
        return _unless_simulated(
            settings, "DAGSTER_HOME is not set: set it to a directory with this project's dagster.yaml"
        )
    file = folder / "dagster.yaml"
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{file} cannot be read ({str(error).splitlines()[0]}): put this project's there"
        ) from error
    missing = [what for what, (value, *names) in _TRUSTED.items() if value not in str(_at(found, *names))]
    if missing:
        raise ConfigurationError(
            f"{file} lacks {', '.join(missing)}: take them from the dagster.yaml of the checkout, or from deploy/"
        )
    if named:
        return str(file)
    return _unless_simulated(
        settings, f"{file} where `dagster` is started in the checkout; everything else needs DAGSTER_HOME={folder}"
    )


_TRUSTED: Mapping[str, tuple[str, ...]] = {
    "this project's storage with the guard": ("trading_assets.", "storage", "custom", "module"),
    "its run_coordinator with groups": ("trading_assets.", "run_coordinator", "module"),
    "run_monitoring, which ends dead runs": ("True", "run_monitoring", "enabled"),
}
"""What must be in `dagster.yaml`: a text in the value, and the path to it."""


def _at(found: object, *names: str) -> object:
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _switched(settings: Settings) -> str:
    if settings.automation_on:
        return "schedules and sensors run unless they are switched off in the UI"
    return "schedules and sensors run where they are switched on in the UI (Automation)"


def _database(settings: Settings) -> str:
    database = _opened(settings)
    try:
        with database.write() as connection:
            revision = migrations.revision_of(connection)
    finally:
        database.close()
    return f"{shown(database.url)}, revision {revision}"


def _installation(settings: Settings) -> str:
    database = _opened(settings)
    try:
        said = home_mark.describe(database, settings)
        held = installation.read(database)
    finally:
        database.close()
    if held is not None and held.code_version not in (None, code_version()):
        raise ConfigurationError(
            f"{said}; but this command runs the code {code_version()}, and the daemon's code server "
            f"{held.code_version}: install one version everywhere, and start every process again"
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

    try:
        names = names_with_switches()
    except Exception as error:  # an instance that cannot be opened may raise anything
        raise ConfigurationError(
            f"the Dagster instance cannot be opened ({str(error)[:200] or type(error).__name__}); see its dagster.yaml"
        ) from error
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
    text = "; ".join((verdict.summary, *verdict.warnings))
    return Advice(text) if verdict.warnings else text


def _account(settings: Settings) -> str:
    exchange = open_exchange(settings)
    try:
        verdict = examine_account(exchange, settings.symbols)
    finally:
        exchange.close()
    found = "; ".join((verdict.summary, *verdict.faults, *verdict.warnings))
    if verdict.faults:
        raise AccountShapeError(found)
    return Advice(found) if verdict.warnings else found


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
        return Advice(f"{held}; nothing is opened before: trading-assets resume")
    return "there is none"


def _switch(settings: Settings) -> str:
    database = _opened(settings)
    try:
        off = why_off(database, settings)
    finally:
        database.close()
    return Advice(off) if off else "on"


def _risk(settings: Settings) -> str:
    database = _opened(settings)
    try:
        held = in_force(read_history(database, settings.account), local_ms())
    finally:
        database.close()
    if held.state is RiskState.ACTIVE:
        return "ACTIVE"
    return Advice(f"{held.state}, {held.cause.value}: {held.reason}; when that is over: trading-assets resume")


def _sessions(settings: Settings) -> str:
    database = _opened(settings)
    try:
        others = unreached(settings, database)
        here = leases.holder_of(database, trading_lease(settings.account), wall_ms=local_ms())
    finally:
        database.close()
    text = f"{here.holder} trades" if here is not None else "none trades on these books"
    if others:
        return Advice(f"{text}; others live, and commands here do not reach them: {'; '.join(map(str, others))}")
    return text


def _notifications(settings: Settings) -> str:
    """Every channel can be used, and nothing waits or was given up. Nothing is sent."""
    channels = channels_of(settings)
    if not channels:
        return _unless_simulated(
            settings,
            "no channel is set, messages go to the log and the ledger alone: name one in TRADING_ASSETS_NOTIFY_URLS",
        )
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
    return "every name is known, every value can be used"


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


def _unless_simulated(settings: Settings, text: str) -> str:
    return text if settings.venue.adapter.is_simulated else Advice(text)


CHECKS: Mapping[str, Mapping[str, Callable[[Settings], str]]] = {
    "Configuration": {
        "file": _file,
        "settings": _names,
        "venue": _venue,
        "notifications": _notifications,
    },
    "This machine": {
        "home directory": _home,
        "rights of files": _rights,
        "request counters": _limits,
        "memory": _memory,
    },
    "Ledger": {
        "database": _database,
        "installation": _installation,
        "books": _books,
        "trading": _switch,
        "risk guard": _risk,
        "file HALTED": _halt_file,
        "sessions": _sessions,
        "research": _research,
    },
    "Exchange": {
        "exchange": _exchange,
        "clock": _clock,
        "API key": _api_key,
        "account": _account,
        "settle coins": _settle_coins,
    },
    "Dagster": {
        "instance": _dagster,
        "code locations": _locations,
        "message broker": _broker,
        "automation": _switched,
        "schedules and sensors": _automation,
        "web server": _web_server,
        "token of the UI": _token,
    },
}
"""What is looked at, by group and name. A check returns what it found, or `Advice`, or raises an error of the tree."""
