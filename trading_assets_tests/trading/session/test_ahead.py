"""What is read ahead of a close: no request lies before an order then, and what is in doubt is read before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest

from trading_assets.core.errors import ExchangeUnavailableError, OrderRejectedError
from trading_assets.core.models import OrderRequest, Side, UnreadableRow
from trading_assets.core.streams import AccountChanged, Down, Up
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.ledger import switches
from trading_assets.ledger.database import Database
from trading_assets.trading import keeper as keeping
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute import submit
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.keeper import Keeper
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session import ahead
from trading_assets.trading.session.ahead import CloseWatch, ReadAhead
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on

SYMBOLS = ("AUSDT", "BUSDT", "CUSDT", "DUSDT")
ALL = frozenset({"order", "execution", "position", "wallet"})


def changed(*symbols: str, kinds: frozenset[str] = ALL) -> AccountChanged:
    return AccountChanged(kinds, frozenset(symbols), 0)


@dataclass
class Scene:
    """A harness whose context has a keeper, with a moment and a stream that a test moves."""

    harness: Harness
    moment: float = 100.0
    heard_at: float = 100.0
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keeper = Keeper(lambda: self.heard_at, lambda: self.harness.exchange.time_ms, lambda: self.moment)
        self.context = replace(self.harness.context, keeper=self.keeper)
        self.ahead = ReadAhead(self.keeper, lambda: self.context, lambda: SYMBOLS)
        reconcile(self.context)
        self.context.contracts.get(self.harness.exchange, set(SYMBOLS), self.context.wall_ms())
        self.harness.exchange.on_call = self.asked.append
        self.keeper.hear(Up(()))

    def prepare(self) -> None:
        """Leverages are set, and everything is read."""
        self.ahead.set_leverages()
        self.ahead.read()
        self.asked.clear()

    def later(self, seconds: float) -> None:
        """Time passes; the stream is heard all the while."""
        self.moment += seconds
        self.heard_at += seconds

    def before_the_first_order(self) -> list[str]:
        """What was asked before it: with more than one lane in any order."""
        first = min(self.asked.index(name) for name in ("place_order", "place_orders") if name in self.asked)
        return sorted(self.asked[:first])


@pytest.fixture
def scene(sqlite: Database) -> Scene:
    return Scene(harness_on(sqlite, *SYMBOLS))


def test_no_request_lies_before_the_orders_of_a_close(scene: Scene, sqlite: Database) -> None:
    scene.prepare()
    identities = [add_signal(sqlite, symbol) for symbol in SYMBOLS]
    assert sorted(submit_orders(replace(scene.context, workers=1)).executed) == sorted(identities)
    assert scene.before_the_first_order() == []
    assert "set_leverage" not in scene.asked
    scene.harness.require_consistent(*identities)


def test_a_reading_serves_one_round(scene: Scene, sqlite: Database) -> None:
    scene.prepare()
    add_signal(sqlite, "AUSDT")
    submit_orders(scene.context)
    scene.asked.clear()
    add_signal(sqlite, "BUSDT")
    submit_orders(scene.context)
    assert {"positions", "wallet"} <= set(scene.before_the_first_order())


def _told_of_it(scene: Scene) -> None:
    scene.keeper.hear(changed("AUSDT"))


def _lies(scene: Scene) -> None:
    scene.keeper.hear(changed("DUSDT", kinds=frozenset({"position"})))


def _cannot_be_read(scene: Scene) -> None:
    scene.keeper.hear(changed())


def _tells_of_the_wallet(scene: Scene) -> None:
    scene.keeper.hear(changed(kinds=frozenset({"wallet"})))


def _is_down(scene: Scene) -> None:
    scene.keeper.hear(Down("cut"))


def _is_up_again(scene: Scene) -> None:
    scene.keeper.hear(Down("cut"))
    scene.keeper.hear(Up(()))


def _is_up_again_unseen(scene: Scene) -> None:
    scene.keeper.hear(Up(()))


def _is_silent(scene: Scene) -> None:
    scene.heard_at = scene.moment - keeping.HEARD_WITHIN_S - 0.1


def _leaves_out_the_fill(scene: Scene) -> None:
    scene.later(keeping.READING_AGE_S + 0.1)


def _clock_goes_back(scene: Scene) -> None:
    scene.moment -= 1.0


DOUBTS: list[Callable[[Scene], None]] = [
    *(_told_of_it, _lies, _cannot_be_read, _tells_of_the_wallet, _is_down, _is_up_again, _is_up_again_unseen),
    *(_is_silent, _leaves_out_the_fill, _clock_goes_back),
]


@pytest.mark.parametrize("when", ["before the signals", "after the decision", "before the reservation"])
@pytest.mark.parametrize("doubt", DOUBTS, ids=[one.__name__.lstrip("_") for one in DOUBTS])
def test_a_fill_of_others_that_the_reading_lacks_is_read_before_anything_is_sent(
    scene: Scene, sqlite: Database, monkeypatch: pytest.MonkeyPatch, doubt: Callable[[Scene], None], when: str
) -> None:
    """Somebody opens a position in a coin of ours. Whatever the stream makes of it, what was read is not used."""
    scene.prepare()

    def happens() -> None:
        scene.harness.exchange.open_foreign("AUSDT")
        doubt(scene)
        scene.asked.clear()

    if when == "before the signals":
        happens()
    first, second = add_signal(sqlite, "AUSDT", confidence=90.0), add_signal(sqlite, "BUSDT")
    if when == "after the decision":
        happens()
    if when == "before the reservation":
        real, left = submit.checks.blocked, [happens]

        def late(*given: object, **more: object) -> dict[str, str]:
            if left:
                left.pop()()
            return real(*given, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(submit.checks, "blocked", late)
    report = submit_orders(scene.context)
    assert report.executed == [second]
    assert "AUSDT has an open position" in report.rejected[first]
    assert {"positions", "wallet", "ticker"} <= set(scene.before_the_first_order())


def test_where_it_cannot_be_read_again_nothing_is_sent(scene: Scene, sqlite: Database) -> None:
    scene.prepare()
    scene.keeper.hear(Down("cut"))
    identity = add_signal(sqlite, "AUSDT")
    scene.harness.exchange.fail("positions", ExchangeUnavailableError("502"), times=99)
    report = submit_orders(scene.context)
    assert "cannot be read" in report.refused[identity] and scene.harness.exchange.accepted == []


def test_what_changes_while_it_is_read_makes_the_reading_void(scene: Scene) -> None:
    scene.harness.exchange.on_call = lambda name: scene.keeper.hear(changed("AUSDT")) if name == "wallet" else None
    scene.ahead.read()
    assert scene.keeper.take() is None


def test_a_reading_that_fails_leaves_none(scene: Scene) -> None:
    scene.harness.exchange.fail("tickers", ExchangeUnavailableError("502"), times=9)
    scene.ahead.read()
    assert scene.keeper.take() is None


def test_the_venues_time_is_never_before_that_of_the_last_reading(scene: Scene) -> None:
    exchange = scene.harness.exchange
    assert scene.keeper.now_ms() is None
    scene.ahead.read()
    read_ms = exchange.time_ms
    exchange.time_ms -= 60_000  # the stream lags, or lies
    assert scene.keeper.now_ms() == read_ms
    scene.later(keeping.READING_AGE_S + 0.1)
    assert scene.keeper.now_ms() is None, "it is asked"


# Leverages


def test_a_leverage_is_set_where_the_account_has_neither_position_nor_order(scene: Scene) -> None:
    exchange = scene.harness.exchange
    exchange.open_foreign("AUSDT")
    order = OrderRequest("BUSDT", Side.BUY, Decimal(1), "theirs", price=Decimal(50))
    exchange.place_order(order)
    exchange.unreadable["positions"] = [UnreadableRow("CUSDT", "no size")]
    scene.ahead.set_leverages()
    assert exchange.leverages == {"DUSDT": scene.context.settings.leverage}
    exchange.unreadable["positions"] = [UnreadableRow(None, "no symbol")]
    exchange.leverages.clear()
    scene.keeper.hear(Up(()))
    scene.ahead.set_leverages()
    assert exchange.leverages == {}, "the row may be of any coin"


def test_no_leverage_is_set_where_nothing_may_be_opened(scene: Scene, sqlite: Database) -> None:
    switches.set_switch(sqlite, "main", on=False, actor="me", reason="storm", wall_ms=5)
    scene.ahead.set_leverages()
    assert scene.harness.exchange.leverages == {}


def test_somebody_who_comes_meanwhile_ends_the_look(scene: Scene) -> None:
    exchange = scene.harness.exchange

    def comes(name: str) -> None:
        if name == "set_leverage":
            scene.keeper.hear(changed("DUSDT", kinds=frozenset({"execution"})))

    exchange.on_call = comes
    assert scene.ahead.set_leverages() == ahead.LEVERAGES_AGAIN_S
    assert len(exchange.leverages) == 1


@pytest.mark.parametrize(
    "event",
    [
        changed("AUSDT", kinds=frozenset({"order"})),
        changed("AUSDT", kinds=frozenset({"execution"})),
        changed("AUSDT", kinds=frozenset({"position"})),
        changed(),
        Down("cut"),
        Up(()),
        "old",
        "silent",
        "another leverage",
    ],
    ids=["order", "fill", "position", "unreadable", "down", "up", "old", "silent", "another leverage"],
)
def test_a_leverage_in_doubt_is_set_before_the_order(scene: Scene, sqlite: Database, event: object) -> None:
    scene.ahead.set_leverages()
    position = frozenset({"position"})
    for symbol in SYMBOLS:
        scene.keeper.hear(changed(symbol, kinds=position))  # so the stream tells what we did
    assert scene.keeper.without_leverage(SYMBOLS, scene.context.settings.leverage) == []
    if event == "old":
        scene.later(keeping.LEVERAGE_AGE_S + 1)
    elif event == "silent":
        scene.later(1)
        _is_silent(scene)
    elif event == "another leverage":
        changed_settings = scene.context.settings.model_copy(update={"leverage": Decimal(3)})
        scene.context = replace(scene.context, settings=changed_settings)
    else:
        scene.keeper.hear(event)  # type: ignore[arg-type]
    scene.asked.clear()
    add_signal(sqlite, "AUSDT")
    submit_orders(scene.context)
    assert scene.asked.index("set_leverage") < scene.asked.index("place_order")
    assert scene.harness.exchange.leverages["AUSDT"] == scene.context.settings.leverage


def test_what_is_told_of_a_coin_while_its_leverage_is_set_counts(scene: Scene) -> None:
    keeper, leverage = scene.keeper, Decimal(10)
    keeper.setting("AUSDT")
    keeper.hear(changed("AUSDT", kinds=frozenset({"execution"})))
    keeper.has_set("AUSDT", leverage)
    assert not keeper.has_leverage("AUSDT", leverage)


def test_a_leverage_that_is_refused_is_left_to_the_order(scene: Scene) -> None:
    scene.harness.exchange.fail("set_leverage", OrderRejectedError("no", code=110013))
    scene.ahead.set_leverages()
    assert len(scene.harness.exchange.leverages) == len(SYMBOLS) - 1


def test_a_context_without_a_keeper_reads_everything(scene: Scene, sqlite: Database) -> None:
    add_signal(sqlite, "AUSDT")
    context: ExecutionContext = replace(scene.context, keeper=None)
    submit_orders(context)
    assert {"now_ms", "positions", "wallet", "ticker", "set_leverage"} <= set(scene.before_the_first_order())


# When


@pytest.mark.parametrize("pace", [1, 10])
def test_a_close_is_near_once_a_second_before_it_however_fast_the_market_is(pace: int) -> None:
    watch, near = CloseWatch(), []
    for tenth in range(1, 2000):
        moment = tenth / 10
        heard_at = moment - moment % 0.5
        if watch.is_near([Timeframe.M1, Timeframe.M5], int(heard_at * 1000 * pace) or 1, heard_at, moment):
            near.append(moment * pace % 60)
    assert len(near) == 200 * pace // 60
    assert all(60 - 1.2 * pace <= second < 60 for second in near[1:])


def test_without_coins_or_time_no_close_is_near() -> None:
    assert not CloseWatch().is_near([], MINUTE_MS - 1, 1.0, 1.0)
    assert not CloseWatch().is_near([Timeframe.M1], 0, 1.0, 1.0)
