"""The comparison at the end of a trial: it is silent where ledger and exchange agree, and names what does not."""

import random
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_assets.chaos.findings import Findings
from trading_assets.chaos.invariants import compare_all
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.signal_source import give_signal
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import (
    account_transactions,
    closings,
    entry_signals,
    fills,
    order_intents,
    positions,
    risk_events,
)
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.venues import open_exchange
from trading_assets_tests.trading.fixtures import settings

START_MS = 1_772_436_900_000  # 2026-03-02T07:35:00Z


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(symbols=8, clock=ClockSpec(ClockMode.MANUAL, start_ms=START_MS))) as running:
        yield running


@pytest.fixture(scope="module")
def account(venue: RunningExchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Exchange]]:
    """Two positions that paid funding, one of them closed since; and the file of the ledger that knows it."""
    path = tmp_path_factory.mktemp("books") / "ledger.db"
    chosen = config(venue)
    database, exchange, chance = Database(f"sqlite:///{path}"), open_exchange(chosen), random.Random(1)
    seed_registry(database)
    listed = {one.symbol: one for one in exchange.instruments()}
    for symbol in ("SOLUSDT", "XRPUSDT"):
        give_signal(database, exchange, listed[symbol], chosen, chance)
    context = ExecutionContext(database, exchange, chosen)
    submit_orders(context)
    venue.advance(HOUR_MS)
    held = exchange.positions()
    assert len(held) == 2
    ManualTrader(venue.url).close(held[0])
    reconcile(context)
    database.close()
    yield path, exchange
    exchange.close()


DIFFERENCE = sa.insert(risk_events).values(account="main", kind="difference", detail="a text", time_ms=START_MS)


def config(venue: RunningExchange) -> Settings:
    return settings(simulator_url=venue.url, weak_symbol_hours=0)


def found(path: Path, exchange: Exchange, chosen: Settings) -> Findings:
    database = Database(f"sqlite:///{path}")
    findings = compare_all(database, exchange, chosen.account, START_MS - HOUR_MS, chosen.simulator_deposit)
    database.close()
    return findings


@pytest.mark.slow
def test_books_that_agree_have_no_findings(venue: RunningExchange, account: tuple[Path, Exchange]) -> None:
    path, exchange = account
    findings = found(path, exchange, config(venue))
    assert findings.broken == []
    assert len(findings.entries) == 2
    assert any(execution.exec_type == "Funding" for execution in exchange.executions(START_MS, exchange.now_ms()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (sa.update(closings).values(pnl=Decimal(5)), "sums", "closing"),
        (sa.update(closings).values(signal_id=None), "orphans", "belong to no signal"),
        (sa.update(closings).values(signal_id="another"), "misattributed", "is booked as"),
        (sa.update(closings).values(fees=Decimal(5)), "sums", "closing"),
        (sa.delete(closings), "sums", "closing"),
        (sa.delete(account_transactions), "sums", "the balance is"),
        (sa.update(account_transactions).values(change=Decimal(1)), "sums", "the transaction log moves"),
        (sa.update(fills).where(fills.c.kind == "funding").values(fee=Decimal(1)), "sums", "fill"),
        (sa.update(order_intents).values(stop_loss=Decimal(1)), "wrong_levels", "has stop_loss 1"),
        (sa.update(order_intents).values(take_profit=Decimal(1)), "wrong_levels", "has take_profit 1"),
        (sa.update(order_intents).values(leverage=Decimal(7)), "wrong_levels", "has leverage 7"),
        (sa.update(entry_signals).values(position_size=10.0), "wrong_levels", "is worth"),
        (sa.update(entry_signals).values(position_type="NONE"), "wrong_levels", "its signal NONE"),
        (DIFFERENCE, "silent", "told without a cause"),
        (sa.delete(fills).where(fills.c.kind == "funding"), "mismatches", "fills of one side only"),
        (sa.update(positions).values(stop_loss=None), "mismatches", "the ledger holds"),
        (sa.update(order_intents).values(filled_qty=Decimal("0.0001")), "duplicates", "its order filled"),
        (sa.delete(order_intents), "orphans", "its intent is None"),
    ],
)
def test_what_differs_is_named(
    venue: RunningExchange,
    account: tuple[Path, Exchange],
    tmp_path: Path,
    change: sa.Executable,
    kind: str,
    says: str,
) -> None:
    path, exchange = account
    copy = shutil.copy(path, tmp_path / "ledger.db")
    database = Database(f"sqlite:///{copy}")
    with database.write() as connection:
        # What is append-only is kept so by triggers.
        for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        assert connection.execute(change).rowcount > 0  # type: ignore[attr-defined]
    database.close()
    assert any(says in text for text in getattr(found(Path(copy), exchange, config(venue)), kind))


def test_a_position_that_lost_its_stop_is_named(venue: RunningExchange, account: tuple[Path, Exchange]) -> None:
    path, exchange = account
    (held,) = exchange.positions()
    ManualTrader(venue.url).take_stops(held.symbol)
    findings = found(path, exchange, config(venue))
    exchange.set_stops(held.symbol, held.stop_loss, held.take_profit)
    assert [held.symbol in text for text in findings.unprotected] == [True]


def test_what_a_person_does_and_nobody_has_told_is_named(
    venue: RunningExchange, account: tuple[Path, Exchange]
) -> None:
    path, exchange = account
    (held,) = exchange.positions()
    ManualTrader(venue.url).set_levels(held.symbol, target="0")
    findings = found(path, exchange, config(venue))
    exchange.set_stops(held.symbol, held.stop_loss, held.take_profit)
    assert [held.symbol in text for text in findings.silent] == [True]
    assert findings.wrong_levels == [text for text in findings.wrong_levels if held.symbol in text] != []
