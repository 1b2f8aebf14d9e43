"""Named accounts are added, get other keys, are removed; and all keys are sealed again under a new master key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from trading_assets.accounts import effective, master_keys
from trading_assets.accounts.sealing import Keys, opened, seal
from trading_assets.core.configuration import KEY_VARIABLES, PREFIX, Given
from trading_assets.core.errors import ConfigurationError, ConflictError
from trading_assets.core.setting_changes import Change, change_of
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import books, live_changes, named_accounts, orders, switches
from trading_assets.ledger.database import Database
from trading_assets.ledger.live_changes import ChangeKind, Entry
from trading_assets.ledger.named_accounts import IN_LEDGER, NO_KEYS, NamedAccount

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SECRET = r"[A-Za-z0-9/_+=.@:-]{1,512}"
"""A name or an ARN of AWS Secrets Manager."""

_REFERENCE = re.compile(rf"aws:{_SECRET}(?:,{_SECRET}){{0,2}}|env:[A-Za-z_][A-Za-z0-9_]*,[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class AccountDraft:
    """An account that is to be added.

    Attributes:
        keys: where they are: in hand, or named by a value of the setting `secrets`; None: its venue needs none.
        place: settings of `effective.PLACE`, as text.
        settings: settings that change live and have another value for this account, as text.
    """

    name: str
    venue: str
    keys: Keys | str | None
    place: Mapping[str, str]
    settings: Mapping[str, str]


def draft(base: Settings, wanted: AccountDraft) -> Settings:
    """Return the settings that the account would have: what a test of its keys needs, before anything is stored.

    Raises:
        ConfigurationError: something is not allowed; the message says what.
    """
    if _NAME.fullmatch(wanted.name) is None:
        raise ConfigurationError(f"{wanted.name!r} is no name of an account; expected 1 to 32 letters, digits, - and _")
    if wanted.name == base.account:
        raise ConfigurationError(f"{wanted.name!r} is the account of the settings ({PREFIX}ACCOUNT): take another name")
    strange = sorted(wanted.place.keys() - set(effective.PLACE))
    if strange:
        raise ConfigurationError(f"{', '.join(strange)}: expected one of {', '.join(effective.PLACE)}")
    for name in wanted.settings:
        field = Settings.model_fields.get(name)
        if field is None or change_of(field) not in (Change.LIVE, Change.FLAT):
            raise ConfigurationError(
                f"{name} is no setting that an account may have for itself: trading-assets config get lists them"
            )
    given: dict[str, object] = {"account": wanted.name, "venue": wanted.venue, "secrets": None}
    given |= {"api_key": None, "api_secret": None, **wanted.place}
    if isinstance(wanted.keys, Keys):
        given |= {"api_key": wanted.keys.key, "api_secret": wanted.keys.secret}
    elif wanted.keys is not None:
        given["secrets"] = _reference(wanted.keys)
    settings = base.changed(given).as_named()
    if wanted.keys is None and not settings.venue.adapter.is_simulated:
        raise ConfigurationError(
            f"venue {wanted.venue} needs keys: give them at the prompt, or name where they are: --keys aws:... or "
            "env:..."
        )
    return settings.changed(wanted.settings)


def add(database: Database, base: Settings, wanted: AccountDraft, *, actor: str, reason: str) -> NamedAccount:
    """Add an account, which is off at first wherever money is real.

    Raises:
        ConfigurationError: something is not allowed, or there is no master key for keys in hand.
        ConflictError: there is an account of this name.
    """
    draft(base, wanted)
    source, hint, sealed, by = _stored(wanted.keys, wanted.name, wanted.venue, base)
    now = local_ms()
    account = NamedAccount(wanted.name, wanted.venue, dict(wanted.place), source, hint, sealed, by, now)
    entry = named_accounts.told(wanted.name, "added", wanted.venue, actor=actor, reason=reason, wall_ms=now)
    with database.write(one_at_a_time=live_changes.LOCK) as connection:
        named_accounts.add(connection, account, entry)
        # What an account of this name had once does not come back.
        old = live_changes.in_force(connection, ChangeKind.SETTING, wanted.name).keys() - wanted.settings.keys()
        live_changes.add(
            connection,
            *(Entry(ChangeKind.SETTING, wanted.name, name, None, actor, "added anew", now) for name in sorted(old)),
            *(Entry(ChangeKind.SETTING, wanted.name, *item, actor, reason, now) for item in wanted.settings.items()),
            *(
                Entry(ChangeKind.FLAG, wanted.name, name, None, actor, "added anew", now)
                for name in live_changes.in_force(connection, ChangeKind.FLAG, wanted.name)
            ),
        )
    effective.remember_names(database, base)
    return account


def rotate(database: Database, base: Settings, name: str, keys: Keys | str, *, actor: str, reason: str) -> NamedAccount:
    """Give an account other keys. Sessions take them when they start again.

    Raises:
        ConfigurationError: there is no such account, or no master key for keys in hand.
    """
    with database.read() as connection:
        held = named_accounts.read(connection, name)
    if held is None:
        raise ConfigurationError(_unnamed(base, name))
    after = named_accounts.sealed_as(held, *_stored(keys, name, held.venue, base))
    entry = named_accounts.told(name, "keys", after.key_hint, actor=actor, reason=reason, wall_ms=local_ms())
    with database.write(one_at_a_time=live_changes.LOCK) as connection:
        if named_accounts.read(connection, name) is None:
            raise ConfigurationError(f"account {name!r} was removed meanwhile; nothing was written")
        named_accounts.replace_keys(connection, after, entry)
    return after


def remove(database: Database, base: Settings, name: str, *, actor: str, reason: str) -> None:
    """Forget an account's keys and trade it no more. The rows of what it did stay.

    Raises:
        ConfigurationError: there is no such account.
        ConflictError: positions or orders of ours are open.
    """
    now = local_ms()
    with database.write(one_at_a_time=live_changes.LOCK) as connection:
        if named_accounts.read(connection, name) is None:
            raise ConfigurationError(_unnamed(base, name))
        held = orders.occupying(connection, name)
        if held:
            raise ConflictError(
                f"account {name!r} has positions or orders open in {', '.join(one.symbol for one in held)}: close them "
                f"first, trading-assets flatten --account {name}. Nothing was removed"
            )
        named_accounts.remove(
            connection, name, named_accounts.told(name, "removed", "", actor=actor, reason=reason, wall_ms=now)
        )
    effective.remember_names(database, base)
    switches.set_switch(database, name, on=False, actor=actor, reason="the account was removed", wall_ms=now)


@dataclass(frozen=True)
class Resealed:
    """What sealing again has done: names of the accounts whose keys were, and why those of others could not be read."""

    done: tuple[str, ...]
    unreadable: Mapping[str, str]


def reseal_all(database: Database, base: Settings) -> Resealed:
    """Seal the keys of all accounts under the newest master key, in one transaction. Repeating it changes nothing.

    Raises:
        ConfigurationError: there is no master key.
    """
    masters = master_keys.load(base)
    done, unreadable = list[str](), dict[str, str]()
    with database.write(one_at_a_time=live_changes.LOCK) as connection:
        for account in named_accounts.every(connection):
            if account.key_source != IN_LEDGER or account.sealed_by == masters.newest:
                continue
            try:
                keys = opened(account, masters)
            except ConfigurationError as error:
                unreadable[account.name] = str(error)
                continue
            sealed = seal(keys, account.name, account.venue, masters)
            after = named_accounts.sealed_as(account, IN_LEDGER, account.key_hint, sealed, masters.newest)
            opened(after, masters.only_newest)
            named_accounts.reseal(connection, after)
            done.append(account.name)
    return Resealed(tuple(done), unreadable)


def same_account(database: Database, name: str, venue: str, user_id: str | None) -> str:
    """Return the other name under which the ledger has this account of a venue; empty where there is none."""
    for other, owner in books.accounts_of(database).items():
        if other != name and user_id is not None and (owner.venue, owner.user_id) == (venue, user_id):
            return other
    return ""


def _stored(keys: Keys | str | None, name: str, venue: str, base: Settings) -> tuple[str, str, str | None, str | None]:
    """Source, hint, sealed keys and the master key's name, as the row has them."""
    if keys is None:
        return NO_KEYS, "", None, None
    if isinstance(keys, str):
        return _reference(keys), "", None, None
    if not (keys.key.get_secret_value().strip() and keys.secret.get_secret_value().strip()):
        raise ConfigurationError("key or secret is empty; nothing was stored")
    masters = master_keys.load(base)
    return IN_LEDGER, keys.hint, seal(keys, name, venue, masters), masters.newest


def _reference(text: str) -> str:
    if _REFERENCE.fullmatch(text) is None:
        raise ConfigurationError(
            "the place of the keys is not of the form aws:NAME, aws:KEY,SECRET,TESTNET or env:KEY,SECRET; names of "
            "secrets are letters, digits and /_+=.@- (or ARNs), without blanks"
        )
    kind, _, names = text.partition(":")
    if kind == "env":
        ours = [name for name in names.split(",") if name.upper().startswith((PREFIX, "BYBIT_"))]
        if set(ours) - set(KEY_VARIABLES):
            raise ConfigurationError(
                f"{', '.join(ours)}: names that begin with {PREFIX} or BYBIT_ are taken for settings; expected others, "
                "such as GRID_ACCOUNT_KEY"
            )
        given = {**Given.read().both, **os.environ}
        absent = [name for name in names.split(",") if not given.get(name) and not given.get(name.upper())]
        if absent:
            raise ConfigurationError(f"{' and '.join(absent)} is not set in the environment or the configuration file")
    return text


def _unnamed(base: Settings, name: str) -> str:
    if name == base.account:
        return f"{name!r} is the account of the settings: its keys are changed in the environment or the file"
    return f"there is no account {name!r}: trading-assets accounts list names those that there are"
