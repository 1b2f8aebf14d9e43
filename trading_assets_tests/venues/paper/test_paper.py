"""Paper trading on a second embedded exchange in the role of Bybit: a clock moved by hand, and scripted prices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trading_assets.core.errors import (
    ConfigurationError,
    ExchangeError,
    ExchangeUnavailableError,
    OrderRejectedError,
)
from trading_assets.core.models import FillKind, OrderPurpose, OrderRequest, Side
from trading_assets.core.settings import Settings, load_settings
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets.venues.embedded import EMBEDDED, account_keys
from trading_assets.venues.paper.connector import PaperExchange
from trading_assets.venues.paper.process import PaperConfig, PaperServer, paper_in_thread
from trading_assets.venues.paper.source import SourceTime, find_source
from trading_assets_tests.polling import until
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket

D = Decimal
SYMBOL = "BTCUSDT"
START = T0 + 2 * HOUR
FLAT = (100_000.0, 100_000.0, 100_000.0, 100_000.0)
FALL = (100_000.0, 100_000.0, 99_000.0, 99_500.0)
AFTER = (99_500.0, 99_500.0, 99_500.0, 99_500.0)


@dataclass
class Bybit:
    """The exchange in the role of Bybit."""

    running: RunningExchange

    def arm(self, **rule: Any) -> None:
        self.running.faults.add(parse_rules(rule, ENDPOINTS), self.running.now_ms())

    def heal(self) -> None:
        self.running.faults.remove()


@dataclass
class Stage:
    """A paper exchange and its connector."""

    running: RunningExchange
    paper: PaperServer
    exchange: PaperExchange
    bybit: Bybit

    def caught_up(self) -> bool:
        """Whether the account has lived through all that the source has."""
        now = self.bybit.running.now_ms()
        return self.exchange.now_ms() == now and self.running.venue.engine.state.header.settled_ms == now

    def move(self, span_ms: int) -> None:
        """The source's clock moves on, and paper follows."""
        self.bybit.running.advance(span_ms)
        until(self.caught_up)

    def buy(self, name: str = "one", qty: str = "0.01", stop: str = "99600", target: str = "101000") -> Decimal:
        """The average price of the fill."""
        link = self.exchange.order_ids.encode(name)
        self.exchange.place_order(
            OrderRequest(
                symbol=SYMBOL, side=Side.BUY, qty=D(qty), order_link_id=link, stop_loss=D(stop), take_profit=D(target)
            )
        )
        order = self.exchange.find_order(SYMBOL, link)
        assert order is not None
        assert order.average_price is not None
        return order.average_price

    def kinds(self) -> list[FillKind]:
        return [one.kind for one in self.exchange.executions(T0, self.exchange.now_ms() + 1)]


@contextmanager
def bybit_plays(*minutes: tuple[float, float, float, float]) -> Iterator[Bybit]:
    """Minutes from `START` on; BTC stands before them and behind them."""
    script = {SYMBOL: {T0 - HOUR: FLAT} | {START + place * MINUTE: one for place, one in enumerate(minutes)}}
    clock = ClockSpec(ClockMode.MANUAL, START + 1000)
    with serve_in_thread(ServeConfig(clock=clock), FakeMarket(script, funding=0.0002)) as running:
        yield Bybit(running)


@contextmanager
def paper_on(bybit: Bybit, home: Path | None = None, **serve: Any) -> Iterator[Stage]:
    config = PaperConfig(find_source(bybit.running.url, "com", None), ServeConfig(home=home, **serve), poll_s=0.05)
    with paper_in_thread(config) as (running, paper):
        settings = load_settings(simulator_url=bybit.running.url)
        transport = Transport(Connection(url=running.url, keys=account_keys()), limited=False)
        exchange = PaperExchange(transport, EMBEDDED.open_market_data(settings), max_clock_offset_ms=1000)
        stage = Stage(running, paper, exchange, bybit)
        until(stage.caught_up)
        yield stage
        exchange.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_an_order_fills_at_the_price_that_the_other_exchange_shows() -> None:
    with bybit_plays(FLAT) as bybit, paper_on(bybit) as stage:
        shown = EMBEDDED.open_market_data(load_settings(simulator_url=bybit.running.url)).ticker(SYMBOL)
        assert stage.exchange.ticker(SYMBOL) == shown
        assert stage.buy() == shown.ask
        assert (
            stage.exchange.market()
            == EMBEDDED.open_market_data(load_settings(simulator_url=bybit.running.url)).market()
        )
        listed = {
            one.symbol: one
            for one in EMBEDDED.open_market_data(load_settings(simulator_url=bybit.running.url)).instruments()
        }
        assert {one.symbol: one for one in stage.exchange.instruments()} == listed
        held = stage.exchange.position(SYMBOL)
        assert held is not None
        assert (held.size, held.stop_loss, held.take_profit) == (D("0.01"), D(99600), D(101000))


