"""Changes of settings and flags while the system runs: what is refused, with the reason, and what is written."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass

import sqlalchemy as sa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trading_assets.accounts import effective
from trading_assets.core.configuration import Given
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.flags import Flag, checked, flag_named
from trading_assets.core.setting_changes import Change, change_of
from trading_assets.core.settings import PREFIX, RENAMED, SECRET_SETTINGS, Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import live_changes, orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.live_changes import ALL, ChangeKind, Entry

_WHERE_AND_WHOSE = ("venue", "account", "home", "database_url", "secrets", "allow_mainnet", *effective.PLACE)


@dataclass(frozen=True)
class Changed:
    """What became of a change: the text before and after, and the version since which it holds."""

    before: str
    after: str
    version: int


@dataclass(frozen=True)
class Layers:
    """Where the value of a setting comes from, the weakest first. None: that layer does not say.

    Attributes:
        given: of the environment or the file, and in `given_by` which.
        common, own: of the ledger for all accounts, and for the account.
        in_force: what holds, as the program has it.
    """

    name: str
    change: Change
    default: object
    given: object
    given_by: str
    common: Entry | None
    own: Entry | None
    in_force: object

    @property
    def source(self) -> str:
        """Where the value in force is from."""
        if self.own is not None:
            return f"ledger, of the account (version {self.own.version})"
        if self.common is not None:
            return f"ledger, of all accounts (version {self.common.version})"
        return self.given_by or "default"


def set_setting(
    database: Database,
    base: Settings,
    name: str,
    text: str | None,
    *,
    account: str = ALL,
    actor: str,
    reason: str,
) -> Changed:
    """Change a setting for an account, or for all; None gives the change up, so that environment and file hold again.

    Raises:
        ConfigurationError: it may not change so, now, or for one account, or the value is not allowed; the message says
            why. Nothing was written.
    """
    change = _changeable(name, account)
    concerned = effective.several_names(database, base, account)
    known_as = RENAMED.get(name, name)
    if text is not None:
        for one in concerned:
            held = effective.settings_of(database, base, one, with_keys=False)
            held.changed({known_as: text})  # raises what is wrong with it, as a whole
    with database.write(one_at_a_time=live_changes.LOCK) as connection:
        if change is Change.FLAT:
            _require_flat(connection, name, concerned)
        entry = live_changes.in_force(connection, ChangeKind.SETTING, account).get(known_as)
        before = entry.value if entry is not None else None
        if before == text:
            return Changed(_shown(before), _shown(text), live_changes.version(connection))
        new = Entry(ChangeKind.SETTING, account, known_as, text, actor, reason, local_ms())
        return Changed(_shown(before), _shown(text), live_changes.add(connection, new))


def set_flag(
    database: Database, base: Settings, name: str, value: str | None, *, account: str = ALL, actor: str, reason: str
) -> Changed:
    """Turn a flag for an account, or for all; None gives the change up.

    Raises:
        ConfigurationError: there is no such flag, account or value. Nothing was written.
    """
    flag, text = flag_named(name), None if value is None else checked(value)
    effective.several_names(database, base, account)
    with database.write(one_at_a_time=live_changes.LOCK) as connection:
        entry = live_changes.in_force(connection, ChangeKind.FLAG, account).get(flag.value)
        before = entry.value if entry is not None else None
        if before == text:
            return Changed(_shown(before), _shown(text), live_changes.version(connection))
        new = Entry(ChangeKind.FLAG, account, flag.value, text, actor, reason, local_ms())
        return Changed(_shown(before), _shown(text), live_changes.add(connection, new))


def layers(database: Database, base: Settings, account: str = "") -> list[Layers]:
    """Return of every setting that is no secret where its value comes from, for an account.

    Raises:
        ConfigurationError: there is no such account.
    """
    live = effective.live_settings_of(database, base, account)
    held = effective.settings_of(database, base, account, with_keys=False)
    given, found = Given.read(), []
    for name, field in Settings.model_fields.items():
        if name in SECRET_SETTINGS:
            continue
        default, value = field.get_default(call_default_factory=True), getattr(base, name)
        found.append(
            Layers(
                name,
                change_of(field),
                default,
                value,
                _given_by(given, name) if value != default or _given_by(given, name) else "",
                live.common.get(name),
                live.own.get(name),
                getattr(held, name),
            )
        )
    return found


def layers_of(database: Database, base: Settings, name: str, account: str = "") -> Layers:
    """Return where the value of one setting comes from.

    Raises:
        ConfigurationError: there is no such setting or account, or it is a secret.
    """
    _field(name)
    found = next((one for one in layers(database, base, account) if one.name == name), None)
    if found is None:
        raise ConfigurationError(f"{name} is a secret: it is not shown")
    return found


def flags_of(database: Database, base: Settings, account: str = "") -> list[tuple[Flag, str, str]]:
    """Return each flag with what was said of it for all accounts, and for the account; empty where nothing was.

    Raises:
        ConfigurationError: there is no such account.
    """
    flags = effective.live_settings_of(database, base, account).flags
    return [(flag, flags.common.get(flag, ""), flags.own.get(flag, "")) for flag in Flag]


def text_of(value: object) -> str:
    """A value of a setting as text, as it would stand in the file."""
    if value is None:
        return "(none)"
    if isinstance(value, dict):
        found = {
            str(name): one.model_dump(mode="json", exclude_unset=True) if isinstance(one, BaseModel) else one
            for name, one in value.items()
        }
        return json.dumps(found)
    if isinstance(value, tuple):
        return json.dumps([str(one) for one in value])
    return str(value).lower() if isinstance(value, bool) else str(value)


def _changeable(name: str, account: str) -> Change:
    """When a setting may change; raises where it may not at all, or not for one account."""
    field = _field(name)
    if name in SECRET_SETTINGS:
        raise ConfigurationError(
            f"{name} is a secret, and the ledger has no secret in clear: set it in the environment or the file; an "
            "account's keys: trading-assets accounts rotate. Nothing was changed"
        )
    change = change_of(field)
    if change is Change.RESTART:
        why = (
            "it says whose account is meant, where it is and which prices are seen: open positions and research "
            "depend on it"
            if name in _WHERE_AND_WHOSE
            else "processes read it once, when they start"
        )
        raise ConfigurationError(
            f"{name} does not change while the system runs: {why}. Set {PREFIX}{name.upper()} in the environment or "
            "the file, and start again. Nothing was changed"
        )
    if change is Change.RESEARCH and account != ALL:
        raise ConfigurationError(
            f"{name} is a setting of research, which all accounts share: set it without --account. Nothing was changed"
        )
    return change


def _field(name: str) -> FieldInfo:
    field = Settings.model_fields.get(RENAMED.get(name, name))
    if field is None:
        near = difflib.get_close_matches(name, Settings.model_fields, 1)
        meant = f"did you mean {near[0]}?" if near else "trading-assets config get lists them"
        raise ConfigurationError(f"there is no setting {name!r}: {meant}")
    return field


def _require_flat(connection: sa.Connection, name: str, accounts: list[str]) -> None:
    for account in accounts:
        held = orders.occupying(connection, account)
        if held:
            raise ConfigurationError(
                f"{name} changes only while nothing is open: it would change margin and liquidation of what is. "
                f"Account {account!r} has {', '.join(sorted({one.symbol for one in held}))}. Close them first "
                "(trading-assets reduce, then wait, or flatten). Nothing was changed"
            )


def _given_by(given: Given, name: str) -> str:
    for variable in (f"{PREFIX}{name.upper()}", name.upper()):
        if variable in given.environment and variable.startswith(PREFIX):
            return f"environment, {variable}"
        if variable in given.file:
            return f"{given.path}, {variable}"
    return ""


def _shown(text: str | None) -> str:
    return "as environment and file say" if text is None else text
