"""The mirror in DynamoDB: what other programs ask of it, and that it is the ledger whatever fails on the way."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import boto3
import pytest
from boto3.dynamodb.conditions import Attr, Key
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.errors import LeaseLostError, MirrorUnavailableError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.ledger import mirror, signals
from trading_assets.ledger.database import Database
from trading_assets.mirror.dynamodb import TRIES, DynamoDb, MirrorTable
from trading_assets.mirror.items import number
from trading_assets.mirror.sender import resync
from trading_assets_tests.mirror.aws import (
    DynamoFront,
    dynalite_server,
    forget_all,
    front_of,
    moto_server,
    refusal,
    set_credentials,
)
from trading_assets_tests.mirror.rows import (
    HOUR,
    NAMES,
    NOW,
    Mirror,
    change,
    signal,
    write_backtests,
    write_scan,
)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def front(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoFront]:
    set_credentials(monkeypatch)
    forget_all(moto)
    with front_of(moto) as found:
        yield found


@pytest.fixture
def shown(front: DynamoFront, database: Database) -> Mirror:
    """A mirror that is on, of an empty ledger."""
    found = Mirror(database, DynamoDb(NAMES, front.url))
    found.begin()
    return found


@pytest.mark.slow
def test_other_programs_find_signals_by_status_and_by_confidence(shown: Mirror, front: DynamoFront) -> None:
    sure = signal(shown.database, "BTCUSDT", confidence=85.0)
    signal(shown.database, "ETHUSDT", confidence=62.5)
    gone = signal(shown.database, "ADAUSDT", confidence=95.0)
    signals.reject(shown.database, [gone], "too wide")
    assert shown.send() == 3
    table = boto3.resource("dynamodb", endpoint_url=front.url).Table("crypto-backtest-trading-positions")
    active = table.query(
        IndexName="StatusIndex", KeyConditionExpression=Key("status").eq("active"), ScanIndexForward=False, Limit=10
    )["Items"]
    assert {row["symbol"] for row in active} == {"BTCUSDT", "ETHUSDT"}
    found = table.query(
        IndexName="ConfidenceIndex",
        KeyConditionExpression=Key("status").eq("active") & Key("confidence").gte(80),
        FilterExpression=Attr("ttl").gt(NOW // 1000),
    )["Items"]
    assert [row["signal_id"] for row in found] == [sure]
    one = found[0]
    assert one["signal_timestamp"] == (NOW - 60_000) // 1000 and one["ttl"] == (NOW + 240_000) // 1000
    assert one["created_at"].endswith("Z") and isinstance(one["leverage"], Decimal) and "btc_trend" not in one
    assert not {"order_id", "executed_at", "executed_price"} & one.keys()


@pytest.mark.slow
def test_a_signal_is_executing_with_its_order_once_it_is_filled(shown: Mirror) -> None:
    made = signal(shown.database)
    shown.send()
    change(shown.database, made, status="executing", order_link_id="l-1")
    shown.send()
    (item,) = shown.items(MirrorTable.POSITIONS)
    assert item["status"] == "executing" and "order_id" not in item
    change(shown.database, made, status="executed", order_id="o-1", executed_at_ms=float(NOW), executed_price=99.25)
    shown.send()
    (item,) = shown.items(MirrorTable.POSITIONS)
    assert (item["status"], item["order_id"], item["executed_price"]) == ("executing", "o-1", Decimal("99.25"))
    assert item["executed_at"].endswith("Z")
    assert shown.differences() == []


@pytest.mark.slow
def test_scans_backtests_and_summaries_are_shown_by_their_keys(shown: Mirror, front: DynamoFront) -> None:
    write_scan(shown.database, "AAAUSDT", "BBBUSDT")
    write_backtests(
        shown.database,
        {"symbol": "AAAUSDT", "total_pnl": 150.0, "win_rate": 60.0},
        {"symbol": "AAAUSDT", "strategy": "hyperrsi", "total_pnl": 210.5, "win_rate": 55.0},
        {"symbol": "BBBUSDT", "total_trades": 0, "total_pnl": 0.0},
        {"symbol": "CCCUSDT", "error": "no candles", "total_trades": 0},
    )
    shown.send()
    scans = boto3.resource("dynamodb", endpoint_url=front.url).Table("crypto-backtest-scan-results")
    rows = scans.query(KeyConditionExpression=Key("scan_id").eq("scan-20260301-010000"))["Items"]
    assert [row["symbol"] for row in rows] == ["AAAUSDT", "BBBUSDT"] and rows[0]["volume_24h"] == Decimal("2000000.125")
    assert rows[0]["ttl"] == (HOUR + HOUR_MS + DAY_MS) // 1000
    table = boto3.resource("dynamodb", endpoint_url=front.url).Table("crypto-backtest-backtest-results")
    of_15m = table.query(IndexName="TimeframeIndex", KeyConditionExpression=Key("timeframe").eq("15m"))["Items"]
    assert sorted((row["symbol"], row["strategy"]) for row in of_15m) == [
        ("AAAUSDT", "bollinger_rsi"),
        ("AAAUSDT", "hyperrsi"),
        ("BBBUSDT", "bollinger_rsi"),
    ]
    assert all(row["ttl"] == (HOUR + HOUR_MS + 7 * DAY_MS) // 1000 for row in of_15m)
    (summary,) = (row for row in shown.items(MirrorTable.BACKTESTS) if row["backtest_id"].endswith("-summary"))
    assert (summary["optimal_timeframe"], summary["optimal_pnl"]) == ("15m", Decimal("210.5"))
    assert summary["timeframes"] == {
        "15m": {"win_rate": Decimal(55), "total_pnl": Decimal("210.5"), "best_strategy": "hyperrsi"}
    }
    assert shown.differences() == []


@pytest.mark.slow
def test_a_partition_that_is_written_again_leaves_nothing_of_its_first_writing(shown: Mirror) -> None:
    write_scan(shown.database, "AAAUSDT", "BBBUSDT")
    write_backtests(shown.database, {"symbol": "AAAUSDT"}, {"symbol": "BBBUSDT"})
    shown.send()
    write_scan(shown.database, "BBBUSDT", "CCCUSDT", price=2.0)
    write_backtests(shown.database, {"symbol": "CCCUSDT", "parameters": '{"rsi": 20}'})
    shown.send()
    assert [row["symbol"] for row in shown.items(MirrorTable.SCANS)] == ["BBBUSDT", "CCCUSDT"]
    assert {row["symbol"] for row in shown.items(MirrorTable.BACKTESTS)} == {"CCCUSDT"}
    assert shown.differences() == []


@pytest.mark.slow
def test_nothing_is_noted_while_it_is_off_and_everything_when_it_begins(front: DynamoFront, database: Database) -> None:
    signal(database)
    write_scan(database, "AAAUSDT")
    assert mirror.oldest(database, 10) == [] and mirror.state(database) is None
    late = Mirror(database, DynamoDb(NAMES, front.url))
    late.begin()
    assert late.send() == 2 and late.differences() == []
    assert mirror.end(database) and not mirror.end(database)
    signal(database, "ETHUSDT")
    assert mirror.oldest(database, 10) == []


def test_what_is_rolled_back_is_not_noted(shown: Mirror) -> None:
    with pytest.raises(RuntimeError), shown.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO partition_writes (asset, hour_ms, run_id, code_version, written_wall_ms) "
            "VALUES ('market_scan', 0, '', '', 0)"
        )
        raise RuntimeError
    assert mirror.oldest(shown.database, 10) == []


@pytest.mark.slow
def test_a_change_that_happens_while_it_is_sent_is_sent_again(shown: Mirror, front: DynamoFront) -> None:
    made = signal(shown.database)
    left = [lambda: change(shown.database, made, status="rejected", reason="meanwhile")]
    front.after = lambda _name: left.pop()() if left else None
    assert shown.send() == 2
    (item,) = shown.items(MirrorTable.POSITIONS)
    assert item["status"] == "rejected"


@pytest.mark.slow
@pytest.mark.parametrize("call", ["put_item", "batch_write_item", "mark_sent", "keep_partition_keys", "mark_partition"])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_death_at_any_step_loses_nothing(
    shown: Mirror, monkeypatch: pytest.MonkeyPatch, call: str, is_done: bool
) -> None:
    """Before the step and after it, at each time that it is taken."""

    class DeathError(BaseException):
        """Of the process: nothing handles it."""

    def fill(round_: int) -> None:
        made = signal(shown.database, f"A{round_}USDT")
        write_scan(shown.database, "AAAUSDT", f"B{round_}USDT", price=1.0 + round_)
        write_backtests(shown.database, {"symbol": f"B{round_}USDT"})
        change(shown.database, made, status="rejected", reason="too wide")

    steps = {"mark_sent": mirror, "keep_partition_keys": mirror, "mark_partition_sent": mirror}
    name = "mark_partition_sent" if call == "mark_partition" else call
    deaths = 0
    for at in range(6):
        fill(at)
        with monkeypatch.context() as patch:
            owner = steps.get(name, shown.store)
            inner, seen = getattr(owner, name if name in steps else "_call"), [0]

            def step(*given: Any, inner: Any = inner, seen: list[int] = seen, at: int = at, **named: Any) -> Any:
                mine = name in steps or given[0] == name
                seen[0] += mine
                dies = mine and seen[0] == at % 3 + 1
                if dies and not is_done:
                    raise DeathError
                found = inner(*given, **named)
                if dies:
                    raise DeathError
                return found

            patch.setattr(owner, name if name in steps else "_call", step)
            try:
                shown.send()
            except DeathError:
                deaths += 1
    shown.send()
    assert deaths >= 1 and shown.differences() == []


@pytest.mark.slow
def test_a_thousand_throttled_batches_lose_nothing(sqlite: Database, front: DynamoFront) -> None:
    """DynamoDB takes some of each batch, or nothing, or refuses; it is asked again after rests that grow."""
    chance, throttled, shown = random.Random(7), 0, Mirror(sqlite, DynamoDb(NAMES, front.url))
    shown.begin()

    def rule(name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        nonlocal throttled
        if name != "BatchWriteItem" or throttled >= 1000 or chance.random() < 0.1:
            return None
        throttled += 1
        if chance.random() < 0.01:  # boto3 asks three times by itself before it tells, with rests of its own
            return refusal("ProvisionedThroughputExceededException")
        ((table, wanted),) = body["RequestItems"].items()
        taken = chance.randrange(len(wanted) + 1) if chance.random() < 0.2 else 0
        if not taken:
            return 200, {"UnprocessedItems": {table: wanted}}
        body["RequestItems"] = {table: wanted[:taken]}
        body["left"] = {table: wanted[taken:]} if wanted[taken:] else None
        return None

    front.rule = rule
    hours = [int(str(HOUR)) - number * HOUR_MS for number in range(4)]
    while throttled < 1000:
        for hour_ms in hours:
            write_scan(shown.database, *(f"C{number}USDT" for number in range(30)), hour_ms=hour_ms)
            symbols = [{"symbol": f"C{number}USDT"} for number in range(30)]
            write_backtests(shown.database, *symbols, hour_ms=hour_ms)
        for _ in range(100):
            try:
                shown.send()
                break
            except MirrorUnavailableError as error:
                assert f"in {TRIES} tries" in str(error)
    assert len(shown.rests) >= 1000 * 0.5 and max(shown.rests) > 2 * min(shown.rests)
    assert shown.differences() == []


@pytest.mark.slow
def test_an_outage_of_a_day_is_caught_up(shown: Mirror, front: DynamoFront) -> None:
    """Signals of the time are past: none of them appears, and what was shown as active is not any more."""
    before = signal(shown.database, "BTCUSDT")
    shown.send()
    front.rule = lambda _name, _body: (503, {"__type": "ServiceUnavailable", "message": "away"})
    change(shown.database, before, status="expired", reason="its life time ended")
    during = signal(shown.database, "ETHUSDT")
    change(shown.database, during, status="expired", reason="its life time ended")
    for hour in range(24):
        write_scan(shown.database, "AAAUSDT", hour_ms=int(str(HOUR)) + hour * HOUR_MS)
    with pytest.raises(MirrorUnavailableError, match="ServiceUnavailable"):
        shown.send()
    shown.now_ms += DAY_MS
    front.rule = None
    shown.send()
    assert [(row["symbol"], row["status"]) for row in shown.items(MirrorTable.POSITIONS)] == [("BTCUSDT", "expired")]
    # Those whose 24 hours are over are not sent any more.
    assert 22 <= len({row["timestamp"] for row in shown.items(MirrorTable.SCANS)}) <= 24
    assert shown.differences() == []


def test_a_process_that_lost_its_lease_changes_no_position(shown: Mirror) -> None:
    made = signal(shown.database)
    old = shown.sender()
    item = {"symbol": "BTCUSDT", "signal_timestamp": (NOW - 60_000) // 1000}
    shown.send()
    change(shown.database, made, status="rejected", reason="too wide")
    shown.send()
    assert shown.store.put_newer({**item, "status": "active"}, 1) is False
    (held,) = shown.items(MirrorTable.POSITIONS)
    assert held["status"] == "rejected"

    def lost() -> Any:
        raise LeaseLostError("another process has it")

    write_scan(shown.database, "AAAUSDT")
    shown.lease = lost
    with pytest.raises(LeaseLostError):
        shown.sender().round()
    assert len(mirror.oldest(shown.database, 10)) == 1 and old is not None


def test_after_a_restored_ledger_newer_items_of_the_tables_give_way(shown: Mirror) -> None:
    """Fences began anew: the versions in the table are higher than any that is sent now."""
    made = signal(shown.database)
    shown.send()
    (held,) = shown.items(MirrorTable.POSITIONS)
    shown.store.put({**held, "status": "failed"}, 10**30)
    change(shown.database, made, reason="waits")
    shown.send()
    assert shown.differences() == []
    assert resync(shown.database, "main", shown.now_ms) == 1


def test_of_two_signals_of_a_coin_and_moment_the_traded_one_is_shown(shown: Mirror) -> None:
    first = signal(shown.database, timeframe="15m", created_at_ms=NOW - 50_000)
    signal(shown.database, timeframe="60m", created_at_ms=NOW - 40_000)
    shown.send()
    assert [row["timeframe"] for row in shown.items(MirrorTable.POSITIONS)] == ["60m"]
    change(shown.database, first, status="executed", order_id="o-1", executed_at_ms=float(NOW), executed_price=1.0)
    shown.send()
    assert [row["timeframe"] for row in shown.items(MirrorTable.POSITIONS)] == ["15m"]
    assert shown.differences() == []


def test_what_was_sent_of_an_hour_is_forgotten_when_its_items_have_gone(shown: Mirror) -> None:
    write_scan(shown.database, "AAAUSDT")
    shown.send()
    hour_change = mirror.Change(0, mirror.ChangeKind.PARTITION, "market_scan", int(str(HOUR)))
    assert len(mirror.partition_keys(shown.database, hour_change)) == 1
    shown.now_ms += 9 * DAY_MS
    shown.send()
    assert mirror.partition_keys(shown.database, hour_change) == []


def test_another_accounts_signals_are_not_shown(shown: Mirror) -> None:
    signal(shown.database, account="second")
    assert shown.send() == 1 and shown.items(MirrorTable.POSITIONS) == []


def test_a_comparison_names_what_is_missing_surplus_or_other(shown: Mirror, front: DynamoFront) -> None:
    signal(shown.database, "BTCUSDT")
    write_scan(shown.database, "AAAUSDT", "BBBUSDT")
    shown.send()
    (held,) = shown.items(MirrorTable.POSITIONS)
    shown.store.put({**held, "status": "executing"}, 10**30)
    shown.store.write(MirrorTable.SCANS, [], [["scan-20260301-010000", "AAAUSDT"]], lambda _s: False)
    other = {"scan_id": "scan-x", "symbol": "X", "ttl": held["ttl"]}
    shown.store.write(MirrorTable.SCANS, [other], [], lambda _s: False)
    assert shown.differences() == [
        "scan-results: scan-20260301-010000 AAAUSDT: missing",
        "scan-results: scan-x X: surplus: the ledger has no such row",
        f"trading-positions: BTCUSDT {held['signal_timestamp']}: status is executing, expected active",
    ]


def test_without_tables_it_says_how_to_make_them_and_waits(front: DynamoFront, sqlite: Database) -> None:
    found = Mirror(sqlite, DynamoDb(NAMES, front.url))
    mirror.begin(sqlite, "main", wall_ms=NOW, signals_since_ms=0, hours_since_ms=0)
    signal(sqlite)
    with pytest.raises(MirrorUnavailableError, match="trading-assets mirror create"):
        found.send()
    assert set(found.store.counts().values()) == {"absent"}
    assert set(found.store.create().values()) == {"created"}
    assert all("was there" in done for done in found.store.create().values())
    assert found.send() == 1


@given(st.floats() | st.integers(-(10**12), 10**12) | st.none())
@settings(max_examples=200)
def test_every_number_has_a_form_that_dynamodb_takes(value: float | None) -> None:
    from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

    found = number(value)
    if found is None:
        assert value is None or not math.isfinite(value)
        return
    if found and not 1e-128 < abs(found) < 1e126:
        return  # beyond DynamoDB's range: no price, size or figure is
    back = TypeDeserializer().deserialize(TypeSerializer().serialize(found))
    assert float(back) == value


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dynalite") is None, reason="needs the command dynalite (npm install -g dynalite)")
def test_another_server_that_refuses_more_takes_it_all(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)
    with dynalite_server() as url:
        shown = Mirror(sqlite, DynamoDb(NAMES, url))
        shown.begin()
        made = signal(sqlite, "BTCUSDT", confidence=85.0)
        write_scan(sqlite, *(f"C{number}USDT" for number in range(60)))
        write_backtests(sqlite, *({"symbol": f"C{number}USDT"} for number in range(60)))
        shown.send()
        write_scan(sqlite, "BTCUSDT")
        change(sqlite, made, status="executed", order_id="o-1", executed_at_ms=float(NOW), executed_price=99.25)
        shown.send()
        assert shown.differences() == [] and len(shown.items(MirrorTable.BACKTESTS)) == 120
        table = boto3.resource("dynamodb", endpoint_url=url).Table("crypto-backtest-trading-positions")
        condition = Key("status").eq("executing") & Key("confidence").gte(80)
        assert len(table.query(IndexName="ConfidenceIndex", KeyConditionExpression=condition)["Items"]) == 1
