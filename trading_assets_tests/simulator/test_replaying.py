"""The embedded exchange on a replay: clock, account and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pybit.exceptions import InvalidRequestError

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.ledger import deliveries
from trading_assets.ledger.database import Database
from trading_assets.reporting.load import endings
from trading_assets.reporting.trades import Ending
from trading_assets.simulator.__main__ import parser
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.market.replay import ReplayMarket
from trading_assets.simulator.server import ServeConfig, open_venue
from trading_assets.venues import open_market_data
from trading_assets_tests.simulator.clients import get, pybit_session
from trading_assets_tests.simulator.market.recordings import T0, walk, write

MANUAL = ClockSpec(ClockMode.MANUAL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    late = walk("5m", 288, symbol="LATEUSDT", start_ms=T0 + 6 * DAY_MS)
    return write(tmp_path, "candles.parquet", walk("5m", 8 * 288), late)


def test_a_position_lives_through_recorded_candles(path: Path) -> None:
    with serve_in_thread(ServeConfig(replay=(path,), clock=MANUAL)) as running:
        assert running.now_ms() == T0 + 2 * DAY_MS
        session = pybit_session(running.url)
        session.place_order(category="linear", symbol="ABCUSDT", side="Buy", orderType="Market", qty="100")
        running.advance(9 * HOUR_MS)
        [position] = session.get_positions(category="linear", symbol="ABCUSDT")["result"]["list"]
        [newest, *_] = session.get_kline(category="linear", symbol="ABCUSDT", interval="5")["result"]["list"]
        assert float(position["size"]) == 100
        assert float(newest[4]) == running.venue.market.last_price("ABCUSDT", running.now_ms())
        rates = session.get_executions(category="linear", execType="Funding")["result"]["list"]
        assert [row["feeRate"] for row in rates] == ["0.0001"]


def starts(session: object, symbol: str, interval: str) -> list[int]:
    answer = session.get_kline(category="linear", symbol=symbol, interval=interval, limit=1000)  # type: ignore[attr-defined]
    return sorted(int(row[0]) for row in answer["result"]["list"])


def test_no_candle_is_shown_that_is_shorter_than_what_is_recorded(tmp_path: Path) -> None:
    """Replayed 5m data once gave 1m and 3m backtests of prices that nobody had recorded."""
    minutes = walk("1m", 600, symbol="FINEUSDT", start_ms=T0 + 2 * DAY_MS)
    coarse = walk("5m", 2 * 288, symbol="FINEUSDT")
    path = write(tmp_path, "candles.parquet", walk("5m", 4 * 288), coarse, minutes)
    clock = replace(MANUAL, start_ms=T0 + 2 * DAY_MS + 10 * HOUR_MS)
    with serve_in_thread(ServeConfig(replay=(path,), clock=clock)) as running:
        session = pybit_session(running.url)
        assert starts(session, "ABCUSDT", "1") == starts(session, "ABCUSDT", "3") == []
        assert len(starts(session, "ABCUSDT", "5")) == 697 and starts(session, "ABCUSDT", "60")
        one = starts(session, "FINEUSDT", "1")
        assert one[0] == T0 + 2 * DAY_MS and len(one) == 600
        assert get(running.url, "/admin/health").json()["finest_minutes"] == 1
        assert running.venue.market.last_price("ABCUSDT", running.now_ms() - 90_000) > 0


def test_a_replay_says_its_shortest_candles_to_the_pipeline(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_in_thread(ServeConfig(replay=(path,), clock=MANUAL)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        assert open_market_data(load_settings()).finest_timeframe() is Timeframe.M5
    with serve_in_thread(ServeConfig(symbols=3, clock=MANUAL)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        assert open_market_data(load_settings()).finest_timeframe() is Timeframe.M1


def test_a_symbol_is_listed_from_its_first_candle_on(path: Path) -> None:
    with serve_in_thread(ServeConfig(replay=(path,), clock=MANUAL)) as running:
        rows = get(running.url, "/v5/market/tickers?category=linear").json()["result"]["list"]
        assert [row["symbol"] for row in rows] == ["ABCUSDT"]
        answer = get(running.url, "/v5/market/tickers?category=linear&symbol=LATEUSDT").json()
        assert answer["retCode"] == 10001
        assert "LATEUSDT is recorded from 2025-10-16T00:00:00Z" in answer["retMsg"]
        running.advance(4 * DAY_MS + MINUTE_MS)
        rows = get(running.url, "/v5/market/tickers?category=linear").json()["result"]["list"]
        assert [row["symbol"] for row in rows] == ["ABCUSDT", "LATEUSDT"]


def delisted(folder: Path, told: str | None = None) -> Path:
    """Nine days of one coin, and of another one that is not traded after six and a half of them."""
    gone = walk("5m", 6 * 288 + 144, symbol="GONEUSDT", seed=5)
    flat = walk("5m", 2 * 288, symbol="GONEUSDT", start_ms=END_MS).assign(volume=0.0, turnover=0.0)
    for name in ("open", "high", "low", "close"):
        flat[name] = gone["close"].iloc[-1]
    if told is not None:
        columns = "symbol,minimum_price_variation,lot_size,minimum_order_size,delivery_ms,delivery_price\n"
        (folder / "instruments.csv").write_text(f"{columns}ABCUSDT,0.0005,0.1,0.1,,\nGONEUSDT,0.0005,0.1,0.1,{told}\n")
    return write(folder, "candles.parquet", walk("5m", 9 * 288), gone, flat)


END_MS = T0 + 6 * DAY_MS + 12 * HOUR_MS


@pytest.mark.parametrize("told", [None, f"{END_MS - 30 * MINUTE_MS},1.25"])
def test_a_coin_that_is_delisted_is_announced_delivered_and_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite: Database, told: str | None
) -> None:
    """Its last price stood still for ever, and so did its positions."""
    end_ms = END_MS if told is None else END_MS - 30 * MINUTE_MS
    clock = replace(MANUAL, start_ms=T0 + 2 * DAY_MS)
    with serve_in_thread(ServeConfig(replay=(delisted(tmp_path, told),), clock=clock)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        market, session = open_market_data(load_settings()), pybit_session(running.url)

        def listed() -> dict[str, int | None]:
            return {one.symbol: one.delivery_ms for one in market.instruments()}

        def held() -> list[float]:
            rows = session.get_positions(category="linear", symbol="GONEUSDT")["result"]["list"]
            return [float(row["size"]) for row in rows if float(row["size"])]

        assert listed() == {"ABCUSDT": None, "GONEUSDT": end_ms}
        deliveries.note(sqlite, "simulator", market.instruments(), running.now_ms())
        session.place_order(category="linear", symbol="GONEUSDT", side="Buy", orderType="Market", qty="100")
        running.advance(end_ms - running.now_ms() - 1)
        assert held() == [100]
        last = running.venue.market.mark_price("GONEUSDT", end_ms)
        assert abs(last - running.venue.market.last_price("GONEUSDT", end_ms)) < 0.02 if told is None else last == 1.25
        running.advance(1)
        assert held() == [] and listed() == {"ABCUSDT": None}
        [ended] = session.get_executions(category="linear", symbol="GONEUSDT", execType="Delivery")["result"]["list"]
        assert (int(ended["execTime"]), float(ended["execPrice"]), float(ended["execFee"])) == (end_ms, last, 0)
        with pytest.raises(InvalidRequestError, match="not live"):
            session.place_order(category="linear", symbol="GONEUSDT", side="Buy", orderType="Market", qty="100")
        running.advance(DAY_MS)
        candles = market.candles("GONEUSDT", Timeframe.M60, T0, running.now_ms())
        assert candles.end_ms[-1] == END_MS  # the hour in which it ended is its last one
        assert endings(market, sqlite, "simulator") == {"GONEUSDT": Ending(end_ms)}


def test_the_end_of_a_recording_is_nobodys_end_and_no_delisting_is_known_more_than_a_week_before(
    tmp_path: Path,
) -> None:
    late, short = walk("1h", 24 * 20, symbol="ABCUSDT"), walk("1h", 24 * 19 + 1, symbol="SHORTUSDT")
    gone = walk("1h", 24 * 12, symbol="GONEUSDT")
    market = ReplayMarket([write(tmp_path, "candles.parquet", late, short, gone)])
    assert {name: one.delivery_ms for name, one in market.contracts.items() if one.delivery_ms} == {
        "GONEUSDT": T0 + 12 * DAY_MS
    }
    ended = market.contracts["GONEUSDT"]
    assert [ended.told_delivery_ms(T0 + 5 * DAY_MS + offset) for offset in (-1, 0)] == [0, T0 + 12 * DAY_MS]


def test_a_new_account_begins_where_there_is_history_and_a_stored_one_resumes(path: Path, tmp_path: Path) -> None:
    config = ServeConfig(home=tmp_path / "home", replay=(path,))
    venue = open_venue(config)
    assert venue.clock.mode is ClockMode.ACCELERATED
    assert T0 + 2 * DAY_MS <= venue.clock.now_ms() < T0 + 2 * DAY_MS + MINUTE_MS
    venue.close()
    resumed = open_venue(config)
    assert resumed.clock.now_ms() < T0 + 2 * DAY_MS + MINUTE_MS
    resumed.close()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda config, path: replace(config, replay=(path, path.with_name("more.parquet"))), "recording [0-9a-f]{16}"),
        (lambda config, path: replace(config, replay=()), "seeded market of seed 7"),
        (lambda config, path: replace(config, seed=8), "seed 8"),
    ],
    ids=["other files", "no replay", "other seed"],
)
def test_an_account_keeps_to_its_recording(
    path: Path, tmp_path: Path, changed: Callable[[ServeConfig, Path], ServeConfig], message: str
) -> None:
    write(tmp_path, "more.parquet", walk("5m", 20, symbol="MOREUSDT"))
    config = ServeConfig(home=tmp_path / "home", replay=(path,), clock=MANUAL)
    open_venue(config).close()
    with pytest.raises(ConfigurationError, match=message):
        open_venue(changed(config, path))


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        (ClockSpec(ClockMode.REAL), "real clock"),
        (ClockSpec(ClockMode.MANUAL, T0 - 1), "runs from 2025-10-10T00:00:00Z to 2025-10-18T00:00:00Z"),
        (ClockSpec(ClockMode.ACCELERATED, T0 + 8 * DAY_MS), "choose one in it"),
    ],
    ids=["real", "before", "after"],
)
def test_a_clock_outside_the_recording_is_refused(path: Path, clock: ClockSpec, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_venue(ServeConfig(replay=(path,), clock=clock))


def test_the_process_takes_several_files() -> None:
    options = parser().parse_args(["--home", "h", "--replay", "a.parquet", "b.csv"])
    assert options.replay == [Path("a.parquet"), Path("b.csv")]
