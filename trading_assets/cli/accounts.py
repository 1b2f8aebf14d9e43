"""Commands about accounts: the list of named ones, their keys, and what the venue says of an account."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from trading_assets.cli.account_option import account_option, shown_account, with_keys
from trading_assets.cli.console import echo, line, open_console
from trading_assets.cli.opening import announce, open_ledger, who
from trading_assets.core.deadline import ends_within
from trading_assets.core.errors import AccountShapeError, TradingAssetsError, UnusableKeyError
from trading_assets.core.settings import Settings, Venue, load_settings

if TYPE_CHECKING:
    from trading_assets.accounts.sealing import Keys
    from trading_assets.ledger.database import Database

_LONGEST_STDIN = 16_384
_reason = click.option("--reason", default="no reason given", help="Kept in the history.")
_untested = click.option("--untested", is_flag=True, help="Store the keys without trying them at the venue.")
_keys = click.option(
    "--keys",
    "reference",
    metavar="WHERE",
    help="Where the keys are, instead of in the ledger: aws:NAME, aws:KEY,SECRET,TESTNET or env:KEY,SECRET.",
)


@click.group()
def accounts() -> None:
    """Accounts: several with keys, limits and strategies of their own, and how one is set up at its venue.

    The account of the settings is always there, and needs nothing here.
    """


@accounts.command("add")
@click.argument("name")
@click.option("--venue", required=True, type=click.Choice([one.value for one in Venue]), help="Where the account is.")
@_keys
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A setting of this account; may be repeated.")
@_reason
@_untested
def add_account(
    name: str, venue: str, reference: str | None, given: tuple[str, ...], reason: str, untested: bool
) -> None:
    """Add an account. Its keys are asked for, or read from standard input: the key in one line, then the secret.

    They are tried at the venue, then kept in the ledger, encrypted. An account with real money is off at first:
    trading-assets trading on --account NAME.
    """
    from trading_assets.accounts import effective, registry  # noqa: PLC0415 (imports the ledger)

    base = load_settings()
    announce(base.model_copy(update={"account": name, "venue": Venue(venue)}))
    values = dict(_pair(one) for one in given)
    place = {key: text for key, text in values.items() if key in effective.PLACE}
    own = {key: text for key, text in values.items() if key not in effective.PLACE}
    is_simulated = Venue(venue).adapter.is_simulated
    keys = reference or (None if is_simulated else _ask_for_keys(name))
    wanted = registry.AccountDraft(name, venue, keys, place, own)
    settings = registry.draft(base, wanted)
    with open_ledger(base) as database:
        if not (untested or is_simulated):
            _try_at_venue(settings, database)
        account = registry.add(database, base, wanted, actor=who(), reason=reason)
        echo(f"account {name} at {venue} is added; keys: {_where(account.key_source, account.key_hint)}")
        _say_next(database, base, name)


@accounts.command("list")
def list_accounts() -> None:
    """Every account: its venue, keys, switch and state."""
    from trading_assets.accounts import effective  # noqa: PLC0415 (as above)
    from trading_assets.core.timeframes import local_ms  # noqa: PLC0415
    from trading_assets.ledger import named_accounts  # noqa: PLC0415
    from trading_assets.ledger.risk import in_force, read_history  # noqa: PLC0415
    from trading_assets.trading.context import why_off  # noqa: PLC0415

    base = load_settings(lenient=True)
    table = Table("account", "venue", "keys", "traded", "state", "strategies", "share of equity")
    with open_ledger(base) as database:
        rows = {one.name: one for one in named_accounts.listed(database)}
        for name in effective.names(database, base):
            settings, row = shown_account(database, base, name), rows.get(name)
            keys = "of the settings" if row is None else _where(row.key_source, row.key_hint)
            state = in_force(read_history(database, name), local_ms()).state.value
            table.add_row(
                name,
                settings.venue.value,
                keys,
                "off" if why_off(database, settings) else "on",
                state,
                ", ".join(settings.strategies) or "all",
                f"{settings.capital_share_pct} %",
            )
    open_console().print(table)


@accounts.command("show")
@click.argument("name")
def show_account(name: str) -> None:
    """One account: where it is, whose books it has, and what it has for itself. Keys are never shown."""
    from trading_assets.accounts import changing, effective  # noqa: PLC0415 (as above)
    from trading_assets.trading.binding import describe  # noqa: PLC0415
    from trading_assets.trading.context import why_off  # noqa: PLC0415

    base, console = load_settings(lenient=True), open_console()
    with open_ledger(base) as database:
        live = effective.live_settings_of(database, base, name)
        settings = shown_account(database, base, name)
        row = live.account
        keys = "of the settings" if row is None else _where(row.key_source, row.key_hint)
        console.print(line((name, "bold"), f": {settings.venue.value}, keys: {keys}"))
        if row is not None and row.sealed_by is not None:
            console.print(line(f"sealed by master key {row.sealed_by}"))
        console.print(line(describe(database, name)))
        console.print(line(why_off(database, settings) or "traded"))
        for one in changing.layers(database, base, name):
            if one.own is not None or (row is not None and one.name in row.place):
                by = f", by {one.own.actor}: {one.own.reason}" if one.own is not None else ""
                console.print(line(f"{one.name} = {changing.text_of(one.in_force)}{by}"))
        for flag, _, own in changing.flags_of(database, base, name):
            if own:
                console.print(line(f"flag {flag.value}: {own}"))


@accounts.command("rotate")
@click.argument("name")
@_keys
@_reason
@_untested
def rotate_keys(name: str, reference: str | None, reason: str, untested: bool) -> None:
    """Give an account other keys: asked for, or from standard input. A session takes them when it starts again."""
    from trading_assets.accounts import effective, registry  # noqa: PLC0415 (as above)

    base = load_settings()
    with open_ledger(base) as database:
        live = effective.live_settings_of(database, base, name)
        announce(shown_account(database, base, name))
        keys = reference or _ask_for_keys(name)
        if live.account is not None and not untested:
            row = live.account
            settings = registry.draft(base, registry.AccountDraft(name, row.venue, keys, row.place, {}))
            if not settings.venue.adapter.is_simulated:
                _try_at_venue(settings, database)
        account = registry.rotate(database, base, name, keys, actor=who(), reason=reason)
    echo(
        f"account {name} has other keys: {_where(account.key_source, account.key_hint)}. A session that lives has the "
        "former ones until it ends; then delete them at the venue"
    )


@accounts.command("remove")
@click.argument("name")
@_reason
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_account(name: str, reason: str, yes: bool) -> None:
    """Forget an account's keys and trade it no more. What it did stays in the ledger."""
    from trading_assets.accounts import registry  # noqa: PLC0415 (as above)

    base = load_settings()
    with open_ledger(base) as database:
        announce(shown_account(database, base, name))
        if not yes:
            click.confirm(f"Forget the keys of account {name}?", abort=True)
        registry.remove(database, base, name, actor=who(), reason=reason)
    echo(f"account {name} is removed; delete its key at the venue, too")


