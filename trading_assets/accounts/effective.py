"""The settings and flags that hold for an account: the one function through which everybody gets them.

Later goes before earlier: the default, the configuration file, the environment, the ledger for all accounts, the ledger
for the account. Where an account is (its venue, keys and place) its own row says, for a named one.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa

from trading_assets.accounts import master_keys, sealing
from trading_assets.core.errors import ConfigurationError, StorageError, UnknownAccountError
from trading_assets.core.flags import Flag, Flags, checked
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.setting_changes import Change, change_of
from trading_assets.core.settings import RENAMED, Settings
from trading_assets.ledger import live_changes, named_accounts
from trading_assets.ledger.database import Database
from trading_assets.ledger.live_changes import ALL, ChangeKind, Entry
from trading_assets.ledger.named_accounts import IN_LEDGER, NO_KEYS, NamedAccount

PLACE = ("bybit_region", "simulator_url", "simulator_deposit", "request_timeout_s", "recv_window_ms")
"""Settings that a named account may have besides venue and keys from the day it was added, and keeps."""

NAMES_FILE = "accounts.json"
"""In the home: the names of all accounts."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class LiveSettings:
    """What the ledger says of settings and flags, read at one moment.

    Attributes:
        account: row of a named account; None for that of the settings.
        common, own: changes of settings in force, of all accounts and of this one, by name.
    """

    version: int
    account: NamedAccount | None
    common: Mapping[str, Entry]
    own: Mapping[str, Entry]
    flags: Flags


def names(database: Database, base: Settings) -> list[str]:
    """Return every account of the installation: that of the settings first, then named ones."""
    return [base.account, *(one.name for one in named_accounts.listed(database) if one.name != base.account)]


def remember_names(database: Database, base: Settings) -> None:
    """Write the names of all accounts into the home: who stops them must not wait for the ledger.

    Raises:
        StorageError: the home cannot be written.
    """
    path = base.home / NAMES_FILE
    try:
        private_folder(path.parent)
        write_private(path, json.dumps(names(database, base)))
    except OSError as error:
        raise StorageError(f"the file {path} cannot be written: {error.strerror}") from error


def remembered_names(base: Settings) -> list[str]:
    """Return every account of the installation, as the home knows it; that of the settings first."""
    try:
        found = [str(name) for name in json.loads((base.home / NAMES_FILE).read_text())]
    except (OSError, ValueError, TypeError):
        found = []
    return list(dict.fromkeys([base.account, *found]))


def one_name(database: Database, base: Settings, given: str, command: str) -> str:
    """Return the account that a command means which must not guess.

    Raises:
        ConfigurationError: there are several and none is named, or there is none of the name.
    """
    return one_of(names(database, base), base, given, command)


def one_of(known: Sequence[str], base: Settings, given: str, command: str) -> str:
    """See `one_name`, for names in hand."""
    if given:
        return _known(given, known)
    if len(known) > 1:
        raise UnknownAccountError(
            f"{command} must name one of the accounts {', '.join(known)}: --account NAME. Nothing was done"
        )
    return base.account


def several_names(database: Database, base: Settings, given: str) -> list[str]:
    """Return the accounts that a command means which acts on all of them unless one is named.

    Raises:
        ConfigurationError: there is none of the name.
    """
    known = names(database, base)
    return [_known(given, known)] if given else known


def version_of(database: Database) -> int:
    """Return the newest change of settings, flags and accounts."""
    with database.read() as connection:
        return live_changes.version(connection)


def settings_of(database: Database, base: Settings, account: str = "", *, with_keys: bool = True) -> Settings:
    """Return the settings that hold for an account now, with the flags and the version of the ledger's changes.

    Args:
        base: settings of environment and file.
        account: its name; empty is the account of `base`.
        with_keys: False for what needs no key, and must not fail for want of a master key.

    Raises:
        ConfigurationError: there is no such account, its keys cannot be read, or its venue is refused.
    """
    name = account or base.account
    url = database.url.render_as_string(hide_password=False)
    key = (url, base, name, master_keys.stamp(base) if with_keys else None)
    with database.read() as connection:
        version = live_changes.version(connection)
        cached = _CACHE.get(key)
        if cached is not None and cached.version == version:
            return cached
        live = _read(connection, base, name)
    settings = _with_live(_at_its_place(base, live.account, with_keys=with_keys), live)
    _CACHE.put(key, settings)
    return settings


def place_of(database: Database, base: Settings, account: str = "") -> Settings:
    """Return the settings of an account without what changes live: what its connections are opened with.

    Raises:
        ConfigurationError: as `settings_of`.
    """
    name = account or base.account
    if name == base.account:
        return base
    with database.read() as connection:
        row = named_accounts.read(connection, name)
    return _at_its_place(base, _required(row, name), with_keys=True)


