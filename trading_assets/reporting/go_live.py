"""What permits the next stage on the way to real money: figures of the account's ledger, each with its limit.

A stage is a venue. What a program cannot see (a person has read the report) stands in docs/howto/go_live.md alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.core.messages import Kind
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.settings import Settings, Venue
from trading_assets.core.timeframes import DAY_MS, floor_ms, iso
from trading_assets.ledger import orders, outbox, rehearsals
from trading_assets.ledger.database import Database
from trading_assets.ledger.outbox import State
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions
from trading_assets.ledger.tables import closings
from trading_assets.notifications.channels import channels_of

ALERTS_LOOKED_AT = 500


@dataclass(frozen=True)
class Stage:
    """What a venue must have shown before the next one.

    Attributes:
        days: from the first closing to the last.
        trades: closings of positions of ours.
        explained_pct: least part of the decisions of a week in which live agrees with the backtest, or the ledger tells
            why not.
        slippage_bps: most that entries may cost beyond the assumed slippage, on the average of a week, basis points.
    """

    next: str
    days: float
    trades: int
    explained_pct: float
    slippage_bps: float


STAGES = {
    Venue.SIMULATOR: Stage("paper", days=0, trades=5, explained_pct=95, slippage_bps=5),
    Venue.PAPER: Stage("demo", days=3, trades=20, explained_pct=95, slippage_bps=3),
    Venue.TESTNET: Stage("demo", days=1, trades=5, explained_pct=90, slippage_bps=50),
    Venue.DEMO: Stage("mainnet, with the smallest size", days=7, trades=50, explained_pct=97, slippage_bps=3),
    Venue.MAINNET: Stage("mainnet, with a larger size", days=14, trades=100, explained_pct=97, slippage_bps=3),
}
PARITY_DAYS = 7


@dataclass(frozen=True)
class Point:
    """One thing that the next stage asks for."""

    what: str
    found: str
    ok: bool


def points(database: Database, settings: Settings, wall_ms: int) -> list[Point]:
    """Everything that can be checked, for the stage after that of the settings."""
    if settings.venue is Venue.HISTORY:
        return [
            Point("next stage", "history is never traded: begin on simulator or paper, in a home of its own", False)
        ]
    stage = STAGES[settings.venue]
    return [
        Point("next stage", f"{settings.venue.value}, then {stage.next}", True),
        *_trades(database, settings, stage),
        *_parity(database, settings, stage),
        *_rehearsal(database, settings),
        _alerts(database, settings, wall_ms),
        _doubt(database, settings),
    ]


def _trades(database: Database, settings: Settings, stage: Stage) -> list[Point]:
    ours = (closings.c.account == settings.account) & closings.c.signal_id.is_not(None)
    statement = sa.select(sa.func.count(), sa.func.min(closings.c.closed_ms), sa.func.max(closings.c.closed_ms))
    with database.read() as connection:
        count, first, last = connection.execute(statement.where(ours)).one()
    days = (last - first) / DAY_MS if count else 0.0
    return [
        Point("trades", f"{count} closed, {stage.trades} are asked for", count >= stage.trades),
        Point("days", f"{days:.1f} from the first to the last, {stage.days:g} are asked for", days >= stage.days),
    ]


def _parity(database: Database, settings: Settings, stage: Stage) -> list[Point]:
    newest = latest_hour_ms(database, LIVE_PARITY)
    if newest is None:
        text = "none yet: materialize live_parity of the days that were traded"
        return [Point("parity", text, False), Point("slippage", text, False)]
    days = range(floor_ms(newest, DAY_MS) - (PARITY_DAYS - 1) * DAY_MS, newest + 1, DAY_MS)
    rows = read_partitions(database, LIVE_PARITY, list(days), {"account": settings.account})
    share = 100 * float(rows["explained"].mean()) if len(rows) else 0.0
    slips = rows["slippage_bps"].dropna()
    found = [
        Point(
            "parity",
            f"{share:.1f} % of {len(rows)} decisions of the last week are explained, "
            f"{stage.explained_pct:g} % are asked for",
            bool(len(rows)) and share >= stage.explained_pct,
        )
    ]
    if slips.empty:
        return [*found, Point("slippage", "no fill was compared yet", False)]
    beyond = float(slips.mean()) - settings.slippage_bps
    return [
        *found,
        Point(
            "slippage",
            f"entries cost {slips.mean():+.1f} bps on the average of {len(slips)}, backtests assume "
            f"{settings.slippage_bps:g}; at most {stage.slippage_bps:g} more are allowed",
            beyond <= stage.slippage_bps,
        ),
    ]


def _rehearsal(database: Database, settings: Settings) -> list[Point]:
    """Where a key is needed, the newest rehearsal with it must have been well."""
    if settings.venue.adapter.is_simulated or settings.venue is Venue.PAPER:
        return []
    newest = rehearsals.newest(database, settings.account, settings.venue.value)
    if newest is None:
        return [Point("rehearsal", f"none at {settings.venue.value} yet: trading-assets rehearse", False)]
    when = f"{newest.symbol} at {iso(newest.time_wall_ms)}"
    if newest.is_well:
        return [Point("rehearsal", f"{when}: all as expected", True)]
    why = ", ".join(newest.failed) or "something was left"
    return [Point("rehearsal", f"{when}: not as expected: {why}; run trading-assets rehearse again", False)]


def _alerts(database: Database, settings: Settings, wall_ms: int) -> Point:
    """A message has come through every channel lately, and none was given up."""
    names = [channel.name for channel in channels_of(settings)]
    if not names:
        return Point("alerts", "no channel is set: name one in TRADING_ASSETS_NOTIFY_URLS", False)
    since = wall_ms - PARITY_DAYS * DAY_MS
    kept = [one for one in outbox.newest(database, settings.account, ALERTS_LOOKED_AT) if one.written_wall_ms >= since]
    states = {name: [one.channels[name][0] for one in kept if name in one.channels] for name in names}
    silent = [name for name, found in states.items() if State.DELIVERED not in found]
    lost = [
        name
        for name in names
        if any(one.message.kind is not Kind.TEST and one.channels.get(name, ("",))[0] is State.GIVEN_UP for one in kept)
    ]
    if silent or lost:
        text = f"nothing came through {', '.join(silent)}" if silent else f"given up on {', '.join(lost)}"
        return Point("alerts", f"{text} in the last week: trading-assets notify test", False)
    count = sum(found.count(State.DELIVERED) for found in states.values())
    return Point("alerts", f"{count} delivered in the last week through {', '.join(names)}", True)


def _doubt(database: Database, settings: Settings) -> Point:
    unknown = orders.unresolved(database, settings.account)
    if unknown:
        return Point("orders", f"{len(unknown)} whose outcome is not known: trading-assets intents", False)
    return Point("orders", "the outcome of each is known", True)