@accounts.command("test")
@click.argument("name")
def test_account(name: str) -> None:
    """Try an account's keys at the venue, without an order: permissions, shape, and whose books it would have."""
    base = load_settings()
    with open_ledger(base) as database:
        settings = with_keys(database, base, name)
        announce(settings)
        _try_at_venue(settings, database)


@accounts.group("encryption")
def encryption() -> None:
    """The master key under which the keys of named accounts are kept."""


@encryption.command("new")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--kms", metavar="KEY", help="Let AWS KMS encrypt it under this key of its own.")
def new_master_key(file: Path, kms: str | None) -> None:
    """Put a new master key into FILE, before those that are in it. The file is made for its owner alone."""
    from trading_assets.accounts import master_keys  # noqa: PLC0415 (imports cryptography)

    name = master_keys.put_first(file.expanduser().resolve(), kms_key=kms)
    kind = "aws-kms" if kms else "file"
    echo(f"master key {name} is in {file}: TRADING_ASSETS_ENCRYPTION_KEY_FROM={kind}:{file.expanduser().resolve()}")
    echo("keep a copy elsewhere than the ledger's backups; then, with named accounts: accounts encryption rotate")


@encryption.command("rotate")
def rotate_master_key() -> None:
    """Seal the keys of all accounts again under the newest master key. Then the others may go.

    Exit code 1 names accounts whose keys no given master key opens.
    """
    from trading_assets.accounts import registry  # noqa: PLC0415 (as above)

    base = load_settings()
    announce(base)
    with open_ledger(base) as database:
        found = registry.reseal_all(database, base)
    echo(f"sealed again: {', '.join(found.done) or 'none, all are under the newest key'}")
    for text in found.unreadable.values():
        echo(f"not sealed again: {text}", err=True)
    if found.unreadable:
        sys.exit(1)
    echo("only the newest master key is needed now")


def _ask_for_keys(name: str) -> Keys:
    """The keys from the terminal, without echo, or from standard input: the first line is the key."""
    from pydantic import SecretStr  # noqa: PLC0415

    from trading_assets.accounts.sealing import Keys  # noqa: PLC0415 (imports cryptography)

    if sys.stdin.isatty():
        key = click.prompt(f"API key of {name}", hide_input=True, err=True)
        secret = click.prompt(f"API secret of {name}", hide_input=True, err=True)
    else:
        key, _, secret = sys.stdin.read(_LONGEST_STDIN).strip().partition("\n")
    if not (key.strip() and secret.strip()):
        raise click.UsageError("expected the API key in one line of standard input, and the secret after it")
    return Keys(SecretStr(key.strip()), SecretStr(secret.strip()))


