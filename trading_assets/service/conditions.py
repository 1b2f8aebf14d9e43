"""What is wrong with the account and its installation now, as lines for a person. No decisions."""

from __future__ import annotations

from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, hour_key, iso, local_ms
from trading_assets.ledger import checks, outbox, selections, troubles
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms
from trading_assets.notifications.channels import channels_of, with_rules_of_now
from trading_assets.trading import halt_file


def blocked_lines(database: Database) -> list[str]:
    """The hours of the day before the newest one that a check blocks, each with the reason and what to do."""
    newest = latest_hour_ms(database, MARKET_SCAN)
    if newest is None:
        return []
    hours = checks.blocked_hours(database, newest - checks.TRIED_AGAIN_MS)
    return [f"hour {hour_key(hour)} is blocked, nothing of it is traded: {why}" for hour, why in hours.items()]


def no_coin_line(database: Database) -> str:
    """That the newest selected hour has no coin; empty where it has one, or no hour was selected yet."""
    selected_ms = selections.newest_hour_ms(database)
    if selected_ms is None or not selections.empty_hours(database, selected_ms):
        return ""
    return f"{selections.chose_no_coin(selected_ms)}: no new signal before the next selection"


def trouble_lines(database: Database, settings: Settings) -> list[str]:
    """What keeps schedules and sensors from going on: limits of tries, blocked hours, stuck runs."""
    return [f"{one}, since {iso(one.since_wall_ms)}" for one in troubles.current(database, settings.account)]


def halt_line(settings: Settings) -> str:
    """That the file in the home halts the account, and why; empty where it does not. It needs no database."""
    held = halt_file.found(settings)
    if held is None:
        return ""
    since = f" since {iso(held.wall_ms)}" if held.wall_ms else ""
    return f"HALTED{since} by the file {halt_file.path_of(settings)} ({held.actor}: {held.reason})"


_WAITS_SHOWN_MS = 10 * 60_000


def channel_lines(database: Database, settings: Settings) -> list[str]:
    """The channels that do not take messages: what waits for long, and what was given up in the last day."""
    now_ms, found = local_ms(), []
    for channel in with_rules_of_now(channels_of(settings), database, settings)[0]:
        held = outbox.backlog(database, settings.account, channel.name, since_wall_ms=now_ms - DAY_MS)
        waits_for_morning = channel.rule.is_quiet(now_ms) and not held.attempts
        if (
            held.since_wall_ms is not None
            and not waits_for_morning
            and (held.attempts or now_ms - held.since_wall_ms > _WAITS_SHOWN_MS)
        ):
            why = held.error or "nobody delivers: start the daemon, or trading-assets notify deliver"
            found.append(
                f"channel {channel.name}: {held.waiting} messages wait since {iso(held.since_wall_ms)}, "
                f"{held.attempts} tries of the first failed: {why}"
            )
        if held.given_up:
            found.append(
                f"channel {channel.name}: {held.given_up} messages were given up in the last day, the last "
                f"{held.newest_given_up} ({held.why}); send it again: trading-assets notify resend "
                f"{held.newest_given_up}"
            )
    return found
