"""`trading-assets ledger`: the ledger's schema, and whose its rows are."""

from __future__ import annotations

import click

from trading_assets.cli.account_option import account_option, with_keys
from trading_assets.cli.console import echo
from trading_assets.cli.opening import announce, open_ledger, who
from trading_assets.core.deadline import ends_within
from trading_assets.core.settings import load_settings


@click.group()
def ledger() -> None:
    """The ledger's schema. Every command brings an older one to today's by itself."""


@ledger.command("revision")
def ledger_revision() -> None:
    """The revision of the schema, and the newest that this version knows."""
    from trading_assets.ledger import migrations  # noqa: PLC0415

    with open_ledger(load_settings(), upgrade=False) as database, database.read() as connection:
        echo(f"revision {migrations.revision_of(connection) or 'none'}, newest {migrations.HEAD}")


@ledger.command("upgrade")
def ledger_upgrade() -> None:
    """Bring the schema to the newest revision that this version knows, and make what is not there yet.

    A release does it before its first process is started.
    """
    from trading_assets.ledger import migrations  # noqa: PLC0415

    settings = load_settings()
    announce(settings)
    with open_ledger(settings) as database, database.read() as connection:
        echo(f"the ledger is at revision {migrations.revision_of(connection)}")


@ledger.command("bind")
@click.option("--venue", required=True, help="The venue whose account's rows these are; it must be the settings'.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@account_option
def ledger_bind(venue: str, yes: bool, account: str) -> None:
    """Say once whose the rows of an older version are: those of the account behind the key.

    An empty ledger binds itself when it is first used. What is bound stays so.
    """
    from trading_assets.trading import binding  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    base = load_settings()
    with open_ledger(base) as database:
        settings = with_keys(database, base, account)
    announce(settings)
    if venue != settings.venue.value:
        raise click.UsageError(
            f"--venue is {venue!r}, and the settings say {settings.venue.value!r}: nothing was bound. Give the command "
            "the settings and the key of the account whose rows these are"
        )
    with ends_within(settings.command_deadline_s, "ledger bind"):
        exchange = open_exchange(settings)
    try:
        with open_ledger(settings) as database:
            with ends_within(settings.command_deadline_s, "ledger bind"):
                owner = binding.owner_at(exchange, settings)
            if not yes:
                click.confirm(f"Are the books of account {settings.account} those of {owner}?", abort=True)
            with ends_within(settings.command_deadline_s, "ledger bind"):
                binding.bind_by_hand(database, exchange, settings, by=who())
            echo(binding.describe(database, settings.account))
    finally:
        exchange.close()


@ledger.command("adopt-home")
@click.option("--yes", is_flag=True, help="Do not ask.")
def ledger_adopt_home(yes: bool) -> None:
    """Say that this home is the ledger's from now on, as after a move or a restore. Others are refused then."""
    from trading_assets.trading import home_mark  # noqa: PLC0415

    settings = load_settings()
    announce(settings)
    with open_ledger(settings) as database:
        if not yes:
            click.confirm(f"Is {settings.home} the folder that all machines of this ledger share?", abort=True)
        home_mark.adopt(database, settings)
        echo(home_mark.describe(database, settings))


@ledger.command("downgrade")
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
def ledger_downgrade(revision: str, yes: bool) -> None:
    """Take the schema back to REVISION before an older version of the program is installed.

    What only newer revisions hold is lost. Stop Dagster first: its processes would bring it forward again.
    """
    from trading_assets.ledger import migrations  # noqa: PLC0415

    settings = load_settings()
    announce(settings)
    if not yes:
        click.confirm(f"Take the ledger back to revision {revision}? What newer ones added is lost", abort=True)
    with open_ledger(settings, upgrade=False) as database, database.write(one_at_a_time=migrations.LOCK) as connection:
        migrations.downgrade(connection, revision)
    echo(f"the ledger is at revision {revision}")
