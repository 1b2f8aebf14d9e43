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
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import metadata, reconciliations, risk_events
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.portfolio import performance
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk.guard import account_snapshot
from trading_assets_tests.trading.fixtures import NOW_MS, Bench, add_signal, bench_on, settings


def opened(database: Database, *symbols: str) -> Bench:
    """A bench with a position of ours in each symbol, a minute ago."""
    bench = bench_on(database, *(symbols or ("BTCUSDT",)))
    for symbol in bench.exchange.listed:
        add_signal(database, symbol)
    assert len(submit_orders(bench.context).executed) == len(bench.exchange.listed)
    bench.later()
    return bench


def contents(database: Database, *, without: set[str] = frozenset()) -> dict[str, list[tuple[object, ...]]]:  # type: ignore[assignment]
    """Every row of every table."""
    with database.read() as connection:
        return {
            name: sorted(map(tuple, connection.execute(sa.select(table)).all()), key=repr)
            for name, table in metadata.tables.items()
            if name not in without
        }


def test_books_come_into_the_ledger(database: Database) -> None:
    bench = opened(database)
    report = reconcile(bench.context)
    assert (report.new_fills, report.open_positions, report.new_closings) == (1, 1, [])
    fills = account_ledger.fill_rows(database, "main")
    assert fills[["symbol", "side", "exec_type", "price", "qty"]].values.tolist() == [
        ["BTCUSDT", "Buy", "Trade", 100.0, 1.0]
    ]
    position = account_ledger.position_rows(database, "main").iloc[0]
    assert (position["symbol"], position["size"], position["stop_loss"]) == ("BTCUSDT", 1.0, 98.0)
    equity = account_ledger.equity_rows(database, "main").iloc[-1]
    assert equity["equity"] == pytest.approx(float(report.equity)) == pytest.approx(9999.945)
    assert account_ledger.reconciled_until_ms(database, "main") == NOW_MS + 60_000


def test_a_second_pass_over_the_same_books_changes_nothing(database: Database) -> None:
    bench = opened(database, "AUSDT", "BUSDT")
    bench.exchange.close_position("AUSDT", "stop")
    reconcile(bench.context)
    before, told = contents(database, without={"reconciliations"}), len(bench.told)
    for _ in range(2):
        again = reconcile(bench.context)
        assert (again.new_fills, again.new_closings, again.repaired) == (0, [], [])
    assert contents(database, without={"reconciliations"}) == before
    assert len(bench.told) == told


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
    bench = opened(database)
    bench.exchange.close_position("BTCUSDT", reason)
    (closing,) = reconcile(bench.context).new_closings
    assert (closing.position_side, closing.reason, closing.pnl) == ("LONG", reason, pnl)
    row = account_ledger.closing_rows(database, "main").iloc[0]
    assert (row["reason"], row["pnl"]) == (reason, float(pnl))
    assert str(row["signal_id"]).startswith("main:BTCUSDT:60m")
    assert account_ledger.position_rows(database, "main").empty
    assert any(title == f"closed LONG BTCUSDT at its {reason}" for title, _ in bench.told)


