"""The exchange's books in the ledger: read once, written once, nothing opened, no foreign position touched."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_assets.core.errors import ExchangeUnavailableError, PriceRefusedError
from trading_assets.core.models import OrderStatus, Side
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import balance, orders, outbox
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import metadata, reconciliations, risk_events
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.portfolio import performance
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk.guard import AccountReads, account_snapshot
from trading_assets_tests.trading.fixtures import NOW_MS, Harness, add_signal, harness_on, settings


def opened(database: Database, *symbols: str) -> Harness:
    """A harness with a position of ours in each symbol, a minute ago."""
    harness = harness_on(database, *(symbols or ("BTCUSDT",)))
    for symbol in harness.exchange.listed:
        add_signal(database, symbol)
    assert len(submit_orders(harness.context).executed) == len(harness.exchange.listed)
    harness.later()
    return harness


def contents(database: Database, *, without: set[str] = frozenset()) -> dict[str, list[tuple[object, ...]]]:  # type: ignore[assignment]
    """Every row of every table."""
    with database.read() as connection:
        return {
            name: sorted(map(tuple, connection.execute(sa.select(table)).all()), key=repr)
            for name, table in metadata.tables.items()
            if name not in without
        }


def test_books_come_into_the_ledger(database: Database) -> None:
    harness = opened(database)
    report = reconcile(harness.context)
    assert (report.new_fills, report.open_positions, report.new_closings) == (1, 1, [])
    fills = execution_ledger.fill_rows(database, "main")
    assert fills[["symbol", "side", "exec_type", "price", "qty"]].values.tolist() == [
        ["BTCUSDT", "Buy", "Trade", 100.0, 1.0]
    ]
    position = account_ledger.position_rows(database, "main").iloc[0]
    assert (position["symbol"], position["size"], position["stop_loss"]) == ("BTCUSDT", 1.0, 98.0)
    equity = balance.equity_rows(database, "main").iloc[-1]
    assert equity["equity"] == pytest.approx(float(report.equity)) == pytest.approx(9999.945)
    assert account_ledger.reconciled_until_ms(database, "main") == NOW_MS + 60_000


def test_a_second_pass_over_the_same_books_changes_nothing(database: Database) -> None:
    harness = opened(database, "AUSDT", "BUSDT")
    harness.exchange.close_position("AUSDT", "stop")
    reconcile(harness.context)
    before, told = contents(database, without={"reconciliations"}), len(harness.told)
    for _ in range(2):
        again = reconcile(harness.context)
        assert (again.new_fills, again.new_closings, again.repaired) == (0, [], [])
    assert contents(database, without={"reconciliations"}) == before
    assert len(harness.told) == told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "pnl"),
    [
        ("stop", Decimal("-2.1089")),
        ("target", Decimal("3.8878")),
        ("liquidation", Decimal("-0.11")),
        ("adl", Decimal("-0.11")),
        ("settlement", Decimal("-0.11")),
        ("other", Decimal("-0.11")),
    ],
)
def test_the_end_of_a_position_is_recorded_with_its_reason(database: Database, reason: str, pnl: Decimal) -> None:
    harness = opened(database)
    harness.exchange.close_position("BTCUSDT", reason)
    (closing,) = reconcile(harness.context).new_closings
    assert (closing.position_side, closing.reason, closing.pnl) == ("LONG", reason, pnl)
    row = execution_ledger.closing_rows(database, "main").iloc[0]
    assert (row["reason"], row["pnl"]) == (reason, float(pnl))
    assert str(row["signal_id"]).startswith("main:BTCUSDT:60m")
    assert account_ledger.position_rows(database, "main").empty
    assert any(title == f"closed LONG BTCUSDT at its {reason}" for title, _ in harness.told)


def test_a_short_that_ends_is_recorded_as_a_short(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite, position_type="SHORT", stop_loss=102.0, take_profit=96.0)
    submit_orders(harness.context)
    harness.later()
    harness.exchange.close_position("BTCUSDT", "target")
    (closing,) = reconcile(harness.context).new_closings
    assert (closing.position_side, closing.reason) == ("SHORT", "target")
    assert closing.pnl > 0


def test_a_symbol_is_free_again_when_its_position_is_closed(database: Database) -> None:
    harness = opened(database)
    reconcile(harness.context)
    assert len(orders.occupying(database, "main")) == 1
    harness.later()
    harness.exchange.close_position("BTCUSDT", "stop")
    reconcile(harness.context)
    assert not orders.occupying(database, "main")
    harness.later(900)
    ttl_ms = harness.exchange.time_ms + 1
    again = add_signal(database, signal_timestamp_ms=NOW_MS + 1, created_at_ms=NOW_MS + 1, ttl_ms=ttl_ms)
    assert submit_orders(harness.context).executed == [again]


def test_a_symbol_whose_order_is_not_settled_is_not_freed(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    harness.exchange.fail("find_order", ExchangeUnavailableError("502"), times=99)
    submit_orders(harness.context)
    harness.exchange.close_position("BTCUSDT", "stop")
    harness.later()
    reconcile(harness.context)
    assert len(orders.occupying(sqlite, "main")) == 1


def test_a_foreign_position_is_reported_once_and_left_alone(database: Database) -> None:
    harness = harness_on(database)
    harness.exchange.open_foreign("BTCUSDT")
    ((_, difference),) = reconcile(harness.context).differences
    assert "not by this system" in difference
    assert [text for _, text in reconcile(harness.context).differences] == [difference]
    assert harness.exchange.calls["set_stops"] == harness.exchange.calls["place_order"] == 0
    assert len(harness.told) == 1
    with database.read() as connection:
        assert [row.detail for row in connection.execute(risk_events.select())] == [difference]


def test_several_foreign_positions_are_reported_once_each(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT")
    harness.exchange.open_foreign("AUSDT")
    harness.exchange.open_foreign("BUSDT")
    for _ in range(3):
        assert len(reconcile(harness.context).differences) == 2
        harness.later()
    with sqlite.read() as connection:
        assert len(connection.execute(risk_events.select()).all()) == 2
    assert len(harness.told) == 2


def test_a_foreign_position_keeps_its_symbol_from_being_entered(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    harness.exchange.open_foreign("BTCUSDT", Side.SELL)
    identity = add_signal(sqlite)
    assert identity in submit_orders(harness.context).rejected
    assert harness.exchange.calls["place_order"] == 0


def test_a_foreign_closing_is_not_counted_as_an_old_signals_trade(sqlite: Database) -> None:
    harness = opened(sqlite)
    harness.exchange.close_position("BTCUSDT", "stop")
    reconcile(harness.context)
    harness.later(3600)
    harness.exchange.open_foreign("BTCUSDT")
    harness.later()
    harness.exchange.close_position("BTCUSDT")
    (closing,) = reconcile(harness.context).new_closings
    assert closing.signal_id is None, "the signal's position was closed an hour before"


def test_a_position_larger_than_ours_is_a_difference(sqlite: Database) -> None:
    harness = opened(sqlite)
    harness.exchange.open_foreign("BTCUSDT", qty=2)
    ((_, difference),) = reconcile(harness.context).differences
    assert "the ledger expected Buy 1" in difference


def test_a_lost_stop_is_attached_again(database: Database) -> None:
    harness = opened(database)
    harness.exchange.lose_stops("BTCUSDT")
    assert len(reconcile(harness.context).repaired) == 1
    held = harness.exchange.open["BTCUSDT"]
    assert (held.stop_loss, held.take_profit) == (Decimal(98), Decimal(104))
    assert reconcile(harness.context).repaired == []


def test_a_lost_stop_that_the_price_has_passed_does_not_leave_a_bare_position(sqlite: Database) -> None:
    harness = opened(sqlite, "AUSDT", "BUSDT")
    harness.exchange.lose_stops("AUSDT")
    harness.exchange.set_price("AUSDT", 97)
    reconcile(harness.context)
    assert "AUSDT" not in harness.exchange.open
    assert account_ledger.reconciled_until_ms(sqlite, "main") is not None


def test_a_stop_that_cannot_be_set_does_not_keep_the_books_from_being_read(sqlite: Database) -> None:
    harness = opened(sqlite, "AUSDT", "BUSDT")
    harness.exchange.lose_stops("AUSDT")
    harness.exchange.close_position("BUSDT", "stop")
    harness.exchange.fail("set_stops", PriceRefusedError("the price is beyond it"), times=99)
    reconcile(harness.context)
    assert sorted(execution_ledger.closing_rows(sqlite, "main")["symbol"]) == ["AUSDT", "BUSDT"], (
        "one was closed for want of it"
    )
    assert not harness.exchange.open


@pytest.mark.slow
@pytest.mark.parametrize("method", ["now_ms", "wallet", "positions", "executions", "closed_pnl", "order"])
def test_a_failed_read_changes_nothing(sqlite: Database, method: str) -> None:
    harness = opened(sqlite, "AUSDT", "BUSDT")
    reconcile(harness.context)
    harness.later()
    harness.exchange.close_position("AUSDT", "stop")
    before = contents(sqlite)
    harness.exchange.fail(method, ExchangeUnavailableError("502"))
    with pytest.raises(ExchangeUnavailableError):
        reconcile(harness.context)
    assert contents(sqlite) == before
    report = reconcile(harness.context)
    assert len(report.new_closings) == 1
    assert [intent.symbol for intent in orders.occupying(sqlite, "main")] == ["BUSDT"]


def test_a_crash_before_the_commit_changes_nothing(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = opened(sqlite)
    harness.exchange.close_position("BTCUSDT", "stop")
    before = contents(sqlite)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(account_ledger, "add_reconciliation", _killed)
        reconcile(harness.context)
    assert contents(sqlite) == before
    assert len(reconcile(harness.context).new_closings) == 1


def _killed(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError("killed")


def test_books_that_lag_an_hour_are_still_read(sqlite: Database) -> None:
    harness = opened(sqlite)
    reconcile(harness.context)
    harness.exchange.close_position("BTCUSDT", "stop")
    closings, harness.exchange.closings = harness.exchange.closings, []
    harness.later(3000)
    assert reconcile(harness.context).new_closings == []
    harness.exchange.closings = closings
    harness.later()
    assert len(reconcile(harness.context).new_closings) == 1


def test_the_first_pass_looks_a_week_back(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    harness.exchange.time_ms = NOW_MS - 6 * DAY_MS
    harness.exchange.open_foreign("BTCUSDT")
    harness.exchange.close_position("BTCUSDT")
    harness.exchange.time_ms = NOW_MS
    assert reconcile(harness.context).new_fills == 2


def test_passes_at_once_add_everything_once(database: Database) -> None:
    harness = opened(database)
    harness.exchange.close_position("BTCUSDT", "stop")
    harness.later(HOUR_MS // 1000)
    url = database.url.render_as_string(hide_password=False)
    own = [Database(url) for _ in range(4)]
    barrier, raised = threading.Barrier(4), []

    def run(each: Database) -> None:
        barrier.wait(60)
        try:
            reconcile(ExecutionContext(each, harness.exchange, settings(), wall_ms=lambda: harness.wall))
        except BaseException as error:  # noqa: BLE001 (told to the test)
            raised.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for each in own:
        each.close()
    assert len(execution_ledger.fill_rows(database, "main")) == 2
    assert len(execution_ledger.closing_rows(database, "main")) == 1
    assert raised == []


# The account and its results


def test_the_account_counts_todays_realised_results_and_the_peak(database: Database) -> None:
    harness = opened(database)
    reconcile(harness.context)
    harness.exchange.close_position("BTCUSDT", "stop")
    reconcile(harness.context)
    now = harness.exchange.time_ms
    account = account_snapshot(database, AccountReads(harness.exchange), "main", now)
    assert account.realised_today == Decimal("-2.1089")
    assert account.peak_equity == 10_000, "as it was before the position's fee"
    assert account.positions == ()
    tomorrow = account_snapshot(database, AccountReads(harness.exchange), "main", now - now % DAY_MS + DAY_MS)
    assert tomorrow.realised_today == 0


def test_an_account_never_seen_has_nothing(database: Database) -> None:
    account = account_snapshot(database, AccountReads(harness_on(database).exchange), "main", NOW_MS)
    assert (account.realised_today, account.peak_equity, account.occupied) == (0, 0, frozenset())


def test_losses_of_the_day_stop_further_entries(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT", position_size=Decimal(2000), max_daily_loss_pct=0.4)
    add_signal(sqlite, "AUSDT")
    submit_orders(harness.context)
    harness.later()
    harness.exchange.close_position("AUSDT", "stop")
    reconcile(harness.context)
    identity = add_signal(sqlite, "BUSDT")
    assert "daily loss" in submit_orders(harness.context).rejected[identity]


def test_performance_of_nothing_is_nothing(database: Database) -> None:
    result = performance(database, "main")
    assert (result.closings, result.wins, result.pnl, len(result.by)) == (0, 0, 0.0, 0)


def test_performance_adds_up_by_strategy_timeframe_and_symbol(database: Database) -> None:
    harness = opened(database, "AUSDT", "BUSDT")
    harness.exchange.close_position("AUSDT", "target")
    harness.exchange.close_position("BUSDT", "stop")
    reconcile(harness.context)
    result = performance(database, "main")
    assert (result.closings, result.wins) == (2, 1)
    assert result.pnl == pytest.approx(3.8878 - 2.1089)
    assert result.by.values.tolist() == [
        ["bollinger_rsi", "60m", "AUSDT", 1, 1, pytest.approx(3.8878), 0.0, pytest.approx(3.8878)],
        ["bollinger_rsi", "60m", "BUSDT", 1, 0, pytest.approx(-2.1089), 0.0, pytest.approx(-2.1089)],
    ]
    assert performance(database, "main", harness.exchange.time_ms + 1).closings == 0


@pytest.mark.parametrize("ours", [False, True], ids=["foreign only", "ours and foreign"])
def test_performance_counts_closings_without_a_signal_as_unknown(database: Database, ours: bool) -> None:
    harness = opened(database, "AUSDT") if ours else harness_on(database, "AUSDT")
    if ours:
        harness.exchange.close_position("AUSDT", "target")
    harness.exchange.listed["ZUSDT"] = harness.exchange.listed["AUSDT"]
    harness.exchange.set_price("ZUSDT", 100)
    harness.exchange.open_foreign("ZUSDT")
    harness.exchange.close_position("ZUSDT")
    reconcile(harness.context)
    by = performance(database, "main").by
    assert by.iloc[-1][["strategy", "timeframe", "symbol"]].tolist() == ["unknown", "unknown", "ZUSDT"]
    assert len(by) == 1 + ours


def test_each_pass_is_recorded(sqlite: Database) -> None:
    harness = opened(sqlite)
    reconcile(harness.context)
    harness.later()
    reconcile(harness.context)
    with sqlite.read() as connection:
        rows = connection.execute(reconciliations.select()).all()
    assert [(row.new_fills, row.open_positions) for row in rows] == [(0, 0), (1, 1), (0, 1)], "before the order too"


def test_a_death_between_the_books_and_the_message_loses_no_message(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    harness.exchange.open_foreign("BTCUSDT")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconcile(replace(harness.context, send=die))
    with sqlite.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(risk_events)).scalar_one() == 1
    for _ in range(2):
        harness.later()
        reconcile(harness.context)
    assert harness.told == []
    kept = outbox.newest(sqlite, "main", 10)
    assert [one.message.title for one in kept] == ["books differ"], "whoever delivers next sends it"


def test_a_row_of_an_order_that_fills_over_hours_is_read_again_until_it_ends(sqlite: Database) -> None:
    """The row keeps the time of its first fill, and is asked for by it."""
    harness = opened(sqlite)
    exchange = harness.exchange
    exchange.open_foreign("BTCUSDT", Side.BUY, 3)
    reconcile(harness.context)
    harness.later()
    exchange.close_position("BTCUSDT")
    (whole,) = exchange.closings
    order = exchange.book[whole.order_id]
    quarter = {name: getattr(whole, name) / 4 for name in ("qty", "pnl", "open_fee", "close_fee")}
    exchange.closings[:] = [replace(whole, **quarter)]
    exchange.book[order.order_id] = replace(order, status=OrderStatus.PARTIALLY_FILLED, filled_qty=whole.qty / 4)
    for _ in range(6):
        reconcile(harness.context)
        harness.later(1800)
    exchange.closings[:] = [whole]
    exchange.book[order.order_id] = order
    reconcile(harness.context)
    assert execution_ledger.closing_rows(sqlite, "main")["pnl"].sum() == pytest.approx(float(whole.pnl))
    assert execution_ledger.realised(sqlite, "main", 0) == whole.pnl, "and the daily loss limit counts it"
