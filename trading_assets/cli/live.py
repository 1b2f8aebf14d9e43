"""Commands that look at and change settings and flags while the system runs."""

from __future__ import annotations

import click
from rich.table import Table

from trading_assets.cli.account_option import account_option, shown_account
from trading_assets.cli.console import echo, line, open_console
from trading_assets.cli.opening import announce, open_ledger, who
from trading_assets.core.setting_changes import Change
from trading_assets.core.settings import load_settings

EVERY_ACCOUNT = "every one"
_of_account = click.option(
    "--account", default="", metavar="NAME", help="For this account alone.  [default: for all accounts]"
)
_name = click.argument("name", required=False)
_reason = click.option("--reason", default="no reason given", help="Kept in the history.")
_limit = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="The newest ones.")
_unset = click.option("--unset", is_flag=True, help="Give the change up: environment and file hold again.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("config")
def config() -> None:
    """Settings that change while the system runs: in the ledger, with who, when and why.

    Later goes before earlier: default, file, environment, ledger for all accounts, ledger for the account.
    """


@config.command("get")
@_name
@account_option
@click.option("--all", "everything", is_flag=True, help="Also those that only change with a restart.")
def get_setting(name: str | None, account: str, everything: bool) -> None:
    """A setting, or all: what holds, where it comes from, and when it may change."""
    from trading_assets.accounts import changing  # noqa: PLC0415 (imports the ledger)

    base, console = load_settings(lenient=True), open_console()
    with open_ledger(base) as database:
        if name is not None:
            one = changing.layers_of(database, base, name.lower(), account)
            console.print(line((one.name, "bold"), f" = {changing.text_of(one.in_force)}"))
            console.print(line(f"from: {one.source}"))
            console.print(line(f"default: {changing.text_of(one.default)}"))
            console.print(line(f"environment or file: {changing.text_of(one.given)} ({one.given_by or 'not given'})"))
            for where, entry in (("all accounts", one.common), ("the account", one.own)):
                if entry is not None:
                    told = f"version {entry.version}, {entry.actor}: {entry.reason}"
                    console.print(line(f"ledger, of {where}: {entry.value} ({told})"))
            console.print(line(f"changes: {one.change.meaning}"))
            return
        table = Table("setting", "value", "from", "changes")
        for one in changing.layers(database, base, account):
            if everything or one.change is not Change.RESTART:
                table.add_row(one.name, changing.text_of(one.in_force), one.source, one.change.value)
        console.print(table)
        for change in Change:
            console.print(line((change.value, "bold"), f": {change.meaning}"))


@config.command("set")
@click.argument("name")
@click.argument("value", required=False)
@_of_account
@_reason
@_unset
@_yes
def set_setting(name: str, value: str | None, account: str, reason: str, unset: bool, yes: bool) -> None:
    """Change a setting from now on. Sessions obey within 5 s; research from its next hour on."""
    from trading_assets.accounts import changing  # noqa: PLC0415 (imports the ledger)

    text = _one_of(value, unset)
    base = load_settings()
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        announce(settings.model_copy(update={"account": account or EVERY_ACCOUNT}))
        before = changing.layers_of(database, base, name.lower(), account)
        if settings.venue.adapter.is_real_money and not yes:
            to = "what environment and file say" if text is None else text
            of = account or "every account"
            click.confirm(
                f"{name} of {of}: {changing.text_of(before.in_force)} -> {to}. Real money. Go on?", abort=True
            )
        done = changing.set_setting(database, base, name.lower(), text, account=account, actor=who(), reason=reason)
        after = changing.layers_of(database, base, name.lower(), account)
    echo(
        f"{after.name} of {account or 'every account'}: {changing.text_of(before.in_force)} -> "
        f"{changing.text_of(after.in_force)}, version {done.version}; {after.change.meaning}"
    )


@config.command("history")
@_name
@click.option("--account", default=None, metavar="NAME", help="Changes for this account alone.")
@_limit
def setting_history(name: str | None, account: str | None, limit: int) -> None:
    """Who changed which setting, when and why; the newest first."""
    _print_history("setting", name.lower() if name else None, account, limit)


@click.group("flags")
def flags() -> None:
    """Switches that are turned while the system runs: on, off, or on for a part of the symbols."""


@flags.command("get")
@_name
@account_option
@click.option("--symbol", help="Whether it is on for this symbol.")
def get_flag(name: str | None, account: str, symbol: str | None) -> None:
    """A flag, or all: what was said for all accounts and for the account, and what holds."""
    from trading_assets.accounts import changing  # noqa: PLC0415 (imports the ledger)
    from trading_assets.core.flags import flag_named, place_of  # noqa: PLC0415

    base = load_settings(lenient=True)
    wanted = flag_named(name) if name is not None else None
    table = Table("flag", "all accounts", "account", "means", *(["for " + symbol] if symbol else []))
    with open_ledger(base) as database:
        held = shown_account(database, base, account).flags
        for flag, common, own in changing.flags_of(database, base, account):
            if wanted in (None, flag):
                cells = [flag.value, common or f"({flag.default})", own, flag.meaning]
                if symbol:
                    cells.append(f"{'on' if held.is_on(flag, symbol) else 'off'} (place {place_of(flag, symbol)})")
                table.add_row(*cells)
    open_console().print(table)


@flags.command("set")
@click.argument("name")
@click.argument("value", required=False)
@_of_account
@_reason
@_unset
def set_flag(name: str, value: str | None, account: str, reason: str, unset: bool) -> None:
    """Turn a flag: on, off, or a part of the symbols such as 25%. Sessions obey within 5 s."""
    from trading_assets.accounts import changing  # noqa: PLC0415 (imports the ledger)

    base = load_settings(lenient=True)
    with open_ledger(base) as database:
        announce(shown_account(database, base, account).model_copy(update={"account": account or EVERY_ACCOUNT}))
        done = changing.set_flag(
            database, base, name, _one_of(value, unset), account=account, actor=who(), reason=reason
        )
    echo(f"flag {name} of {account or 'every account'}: {done.before} -> {done.after}, version {done.version}")


@flags.command("history")
@_name
@click.option("--account", default=None, metavar="NAME", help="Changes for this account alone.")
@_limit
def flag_history(name: str | None, account: str | None, limit: int) -> None:
    """Who turned which flag, when and why; the newest first."""
    _print_history("flag", name, account, limit)


def _one_of(value: str | None, unset: bool) -> str | None:
    if (value is None) != unset:
        raise click.UsageError("give a value, or --unset")
    return value


def _print_history(kind: str, name: str | None, account: str | None, limit: int) -> None:
    from trading_assets.core.timeframes import iso  # noqa: PLC0415
    from trading_assets.ledger import live_changes  # noqa: PLC0415

    table = Table("version", "time", kind, "account", "value", "by", "reason")
    with open_ledger(load_settings(lenient=True)) as database:
        for one in live_changes.history(database, live_changes.ChangeKind(kind), name, account, limit):
            value = "given up" if one.value is None else one.value
            table.add_row(
                str(one.version), iso(one.time_wall_ms), one.name, one.account or "all", value, one.actor, one.reason
            )
    open_console().print(table)