@pytest.mark.slow
def test_a_stop_is_filled_where_the_other_exchange_fell_through_it() -> None:
    with bybit_plays(FLAT, FALL, AFTER) as bybit, paper_on(bybit) as stage:
        stage.buy()
        for _ in range(24):
            stage.move(5000)
        assert stage.exchange.position(SYMBOL) is None
        (closed,) = stage.exchange.closed_pnl(T0, stage.exchange.now_ms() + 1)
        # How far it has fallen when paper hears of it is the machine's matter; farther than to the low it has not.
        assert D(99_000) <= closed.exit_price <= D(99_600)
        assert START + MINUTE < closed.updated_ms <= stage.exchange.now_ms()
        filled = [one for one in stage.exchange.executions(T0, stage.exchange.now_ms() + 1) if one.closed_size]
        assert [one.purpose for one in filled] == [OrderPurpose.STOP]


def test_funding_is_paid_at_the_rate_of_the_other_exchange() -> None:
    with bybit_plays(FLAT) as bybit, paper_on(bybit) as stage:
        stage.buy()
        stage.bybit.running.set_clock(T0 + 8 * HOUR - 30_000)
        until(stage.caught_up)
        stage.move(31_000)
        paid = [
            one for one in stage.exchange.executions(T0, stage.exchange.now_ms() + 1) if one.kind is FillKind.FUNDING
        ]
        assert [one.fee for one in paid] == [D("0.0002") * D("0.01") * D(100_000)]


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"where": "ws:*", "silence": True}, id="silent"),
        pytest.param({"where": "ws:*", "drop": True}, id="cut"),
        pytest.param({"where": "ws:publicTrade.*", "silence": True}, id="no trades"),
    ],
)
def test_what_the_stream_misses_is_filled_by_candles(rule: dict[str, Any]) -> None:
    """The fall and the way back lie in one leap: only the candle knows of them."""
    back = (99_500.0, 100_000.0, 99_500.0, 100_000.0)
    with bybit_plays(FLAT, FALL, back) as bybit, paper_on(bybit) as stage:
        stage.buy()
        stage.move(10_000)
        bybit.arm(**rule)
        stage.move(5 * MINUTE)
        assert stage.exchange.ticker(SYMBOL).last == D(100_000)
        (closed,) = stage.exchange.closed_pnl(T0, stage.exchange.now_ms() + 1)
        assert START + MINUTE <= closed.updated_ms <= START + 2 * MINUTE
        assert D(98_990) <= closed.exit_price <= D(99_600)
        bybit.heal()
        stage.move(1000)
        assert stage.buy("two", target="101000") > D(100_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"http_status": 403}, id="403"),
        pytest.param({"html": True}, id="html"),
        pytest.param({"ret_code": 10006}, id="10006"),
        pytest.param({"http_status": 502}, id="502"),
        pytest.param({"leave_out": True}, id="empty"),
        pytest.param({"set": {"lastPrice": ""}}, id="no price"),
    ],
)
def test_nothing_is_traded_while_the_other_exchange_tells_nothing(rule: dict[str, Any]) -> None:
    with bybit_plays(FLAT, FALL, AFTER) as bybit, paper_on(bybit) as stage:
        stage.buy()
        bybit.arm(where="ws:*", silence=True)
        bybit.arm(where="GET /v5/market/tickers", **rule)
        bybit.arm(where="GET /v5/market/kline", http_status=502)
        bybit.running.advance(20_000)
        # Its clock stands where it was told last; so a price is refused by its age alone once time is known.
        stage.paper.market._now_ms = bybit.running.now_ms
        stage.running.venue.clock._wall = bybit.running.now_ms  # type: ignore[attr-defined]
        with pytest.raises(OrderRejectedError, match="no price of BTCUSDT"):
            stage.buy("two")
        with pytest.raises(ExchangeUnavailableError, match="no price"):
            stage.exchange.set_stops(SYMBOL, D(99_000), D(101_000))
        assert stage.exchange.position(SYMBOL) is not None  # reading goes on
        bybit.heal()
        bybit.running.advance(5 * MINUTE)
        until(stage.caught_up)
        assert stage.exchange.position(SYMBOL) is None  # its stop was lived through


