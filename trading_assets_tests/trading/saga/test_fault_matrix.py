"""Every fault of the exchange at every call of an order comes out as `docs/order_saga.md` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.ledger.database import Database
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.fake_market import T0, FakeMarket
from trading_assets_tests.trading.saga import resting_matrix
from trading_assets_tests.trading.saga.fault_matrix import FAULTS, READS, SYMBOL, WRITES, for_read, run_cell, told_by

PAGE = Path(__file__).parents[3] / "docs" / "order_saga.md"
FLAT = {SYMBOL: {T0: (100_000.0,) * 4}}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket(FLAT)) as exchange:
        yield exchange


@pytest.mark.slow
def test_every_fault_at_every_call_comes_out_as_the_page_says(running: RunningExchange, sqlite: Database) -> None:
    wanted = [(call, fault) for call in WRITES for fault in FAULTS]
    wanted += [(call, fault) for call in READS for fault in FAULTS if for_read(fault)]
    cells = {}
    for number, (call, fault) in enumerate(wanted):
        cells[call, fault] = run_cell(running, sqlite, f"cell-{number}", call, fault)
    assert all(cell.creates <= 3 for cell in cells.values())
    sent_again = {fault for (call, fault), cell in cells.items() if call == "create" and cell.creates > 1}
    assert {fault.partition(",")[0] for fault in sent_again} == {"10002 clock", "10006 too many", "address banned"}
    told = told_by(PAGE.read_text())
    assert {place: str(cell) for place, cell in cells.items()} == {place: told[place] for place in cells}
    assert {told[place] for place in told.keys() - cells.keys()} == {"as before"}


@pytest.mark.slow
def test_every_fault_at_every_call_of_an_order_that_waits_comes_out_as_the_page_says(running: RunningExchange) -> None:
    cells = {}
    for call in resting_matrix.CALLS:
        for fault in FAULTS:
            cells[call, fault] = resting_matrix.run_cell(running, f"waits-{len(cells)}", call, fault)
    for (call, fault), cell in cells.items():
        assert cell.requests <= 2, (call, fault, cell)
        if call.startswith("create") and cell.requests > 1:
            assert not FAULTS[fault].get("processed"), f"what opens was sent again after {fault}"
    assert {place: str(cell) for place, cell in cells.items()} == resting_matrix.told_by(PAGE.read_text())