def common_settings(database: Database, base: Settings) -> Settings:
    """Return the settings of the installation: with what was changed for all accounts. Research is done with them."""
    with database.read() as connection:
        common = live_changes.in_force(connection, ChangeKind.SETTING, ALL)
        live = LiveSettings(live_changes.version(connection), None, common, {}, _flags(connection, ALL))
    return _with_live(base, live)


def live_settings_of(database: Database, base: Settings, account: str = "") -> LiveSettings:
    """Return what the ledger says of an account, for those who show it.

    Raises:
        ConfigurationError: there is no such account.
    """
    with database.read() as connection:
        return _read(connection, base, account or base.account)


def with_values(settings: Settings, texts: Mapping[str, object]) -> Settings:
    """Return settings with other values or texts of them, leaving out those that this version does not take.

    A value may be of an older version, or contradict what the file says today.
    """
    try:
        return settings.changed(texts)
    except ConfigurationError:
        pass
    for name, text in texts.items():
        try:
            settings = settings.changed({name: text})
        except ConfigurationError as error:
            _log.warning("a value in the ledger does not hold: %s", error)
    return settings


def _read(connection: sa.Connection, base: Settings, name: str) -> LiveSettings:
    row = None if name == base.account else _required(named_accounts.read(connection, name), name)
    return LiveSettings(
        live_changes.version(connection),
        row,
        live_changes.in_force(connection, ChangeKind.SETTING, ALL),
        live_changes.in_force(connection, ChangeKind.SETTING, name),
        _flags(connection, name),
    )


def _required(row: NamedAccount | None, name: str) -> NamedAccount:
    if row is None:
        raise UnknownAccountError(
            f"there is no account {name!r}: trading-assets accounts list names those that there are"
        )
    return row


def _at_its_place(base: Settings, row: NamedAccount | None, *, with_keys: bool) -> Settings:
    if row is None:
        return base
    given: dict[str, object] = {"account": row.name, "venue": row.venue, "api_key": None, "api_secret": None}
    given |= {"secrets": None, **{name: text for name, text in row.place.items() if name in PLACE}}
    if row.key_source == IN_LEDGER:
        if with_keys:
            keys = sealing.opened(row, _masters(base))
            given |= {"api_key": keys.key, "api_secret": keys.secret}
    elif row.key_source != NO_KEYS:
        given["secrets"] = row.key_source
    return base.changed(given).as_named()


@lru_cache(maxsize=4)
def _masters_of(base: Settings, _stamp: int) -> master_keys.MasterKeys:
    return master_keys.load(base)


def _masters(base: Settings) -> master_keys.MasterKeys:
    """The master keys, read again where their file has changed."""
    return _masters_of(base, master_keys.stamp(base))


def _with_live(settings: Settings, live: LiveSettings) -> Settings:
    texts = {**_texts(live.common), **_texts(live.own)}
    return with_values(settings, texts).changed({}, version=live.version, flags=live.flags)


def _texts(entries: Mapping[str, Entry]) -> dict[str, str]:
    found = {}
    for name, entry in entries.items():
        now = RENAMED.get(name, name)
        field = Settings.model_fields.get(now)
        if field is None or change_of(field) is Change.RESTART or entry.value is None:
            _log.warning("the ledger has a value of %s, which this version does not change while it runs", name)
            continue
        found[now] = entry.value
    return found


def _flags(connection: sa.Connection, name: str) -> Flags:
    common = _known_flags(live_changes.in_force(connection, ChangeKind.FLAG, ALL))
    return Flags(common, {} if name == ALL else _known_flags(live_changes.in_force(connection, ChangeKind.FLAG, name)))


def _known_flags(entries: Mapping[str, Entry]) -> dict[Flag, str]:
    """Flags of this version; one that cannot be read has its default."""
    found = {}
    for name, entry in entries.items():
        if name not in set(Flag):
            continue
        try:
            found[Flag(name)] = checked(entry.value or "")
        except ConfigurationError as error:
            _log.warning("flag %s: %s", name, error)
    return found


def _known(given: str, known: Iterable[str]) -> str:
    known = list(known)
    if given in known:
        return given
    near = difflib.get_close_matches(given, known, 1)
    meant = f", did you mean {near[0]!r}?" if near else ""
    raise UnknownAccountError(
        f"there is no account {given!r}{meant}: the accounts are {', '.join(known)}. Nothing was done"
    )


class _Cache:
    """The newest settings by what they were made of: each caller asks for them many times."""

    def __init__(self, size: int) -> None:
        self._size, self._held = size, dict[object, Settings]()

    def get(self, key: object) -> Settings | None:
        return self._held.get(key)

    def put(self, key: object, settings: Settings) -> None:
        if key not in self._held and len(self._held) >= self._size:
            self._held.clear()
        self._held[key] = settings


_CACHE = _Cache(64)