def test_an_old_answer_is_no_price_of_now() -> None:
    with bybit_plays(FLAT, FALL, AFTER) as bybit, paper_on(bybit) as stage:
        stage.buy()
        bybit.arm(where="ws:*", silence=True)
        bybit.arm(where="GET /v5/market/kline", stand_still=True)
        stage.paper.feed._rows.missed(SYMBOL, START)
        bybit.running.advance(10 * MINUTE)
        until(lambda: stage.exchange.now_ms() == bybit.running.now_ms())
        with pytest.raises(OrderRejectedError, match="caught up with"):
            stage.buy("two")
        bybit.heal()
        until(stage.caught_up)
        assert stage.exchange.position(SYMBOL) is None


def test_the_account_outlives_the_process_and_lives_through_the_time_between(home: Path) -> None:
    with bybit_plays(FLAT, FALL, AFTER) as bybit:
        with paper_on(bybit, home) as stage:
            stage.buy()
            number = stage.exchange.account_shape(SYMBOL).user_id
        bybit.running.advance(10 * MINUTE)
        with paper_on(bybit, home) as stage:
            until(stage.caught_up)
            assert stage.exchange.account_shape(SYMBOL).user_id == number
            (closed,) = stage.exchange.closed_pnl(T0, stage.exchange.now_ms() + 1)
            assert START + MINUTE <= closed.updated_ms <= START + 2 * MINUTE
            bought, sold = stage.exchange.executions(T0, stage.exchange.now_ms() + 1)
            wallet = stage.exchange.wallet()
            spent = bought.fee + sold.fee + (bought.price - sold.price) * D("0.01")
            assert wallet.wallet_balance == D(10_000) - spent


def test_a_restart_while_the_other_exchange_is_away_tells_what_is_there_and_trades_nothing(home: Path) -> None:
    with bybit_plays(FLAT) as bybit, paper_on(bybit, home) as stage:
        stage.buy()
    config = PaperConfig(find_source_of(stage), ServeConfig(home=home), poll_s=0.05)
    with paper_in_thread(config) as (running, _):
        transport = Transport(Connection(url=running.url, keys=account_keys()), limited=False)
        exchange = PaperExchange(transport, stage.exchange, max_clock_offset_ms=1000)
        assert exchange.now_ms() == stage.running.venue.engine.state.header.settled_ms  # nobody tells a later time
        held = exchange.position(SYMBOL)
        assert held is not None
        assert held.mark_price == D(100_000)  # as it was told last
        with pytest.raises(OrderRejectedError, match="no price"):
            exchange.place_order(OrderRequest(symbol=SYMBOL, side=Side.SELL, qty=D("0.01"), order_link_id="a"))
    empty = PaperConfig(config.source, ServeConfig(home=home / "other"), poll_s=0.05)
    with pytest.raises(ExchangeError):
        PaperServer(empty)
    PaperServer(config).server.close()  # nothing is left held


def find_source_of(stage: Stage) -> Any:
    return stage.paper.feed._source


def test_two_paper_exchanges_never_serve_one_account_and_a_port_that_is_taken_is_told(home: Path) -> None:
    with bybit_plays(FLAT) as bybit, paper_on(bybit, home) as stage:
        source = find_source(bybit.running.url, "com", None)
        with pytest.raises(ConfigurationError, match="another embedded exchange serves the account"):
            PaperServer(PaperConfig(source, ServeConfig(home=home)))
        with pytest.raises(ConfigurationError, match="Choose another port"):
            port = int(stage.running.url.rpartition(":")[2])
            PaperServer(PaperConfig(source, ServeConfig(home=home / "other", port=port)))
        with pytest.raises(ConfigurationError, match="is a paper exchange itself"):
            find_source(stage.running.url, "com", None)
        assert stage.buy() > 0


