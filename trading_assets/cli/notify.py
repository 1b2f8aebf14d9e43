"""`trading-assets notify`: test channels, see what became of messages, deliver. Parses, calls one function, prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import pandas as pd

from trading_assets.cli.console import echo, frame_table, line, open_console
from trading_assets.cli.opening import announce, open_ledger
from trading_assets.core.deadline import ends_within
from trading_assets.core.errors import ConfigurationError, TradingAssetsError
from trading_assets.core.messages import Kind, Message
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.notifications.channel import Channel
from trading_assets.notifications.channels import channels_of, with_rules_of_now
from trading_assets.notifications.delivery import deliver, send_to_each

KEPT_WITHIN_S = 5.0
"""A test does not wait longer for the ledger."""


@click.group()
def notify() -> None:
    """Messages to people: test the channels, see what became of each message, deliver what waits."""


@notify.command("test")
def send_tests() -> None:
    """Send a test message to each channel. Exit code 1 tells that one did not take it, 2 that none is set."""
    settings = load_settings(lenient=True)
    announce(settings)
    found = tested(settings, _channels(settings))
    console = open_console()
    for name, why in found.items():
        mark = ("no", "red") if why else ("ok", "green")
        console.print(line(mark, "  ", (name, "bold"), ": ", why or "has taken the message"))
    if any(found.values()):
        sys.exit(1)


@notify.command("list")
@click.option("--failed", is_flag=True, help="Only those that a channel did not take for good.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Newest messages shown.")
def list_messages(failed: bool, limit: int) -> None:
    """The newest messages, and what became of each on each channel."""
    from trading_assets.ledger import outbox  # noqa: PLC0415

    settings = load_settings(lenient=True)
    with open_ledger(settings) as database:
        state = outbox.State.GIVEN_UP if failed else None
        found = outbox.newest(database, settings.account, limit, state=state)
    rows = [
        {
            "number": one.message_id,
            "written_wall_ms": one.written_wall_ms,
            "kind": one.message.kind.value,
            "title": one.message.title,
            "channels": "; ".join(
                f"{name}: {state}" + (f" after {tries} tries, {error}" if error else "")
                for name, (state, tries, error) in one.channels.items()
            ),
        }
        for one in found
    ]
    headings = {"number": "no.", "written_wall_ms": "written", "kind": "kind", "title": "title", "channels": "channels"}
    open_console().print(frame_table("Messages", pd.DataFrame(rows), headings))


@notify.command("resend")
@click.argument("number", type=int)
@click.option("--channel", help="Only to this channel.  [default: to each that is set]")
@click.pass_context
def resend(context: click.Context, number: int, channel: str | None) -> None:
    """Send message NUMBER again, whatever became of it, and deliver what waits."""
    from trading_assets.ledger import outbox  # noqa: PLC0415

    settings = load_settings(lenient=True)
    announce(settings)
    names = [one.name for one in _channels(settings)]
    if channel is not None and channel not in names:
        raise click.UsageError(f"--channel is {channel!r}, expected one of {', '.join(names)}")
    with open_ledger(settings) as database:
        outbox.resend(database, settings.account, number, [channel] if channel else names, local_ms())
    context.invoke(deliver_now)


@notify.command("deliver")
@click.option("--within", default=60.0, show_default=True, help="Begin nothing more after so many seconds.")
def deliver_now(within: float = 60.0) -> None:
    """Deliver what is due now. Exit code 1 tells that a channel did not take a message."""
    settings = load_settings(lenient=True)
    announce(settings)
    with open_ledger(settings) as database:
        channels, max_age_s = with_rules_of_now(_channels(settings), database, settings)
        with ends_within(within + settings.command_deadline_s, "notify deliver"):
            found = deliver(database, settings.account, channels, max_age_s=max_age_s, within_s=within)
    echo(f"{found.delivered} delivered, {found.failed} tries failed, {found.given_up} given up")
    if found.failed or found.given_up:
        sys.exit(1)


def tested(settings: Settings, channels: Sequence[Channel]) -> dict[str, str]:
    """Send what `test`, and doctor with `--send`, send, and keep what became of it where there is a ledger.

    Return by channel why it was not taken; empty where it was.
    """
    from trading_assets.ledger import outbox  # noqa: PLC0415 (a test needs no ledger)

    message = _a_test(settings)
    found = send_to_each(channels, message)
    try:
        with open_ledger(settings, wait_s=KEPT_WITHIN_S) as database:
            outbox.add_sent(database, settings.account, message, found, local_ms())
    except TradingAssetsError as error:
        echo(f"the test is not kept, notify list will not show it: {error}", err=True)
    return found


def _a_test(settings: Settings) -> Message:
    text = f"A test of the channels of account {settings.account} on {settings.venue.value}. Nothing happened."
    return Message("trading-assets: a test", text, Kind.TEST)


def _channels(settings: Settings) -> tuple[Channel, ...]:
    found = channels_of(settings)
    if not found:
        raise ConfigurationError("no channel is set: expected apprise URLs in TRADING_ASSETS_NOTIFY_URLS, a JSON list")
    return found