def test_a_short_that_ends_is_recorded_as_a_short(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    add_signal(sqlite, position_type="SHORT", stop_loss=102.0, take_profit=96.0)
    submit_orders(bench.context)
    bench.later()
    bench.exchange.close_position("BTCUSDT", "target")
    (closing,) = reconcile(bench.context).new_closings
    assert (closing.position_side, closing.reason) == ("SHORT", "target")
    assert closing.pnl > 0


def test_a_symbol_is_free_again_when_its_position_is_closed(database: Database) -> None:
    bench = opened(database)
    reconcile(bench.context)
    assert len(orders.occupying(database, "main")) == 1
    bench.later()
    bench.exchange.close_position("BTCUSDT", "stop")
    reconcile(bench.context)
    assert not orders.occupying(database, "main")
    bench.later(900)
    ttl_ms = bench.exchange.time_ms + 1
    again = add_signal(database, signal_timestamp_ms=NOW_MS + 1, created_at_ms=NOW_MS + 1, ttl_ms=ttl_ms)
    assert submit_orders(bench.context).executed == [again]


def test_a_symbol_whose_order_is_not_settled_is_not_freed(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    add_signal(sqlite)
    bench.exchange.fail("find_order", ExchangeUnavailableError("502"), times=99)
    submit_orders(bench.context)
    bench.exchange.close_position("BTCUSDT", "stop")
    bench.later()
    reconcile(bench.context)
    assert len(orders.occupying(sqlite, "main")) == 1


def test_a_foreign_position_is_reported_once_and_left_alone(database: Database) -> None:
    bench = bench_on(database)
    bench.exchange.open_foreign("BTCUSDT")
    ((_, difference),) = reconcile(bench.context).differences
    assert "not by this system" in difference
    assert [text for _, text in reconcile(bench.context).differences] == [difference]
    assert bench.exchange.calls["set_stops"] == bench.exchange.calls["place_order"] == 0
    assert len(bench.told) == 1
    with database.read() as connection:
        assert [row.detail for row in connection.execute(risk_events.select())] == [difference]


def test_several_foreign_positions_are_reported_once_each(sqlite: Database) -> None:
    bench = bench_on(sqlite, "AUSDT", "BUSDT")
    bench.exchange.open_foreign("AUSDT")
    bench.exchange.open_foreign("BUSDT")
    for _ in range(3):
        assert len(reconcile(bench.context).differences) == 2
        bench.later()
    with sqlite.read() as connection:
        assert len(connection.execute(risk_events.select()).all()) == 2
    assert len(bench.told) == 2


def test_a_foreign_position_keeps_its_symbol_from_being_entered(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    bench.exchange.open_foreign("BTCUSDT", Side.SELL)
    identity = add_signal(sqlite)
    assert identity in submit_orders(bench.context).rejected
    assert bench.exchange.calls["place_order"] == 0


def test_a_foreign_closing_is_not_counted_as_an_old_signals_trade(sqlite: Database) -> None:
    bench = opened(sqlite)
    bench.exchange.close_position("BTCUSDT", "stop")
    reconcile(bench.context)
    bench.later(3600)
    bench.exchange.open_foreign("BTCUSDT")
    bench.later()
    bench.exchange.close_position("BTCUSDT")
    (closing,) = reconcile(bench.context).new_closings
    assert closing.signal_id is None, "the signal's position was closed an hour before"


def test_a_position_larger_than_ours_is_a_difference(sqlite: Database) -> None:
    bench = opened(sqlite)
    bench.exchange.open_foreign("BTCUSDT", qty=2)
    ((_, difference),) = reconcile(bench.context).differences
    assert "the ledger expected Buy 1" in difference


def test_a_lost_stop_is_attached_again(database: Database) -> None:
    bench = opened(database)
    bench.exchange.lose_stops("BTCUSDT")
    assert len(reconcile(bench.context).repaired) == 1
    held = bench.exchange.open["BTCUSDT"]
    assert (held.stop_loss, held.take_profit) == (Decimal(98), Decimal(104))
    assert reconcile(bench.context).repaired == []


def test_a_lost_stop_that_the_price_has_passed_does_not_leave_a_bare_position(sqlite: Database) -> None:
    bench = opened(sqlite, "AUSDT", "BUSDT")
    bench.exchange.lose_stops("AUSDT")
    bench.exchange.set_price("AUSDT", 97)
    reconcile(bench.context)
    assert "AUSDT" not in bench.exchange.open
    assert account_ledger.reconciled_until_ms(sqlite, "main") is not None


def test_a_stop_that_cannot_be_set_does_not_keep_the_books_from_being_read(sqlite: Database) -> None:
    bench = opened(sqlite, "AUSDT", "BUSDT")
    bench.exchange.lose_stops("AUSDT")
    bench.exchange.close_position("BUSDT", "stop")
    bench.exchange.fail("set_stops", PriceRefusedError("the price is beyond it"), times=99)
    reconcile(bench.context)
    assert sorted(account_ledger.closing_rows(sqlite, "main")["symbol"]) == ["AUSDT", "BUSDT"], (
        "one was closed for want of it"
    )
    assert not bench.exchange.open


@pytest.mark.parametrize("method", ["now_ms", "wallet", "positions", "executions", "closed_pnl", "order"])
def test_a_failed_read_changes_nothing(sqlite: Database, method: str) -> None:
    bench = opened(sqlite, "AUSDT", "BUSDT")
    reconcile(bench.context)
    bench.later()
    bench.exchange.close_position("AUSDT", "stop")
    before = contents(sqlite)
    bench.exchange.fail(method, ExchangeUnavailableError("502"))
    with pytest.raises(ExchangeUnavailableError):
        reconcile(bench.context)
    assert contents(sqlite) == before
    report = reconcile(bench.context)
    assert len(report.new_closings) == 1
    assert [intent.symbol for intent in orders.occupying(sqlite, "main")] == ["BUSDT"]


def test_a_crash_before_the_commit_changes_nothing(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = opened(sqlite)
    bench.exchange.close_position("BTCUSDT", "stop")
    before = contents(sqlite)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(account_ledger, "add_reconciliation", _killed)
        reconcile(bench.context)
    assert contents(sqlite) == before
    assert len(reconcile(bench.context).new_closings) == 1


def _killed(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError("killed")


def test_books_that_lag_an_hour_are_still_read(sqlite: Database) -> None:
    bench = opened(sqlite)
    reconcile(bench.context)
    bench.exchange.close_position("BTCUSDT", "stop")
    closings, bench.exchange.closings = bench.exchange.closings, []
    bench.later(3000)
    assert reconcile(bench.context).new_closings == []
    bench.exchange.closings = closings
    bench.later()
    assert len(reconcile(bench.context).new_closings) == 1


def test_the_first_pass_looks_a_week_back(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    bench.exchange.time_ms = NOW_MS - 6 * DAY_MS
    bench.exchange.open_foreign("BTCUSDT")
    bench.exchange.close_position("BTCUSDT")
    bench.exchange.time_ms = NOW_MS
    assert reconcile(bench.context).new_fills == 2


def test_passes_at_once_add_everything_once(database: Database) -> None:
    bench = opened(database)
    bench.exchange.close_position("BTCUSDT", "stop")
    bench.later(HOUR_MS // 1000)
    url = database.url.render_as_string(hide_password=False)
    own = [Database(url) for _ in range(4)]
    barrier, raised = threading.Barrier(4), []

    def run(each: Database) -> None:
        barrier.wait(60)
        try:
            reconcile(ExecutionContext(each, bench.exchange, settings(), wall_ms=lambda: bench.wall))
        except BaseException as error:  # noqa: BLE001 (told to the test)
            raised.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for each in own:
        each.close()
    assert len(account_ledger.fill_rows(database, "main")) == 2
    assert len(account_ledger.closing_rows(database, "main")) == 1
    assert raised == []


# The account and its results


def test_the_account_counts_todays_realised_results_and_the_peak(database: Database) -> None:
    bench = opened(database)
    reconcile(bench.context)
    bench.exchange.close_position("BTCUSDT", "stop")
    reconcile(bench.context)
    now = bench.exchange.time_ms
    account = account_snapshot(database, bench.exchange, "main", now)
    assert account.realised_today == Decimal("-2.1089")
    assert account.peak_equity == 10_000, "as it was before the position's fee"
    assert account.positions == ()
    tomorrow = account_snapshot(database, bench.exchange, "main", now - now % DAY_MS + DAY_MS)
    assert tomorrow.realised_today == 0


def test_an_account_never_seen_has_nothing(database: Database) -> None:
    account = account_snapshot(database, bench_on(database).exchange, "main", NOW_MS)
    assert (account.realised_today, account.peak_equity, account.occupied) == (0, 0, frozenset())


def test_losses_of_the_day_stop_further_entries(sqlite: Database) -> None:
    bench = bench_on(sqlite, "AUSDT", "BUSDT", position_size=Decimal(2000), max_daily_loss_pct=0.4)
    add_signal(sqlite, "AUSDT")
    submit_orders(bench.context)
    bench.later()
    bench.exchange.close_position("AUSDT", "stop")
    reconcile(bench.context)
    identity = add_signal(sqlite, "BUSDT")
    assert "daily loss" in submit_orders(bench.context).rejected[identity]


def test_performance_of_nothing_is_nothing(database: Database) -> None:
    result = performance(database, "main")
    assert (result.closings, result.wins, result.pnl, len(result.by)) == (0, 0, 0.0, 0)


def test_performance_adds_up_by_strategy_timeframe_and_symbol(database: Database) -> None:
    bench = opened(database, "AUSDT", "BUSDT")
    bench.exchange.close_position("AUSDT", "target")
    bench.exchange.close_position("BUSDT", "stop")
    reconcile(bench.context)
    result = performance(database, "main")
    assert (result.closings, result.wins) == (2, 1)
    assert result.pnl == pytest.approx(3.8878 - 2.1089)
    assert result.by.values.tolist() == [
        ["bollinger_rsi", "60m", "AUSDT", 1, 1, pytest.approx(3.8878), 0.0, pytest.approx(3.8878)],
        ["bollinger_rsi", "60m", "BUSDT", 1, 0, pytest.approx(-2.1089), 0.0, pytest.approx(-2.1089)],
    ]
    assert performance(database, "main", bench.exchange.time_ms + 1).closings == 0


@pytest.mark.parametrize("ours", [False, True], ids=["foreign only", "ours and foreign"])
def test_performance_counts_closings_without_a_signal_as_unknown(database: Database, ours: bool) -> None:
    bench = opened(database, "AUSDT") if ours else bench_on(database, "AUSDT")
    if ours:
        bench.exchange.close_position("AUSDT", "target")
    bench.exchange.listed["ZUSDT"] = bench.exchange.listed["AUSDT"]
    bench.exchange.set_price("ZUSDT", 100)
    bench.exchange.open_foreign("ZUSDT")
    bench.exchange.close_position("ZUSDT")
    reconcile(bench.context)
    by = performance(database, "main").by
    assert by.iloc[-1][["strategy", "timeframe", "symbol"]].tolist() == ["unknown", "unknown", "ZUSDT"]
    assert len(by) == 1 + ours


def test_each_pass_is_recorded(sqlite: Database) -> None:
    bench = opened(sqlite)
    reconcile(bench.context)
    bench.later()
    reconcile(bench.context)
    with sqlite.read() as connection:
        rows = connection.execute(reconciliations.select()).all()
    assert [(row.new_fills, row.open_positions) for row in rows] == [(0, 0), (1, 1), (0, 1)], "before the order too"


def test_a_death_between_the_books_and_the_message_loses_no_message(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    bench.exchange.open_foreign("BTCUSDT")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconcile(replace(bench.context, notify=die))
    with sqlite.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(risk_events)).scalar_one() == 1
    for _ in range(2):
        bench.later()
        reconcile(bench.context)
    assert [title for title, _ in bench.told] == ["books differ"]


def test_a_row_of_an_order_that_fills_over_hours_is_read_again_until_it_ends(sqlite: Database) -> None:
    """The row keeps the time of its first fill, and is asked for by it."""
    bench = opened(sqlite)
    exchange = bench.exchange
    exchange.open_foreign("BTCUSDT", Side.BUY, 3)
    reconcile(bench.context)
    bench.later()
    exchange.close_position("BTCUSDT")
    (whole,) = exchange.closings
    order = exchange.book[whole.order_id]
    quarter = {name: getattr(whole, name) / 4 for name in ("qty", "pnl", "open_fee", "close_fee")}
    exchange.closings[:] = [replace(whole, **quarter)]
    exchange.book[order.order_id] = replace(order, status=OrderStatus.PARTIALLY_FILLED, filled_qty=whole.qty / 4)
    for _ in range(6):
        reconcile(bench.context)
        bench.later(1800)
    exchange.closings[:] = [whole]
    exchange.book[order.order_id] = order
    reconcile(bench.context)
    assert account_ledger.closing_rows(sqlite, "main")["pnl"].sum() == pytest.approx(float(whole.pnl))
    assert account_ledger.realised(sqlite, "main", 0) == whole.pnl, "and the daily loss limit counts it"