def test_an_account_of_one_market_is_not_continued_on_another(home: Path) -> None:
    with bybit_plays(FLAT) as bybit, paper_on(bybit, home) as stage:
        source = stage.paper.feed._source
    with serve_in_thread(ServeConfig(symbols=3, seed=9)) as other:
        found = find_source(other.url, "com", None)
        assert found.market != source.market
        with pytest.raises(ConfigurationError, match="belongs to the live market"):
            PaperServer(PaperConfig(found, ServeConfig(home=home)))


def test_a_contract_that_is_delisted_with_a_position_in_it_is_closed_and_the_rest_trades_on() -> None:
    with bybit_plays(FLAT) as bybit, paper_on(bybit) as stage:
        stage.buy()
        bybit.running.venue.transact(lambda now: None)
        market = bybit.running.venue.market
        market.contracts = {name: one for name, one in market.contracts.items() if name != SYMBOL}
        bybit.arm(where="ws:*", silence=True)
        for _ in range(3):
            stage.paper.feed._list()
        stage.bybit.running.advance(1000)
        until(lambda: stage.exchange.position("ALTUSDT") is None and FillKind.SETTLEMENT in stage.kinds())
        assert not stage.running.venue.followed()
        with pytest.raises(OrderRejectedError):
            stage.buy("two")


def test_a_listing_that_is_odd_closes_nothing() -> None:
    with bybit_plays(FLAT) as bybit, paper_on(bybit) as stage:
        stage.buy()
        bybit.arm(where="GET /v5/market/instruments-info", leave_out=True)
        for _ in range(5):
            with pytest.raises(ExchangeUnavailableError, match="lists 0 contracts"):
                stage.paper.feed._list()
        assert stage.exchange.position(SYMBOL) is not None


def test_one_odd_time_does_not_move_the_clock() -> None:
    clock = SourceTime(1.0)
    for _ in range(5):
        clock.tell(1_000_000)
    clock.tell(99_000_000)
    assert clock.now_ms() < 1_010_000
    stopped = SourceTime(0.0)
    assert stopped.now_ms() == 0
    stopped.tell(5)
    assert stopped.now_ms() == 5
    stopped.tell(3)
    assert stopped.now_ms() == 5  # never backwards


@pytest.mark.slow
def test_research_is_of_the_other_exchange_and_the_account_of_this_machine(home: Path) -> None:
    settings = Settings(venue="paper", paper_market_url="http://127.0.0.1:9", _env_file=None)  # type: ignore[call-arg]
    assert settings.venue.adapter.candle_folder == "bybit"
    with pytest.raises(ExchangeUnavailableError, match="no embedded exchange answers"):
        settings.venue.adapter.open_market_data(settings)
    with pytest.raises(ExchangeUnavailableError, match="PAPER_MARKET_URL"):
        settings.venue.adapter.open_exchange(settings)


@pytest.mark.slow
def test_the_paper_exchange_starts_on_first_use_and_is_found_by_the_next_process(home: Path) -> None:
    from trading_assets.simulator.files import SERVER_INFO

    with bybit_plays(FLAT) as bybit:
        settings = load_settings(venue="paper", paper_market_url=bybit.running.url, simulator_idle_stop_s=60, home=home)
        first = settings.venue.adapter.open_exchange(settings)
        second = settings.venue.adapter.open_exchange(settings)
        try:
            assert first.wallet().equity == D(10_000)
            assert first.account_shape(SYMBOL) == second.account_shape(SYMBOL)
            other = load_settings(venue="simulator", home=home)
            with pytest.raises(ConfigurationError, match="exchange stop"):
                other.venue.adapter.open_exchange(other)
        finally:
            import json

            import requests

            url = json.loads((settings.simulator_home / SERVER_INFO).read_text())["url"]
            requests.post(f"{url}/admin/stop", timeout=10)
            until(lambda: not (settings.simulator_home / SERVER_INFO).exists())
