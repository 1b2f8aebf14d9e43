"""Each service of compose.yaml by its own command: the hour's research goes through them, a session trades, and each is
killed and started again in turn."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, hour_key, iso, local_ms
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import partition_writes
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.session.lease import Trader, trader_of
from trading_assets_tests.conftest import database_url, drop_database
from trading_assets_tests.defs.conftest import HOUR, SYMBOLS
from trading_assets_tests.defs.workers.processes import until
from trading_assets_tests.deploy.services import Services
from trading_assets_tests.deploy.surroundings import compose

AS_OF = HOUR
"""2026-03-02 01:00 UTC. Of three coins of this market, DOGEUSDT is entered at 01:30, and SOLUSDT at 04:00."""

AT_WORK = ("code", "web", "daemon", "research", "trading", "serve", "exchange")
HOME = "/var/lib/trading_assets/home"


class Desk:
    """What a person sees of it: the ledger, the exchange's clock, the UI, the metrics."""

    def __init__(self, services: Services, ledger: Database) -> None:
        self.services, self._ledger = services, ledger

    def move_clock(self, time_ms: int) -> None:
        url = f"http://127.0.0.1:{self.services.ports['exchange']}/admin/clock"
        requests.post(url, json={"set_ms": time_ms}, timeout=60).raise_for_status()

    def until_selected(self, as_of_ms: int) -> None:
        """Until the hour's research has written its last table."""
        rows = sa.select(sa.func.count()).where(
            partition_writes.c.asset == "strategy_selections", partition_writes.c.hour_ms == as_of_ms - HOUR_MS
        )

        def written() -> bool:
            with self._ledger.read() as connection:
                return bool(connection.execute(rows).scalar_one())

        until(written, self.services.tails)

    def until_trades_on(self, as_of_ms: int) -> Trader:
        """Until a session that knows this hour's selection holds the lease."""

        def trading() -> Trader | None:
            trader = trader_of(self._ledger, "main", wall_ms=local_ms())
            return trader if trader is not None and trader.serves.startswith(iso(as_of_ms - HOUR_MS)) else None

        return until(trading, self.services.tails)

    def other_trader(self, gone: Trader) -> Trader | None:
        """Who trades now, where it is another run."""
        trader = trader_of(self._ledger, "main", wall_ms=local_ms())
        return trader if trader is not None and trader.run != gone.run else None

    def until_executed(self, *symbols: str) -> None:
        """Until these coins were entered, and no other."""

        def executed() -> list[str]:
            found = signals.since(self._ledger, "main", 0)
            return sorted(found[found["status"] == signals.EXECUTED]["symbol"])

        until(lambda: executed() == sorted(symbols), self.services.tails)

    def _asked(self, port: str, path: str, token: str, body: dict[str, Any] | None = None) -> bytes:
        secret = (self.services.folder / "secrets" / token).read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.services.ports[port]}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {secret}"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            content: bytes = answer.read()
        return content

    def partitions_in_ui(self) -> set[str]:
        """Hours whose research the UI shows as succeeded."""
        chosen = '{pipelineName: "research", statuses: [SUCCESS]}'
        query = f"{{ runsOrError(filter: {chosen}) {{ ... on Runs {{ results {{ tags {{ key value }} }} }} }} }}"
        runs = json.loads(self._asked("web", "/graphql", "ui_token", {"query": query}))["data"]["runsOrError"][
            "results"
        ]
        return {one["value"] for run in runs for one in run["tags"] if one["key"] == "dagster/partition"}

    def metrics(self) -> str:
        return self._asked("monitor", "/metrics", "monitor_token").decode()


@pytest.fixture
def desk(
    broker_url: str,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:
    """Nobody is at work yet. The exchange's account, with a clock that is moved by hand, is in its volume."""
    monkeypatch.setenv("TRADING_ASSETS_SELECTION_PRESET", "volume_loose")
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_SYMBOLS", str(SYMBOLS))
    names = [f"s{uuid.uuid4().hex[:12]}" for _ in range(2)]
    history, ledger = (database_url(postgres_url, name) for name in names)
    services = Services(
        tmp_path,
        databases=(history, ledger), broker=broker_url, namespace=f"test-{uuid.uuid4().hex[:10]}",
        settings={"TRADING_ASSETS_MAX_SYMBOLS": "3", "RESEARCH_CONCURRENCY": "1"},
    )  # fmt: skip
    account = Path(services.here("exchange", f"{HOME}/exchange"))
    account.mkdir(parents=True)
    clock = ClockSpec(ClockMode.MANUAL, start_ms=AS_OF + 20 * MINUTE_MS)
    with serve_in_thread(ServeConfig(home=account, symbols=SYMBOLS, clock=clock)):
        pass
    try:
        services.run("migrate")
        database = Database(ledger)
        yield Desk(services, database)
        database.close()
    finally:
        services.end()
        for name in names:
            drop_database(postgres_url, name)


def test_every_service_of_ours_is_tried() -> None:
    ours = {name for name, one in compose()["services"].items() if "TRADING_ASSETS_IMAGE" in one["image"]}
    assert ours == {*AT_WORK, "migrate", "tools"}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_research_and_trading_go_through_all_services_and_go_on_after_each_was_killed(desk: Desk) -> None:
    services = desk.services
    for name in ("exchange", "code"):
        services.start(name)
    for name in ("exchange", "code"):
        services.until_well(name)
    for name in ("research", "trading", "web", "daemon", "serve"):
        services.start(name)

    desk.until_selected(AS_OF)
    first = desk.until_trades_on(AS_OF)
    for name in AT_WORK:
        services.until_well(name)
    desk.move_clock(AS_OF + 30 * MINUTE_MS + 1_000)
    desk.until_executed("DOGEUSDT")

    # Each hour that follows needs all of those that were killed before it.
    for name in ("exchange", "code"):
        services.kill(name)
        services.start(name)
        services.until_well(name)
    desk.move_clock(AS_OF + HOUR_MS + 20 * MINUTE_MS)
    desk.until_selected(AS_OF + HOUR_MS)

    # A run is at work for some seconds after its selection is there, and ends with the worker that is killed.
    until(lambda: hour_key(AS_OF) in desk.partitions_in_ui(), services.tails)
    for name in ("daemon", "research"):
        services.kill(name)
        services.start(name)
    desk.move_clock(AS_OF + 2 * HOUR_MS + 20 * MINUTE_MS)
    desk.until_selected(AS_OF + 2 * HOUR_MS)
    for name in ("daemon", "research"):
        services.until_well(name)

    before = desk.until_trades_on(AS_OF + 2 * HOUR_MS)
    assert before.run != first.run
    for name in ("trading", "web", "serve"):
        services.kill(name)
        services.start(name)
    until(lambda: desk.other_trader(before), services.tails)
    desk.move_clock(AS_OF + 3 * HOUR_MS + 1_000)
    desk.until_executed("DOGEUSDT", "SOLUSDT")
    for name in ("trading", "web", "serve"):
        services.until_well(name)
    hours = {hour_key(AS_OF + back * HOUR_MS) for back in (-1, 0, 1)}
    until(lambda: desk.partitions_in_ui() == hours, services.tails)
    assert "trading_assets_" in desk.metrics()
    services.run("tools")