def _try_at_venue(settings: Settings, database: Database) -> None:
    """Ask the venue about key and account, and print what it says.

    Raises:
        UnusableKeyError: the key may not trade, or is of an account that the ledger has under another name.
    """
    from trading_assets.accounts import registry  # noqa: PLC0415 (as above)
    from trading_assets.trading import binding  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)
    from trading_assets.venues.accounts import examine_account  # noqa: PLC0415
    from trading_assets.venues.keys import judge_key  # noqa: PLC0415

    console = open_console()
    with ends_within(settings.command_deadline_s, "accounts test"):
        exchange = open_exchange(settings)
    try:
        with ends_within(settings.command_deadline_s, "accounts test"):
            key = judge_key(exchange.api_key(), exchange.now_ms())
            verdict = examine_account(exchange, settings.symbols)
            owner = binding.owner_at(exchange, settings)
    finally:
        exchange.close()
    console.print(line((settings.venue.value, "bold"), ": ", verdict.summary))
    console.print(line(("API key", "bold"), ": ", "; ".join((key.summary, *key.warnings))))
    console.print(line(("books", "bold"), ": ", str(owner)))
    for sentence in (*verdict.faults, *verdict.warnings):
        console.print(line(("see", "yellow"), "  ", sentence))
    if key.faults:
        raise UnusableKeyError(f"the API key cannot be used: {'; '.join(key.faults)}")
    other = registry.same_account(database, settings.account, owner.venue, owner.user_id)
    if other:
        raise UnusableKeyError(
            f"the key is of {owner}, which this ledger has under the name {other!r} already: two names for one account "
            "would trade each other's money. Nothing was stored"
        )


def _say_next(database: Database, base: Settings, name: str) -> None:
    from trading_assets.trading.context import why_off  # noqa: PLC0415

    try:
        off = why_off(database, shown_account(database, base, name))
    except TradingAssetsError as error:
        off = str(error)
    echo(f"{off} --account {name}" if off.endswith("trading on") else off or "it is traded from now on")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text!r}: expected NAME=VALUE")
    return name.strip().lower(), value.strip()


def _where(source: str, hint: str) -> str:
    return {"ledger": f"in the ledger, {hint}", "none": "none are needed"}.get(source, source)


@accounts.command()
@account_option
def fees(account: str) -> None:
    """Ask the venue for the account's own fees, and keep them: backtests and reports count them from then on."""
    from trading_assets.trading.account_fees import ask_fees  # noqa: PLC0415 (imports the ledger)
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    base, console = load_settings(), open_console()
    with ends_within(base.command_deadline_s, "accounts fees"), open_ledger(base) as database:
        settings = with_keys(database, base, account)
        announce(settings)
        exchange = open_exchange(settings)
        try:
            found = ask_fees(database, exchange, settings)
        finally:
            exchange.close()
    told = f"taker {found.taker * 100:g} %, maker {found.maker * 100:g} %"
    setting = f"the setting says {settings.taker_fee * 100:g} % for takers"
    console.print(line((settings.venue.value, "bold"), ": ", told, f" ({setting})"))


@accounts.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@account_option
def prepare(yes: bool, account: str) -> None:
    """Show how the account is set up, and set one-way mode and cross margin.

    Exit code 1 tells that it cannot be traded as it is. Portfolio margin and classic accounts can only be changed at
    the venue.
    """
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)
    from trading_assets.venues.accounts import examine_account, prepare_account  # noqa: PLC0415
    from trading_assets.venues.keys import judge_key  # noqa: PLC0415

    base, console = load_settings(), open_console()
    with ends_within(base.command_deadline_s, "accounts prepare"):
        with open_ledger(base) as database:
            settings = with_keys(database, base, account)
        announce(settings)
        exchange = open_exchange(settings)
    try:
        with ends_within(settings.command_deadline_s, "accounts prepare"):
            key = judge_key(exchange.api_key(), exchange.now_ms())
            verdict = examine_account(exchange, settings.symbols)
        console.print(line((settings.venue.value, "bold"), ": ", verdict.summary))
        console.print(line(("API key", "bold"), ": ", "; ".join((key.summary, *key.faults, *key.warnings))))
        for sentence in (*verdict.faults, *verdict.warnings):
            console.print(line(("no", "red"), "  ", sentence))
        if not verdict.changes:
            console.print(line("nothing is left to set here"))
            sys.exit(1 if verdict.faults or key.faults else 0)
        for change in verdict.changes:
            console.print(line("to set: ", change))
        if not yes:
            click.confirm(f"Set this for the account on {settings.venue.value}?", abort=True)
        with ends_within(settings.command_deadline_s, "accounts prepare"):
            after = prepare_account(exchange, settings.symbols, verdict.changes)
        console.print(line("set. ", (settings.venue.value, "bold"), ": ", after.summary))
        if after.faults:
            raise AccountShapeError(f"the account cannot be traded yet: {'; '.join(after.faults)}")
    finally:
        exchange.close()
