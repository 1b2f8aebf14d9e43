"""What permits the next stage: each figure is met, and each is missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.settings import Settings, Venue
from trading_assets.core.timeframes import DAY_MS
from trading_assets.ledger import outbox, rehearsals
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.ledger.tables import closings
from trading_assets.notifications.channels import channels_of
from trading_assets.reporting import go_live
from trading_assets.reporting.go_live import STAGES, Point

NOW = 1_772_600_000_000
TODAY = NOW // DAY_MS * DAY_MS


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        home=tmp_path,
        venue=Venue.PAPER,
        notify_urls=(SecretStr("json://127.0.0.1:9/a"),),
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    found = Database(settings.resolved_database_url)
    yield found
    found.close()


def give_closings(database: Database, count: int, days: float, signal: str | None = "one") -> None:
    rows = [
        {
            "order_id": f"order-{number}-{signal}",
            "account": "main",
            "symbol": "BTCUSDT",
            "position_side": "LONG",
            "reason": "stop",
            **dict.fromkeys(("qty", "entry_price", "exit_price", "pnl", "fees"), Decimal(1)),
            "signal_id": signal,
            "closed_ms": NOW - round(days * DAY_MS * number / max(count - 1, 1)),
        }
        for number in range(count)
    ]
    with database.write() as connection:
        connection.execute(sa.insert(closings), rows)


def give_parity(database: Database, agrees: int, differs: int, slippage: float) -> None:
    row: dict[str, Any] = {
        "day_ms": TODAY,
        "account": "main",
        "hour_ms": TODAY,
        "symbol": "BTCUSDT",
        "timeframe": "5m",
        "strategy": "bollinger_rsi",
        "bar_close_ms": TODAY,
        "position_type": "LONG",
        "expected": 1,
        "live": 1,
        "outcome": "agrees",
        "reason": None,
        "entry_price": 1.0,
        "live_entry_price": 1.0,
        "slippage_bps": slippage,
        "exit_reason": "stop",
        "live_exit_reason": "stop",
        "exit_price": 1.0,
        "live_exit_price": 1.0,
        "exit_difference_bps": 0.0,
    }
    rows = [row | {"signal_id": str(number), "explained": int(number < agrees)} for number in range(agrees + differs)]
    replace_partitions(database, LIVE_PARITY, LIVE_PARITY.conform(pd.DataFrame(rows)), [TODAY])


def give_alert(database: Database, settings: Settings, *, delivered: bool) -> None:
    (channel,) = channels_of(settings)
    with database.write() as connection:
        outbox.add(
            connection, "main", Message("hello", "you", Kind.TEST, Severity.INFO), time_ms=NOW, wall_ms=NOW - 1000
        )
    outbox.enqueue(database, "main", channel.name, wall_ms=NOW - 1000)
    waiting = outbox.next_waiting(database, "main", channel.name)
    assert waiting is not None
    with database.write() as connection:
        if delivered:
            outbox.mark_delivered(connection, waiting, NOW - 500)
        else:
            outbox.give_up(connection, waiting, "refused", NOW - 500)


def found(database: Database, settings: Settings) -> dict[str, Point]:
    return {point.what: point for point in go_live.points(database, settings, NOW)}


def test_a_stage_that_has_shown_all_permits_the_next(database: Database, settings: Settings) -> None:
    give_closings(database, 20, 3.5)
    give_parity(database, 39, 1, 4.5)
    give_alert(database, settings, delivered=True)
    points = found(database, settings)
    assert [what for what, point in points.items() if not point.ok] == []
    assert points["next stage"].found == "paper, then demo"
    # The same is not enough for real money.
    missed = found(database, replace_venue(settings, Venue.DEMO))
    assert {what for what, point in missed.items() if not point.ok} == {"trades", "days", "rehearsal"}


def test_with_a_key_the_newest_rehearsal_must_have_been_well(database: Database, settings: Settings) -> None:
    demo = replace_venue(settings, Venue.DEMO)
    assert "rehearsal" not in found(database, settings), "paper has none"
    assert "trading-assets rehearse" in found(database, demo)["rehearsal"].found

    def rehearsed(*rows: tuple[str, bool], venue: str = "demo", left: str = "") -> None:
        report = {"symbol": "XRPUSDT", "rows": [{"step": step, "ok": ok} for step, ok in rows], "left": left}
        is_well = not left and all(ok for _, ok in rows)
        rehearsals.add(database, "main", venue, report, is_well=is_well, wall_ms=NOW)

    rehearsed(("fees", True), ("close", False))
    assert found(database, demo)["rehearsal"] == Point(
        "rehearsal",
        "XRPUSDT at 2026-03-04T04:53:20Z: not as expected: close; run trading-assets rehearse again",
        False,
    )
    rehearsed(("fees", True), venue="mainnet")
    assert not found(database, demo)["rehearsal"].ok
    rehearsed(("fees", True), left="a position")
    assert "something was left" in found(database, demo)["rehearsal"].found
    rehearsed(("fees", True))
    assert found(database, demo)["rehearsal"].ok


def test_a_test_counts_as_an_alert_and_one_that_failed_is_forgotten_with_the_next(
    database: Database, settings: Settings
) -> None:
    (channel,) = channels_of(settings)
    message = Message("a test", "of it", Kind.TEST)
    outbox.add_sent(database, "main", message, {channel.name: "refused"}, NOW - 2000)
    assert "nothing came through" in found(database, settings)["alerts"].found
    assert outbox.backlog(database, "main", channel.name, since_wall_ms=0).given_up == 0
    outbox.add_sent(database, "main", message, {channel.name: ""}, NOW - 1000)
    assert found(database, settings)["alerts"].ok
    newest, before = outbox.newest(database, "main", 9)
    assert newest.channels == {channel.name: (outbox.State.DELIVERED, 1, None)}
    assert before.channels == {channel.name: (outbox.State.GIVEN_UP, 1, "refused")}


def replace_venue(settings: Settings, venue: Venue) -> Settings:
    return settings.model_copy(update={"venue": venue})


def test_each_figure_that_is_missed_is_told(database: Database, settings: Settings) -> None:
    empty = found(database, settings)
    assert {what for what, point in empty.items() if not point.ok} == {"trades", "days", "parity", "slippage", "alerts"}
    give_closings(database, 30, 2.0)
    give_closings(database, 50, 30.0, signal=None)  # not ours
    give_parity(database, 18, 2, 6.0)
    give_alert(database, settings, delivered=False)
    points = found(database, settings)
    assert {what for what, point in points.items() if not point.ok} == {"days", "parity", "slippage", "alerts"}
    assert points["trades"].found.startswith("30 closed")
    assert points["parity"].found.startswith("90.0 %")
    assert "+6.0 bps" in points["slippage"].found


def test_without_a_channel_nobody_is_told(database: Database, settings: Settings) -> None:
    silent = settings.model_copy(update={"notify_urls": ()})
    assert "TRADING_ASSETS_NOTIFY_URLS" in found(database, silent)["alerts"].found


def test_every_venue_has_its_stage() -> None:
    assert set(STAGES) == set(Venue) - {Venue.HISTORY}
    assert replace(STAGES[Venue.PAPER], next="").trades < STAGES[Venue.DEMO].trades < STAGES[Venue.MAINNET].trades
