"""Kind 9: position mode, margin mode, kind of account and settle coins are asked, and each is handled or refused in one
clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_assets.exchange.error_mapping import CODES, ErrorKind, kind_of_code
from trading_assets_tests.wild_account.proxy import ACCOUNT, CREATE, KEY, LEVERAGE, POSITIONS, WALLET, Row
from trading_assets_tests.wild_account.scene import Console, Scene, attempt

HEDGE, ONE_WAY = 3, 0


def _both_legs(scene: Scene, symbol: str = "LTCUSDT") -> None:
    scene.human.switch_position_mode(category="linear", symbol=symbol, mode=HEDGE)
    scene.order(symbol, "Buy", "1", positionIdx=1)
    scene.later(1)
    scene.order(symbol, "Sell", "2", positionIdx=2)


@pytest.mark.slow
def test_both_legs_of_a_person_break_nothing(scene: Scene) -> None:
    (eth,) = scene.enter("ETHUSDT")
    _both_legs(scene)
    report = scene.passes(3)[-1]
    assert any(symbol == "LTCUSDT" for symbol, _ in report.differences) and scene.hears("LTCUSDT")
    scene.close_by_hand("ETHUSDT")
    scene.passes(1)
    assert scene.intent(eth)["status"] == "closed"
    sol = scene.signal("SOLUSDT")
    assert sol in scene.submit().executed
    held = {(row["symbol"], row["side"]) for row in scene.rows("SELECT * FROM positions")}
    assert held >= {("LTCUSDT", "Buy"), ("LTCUSDT", "Sell")}
    scene.passes(1)
    scene.require_equal_sums()


def test_flatten_leaves_the_legs_of_a_person(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    _both_legs(scene)
    report = scene.flatten()
    assert set(report.closed) == {"ETHUSDT"} and scene.size("LTCUSDT", 1) == 1 and scene.size("LTCUSDT", 2) == 2


def test_flatten_foreign_closes_both_legs(scene: Scene) -> None:
    scene.reconcile()
    _both_legs(scene)
    scene.order("ADAUSDT", "Buy", "100")
    scene.later(1)
    report = scene.flatten(foreign=True)
    assert scene.legs() == [] and report.left == {}


def test_one_leg_with_our_name_on_the_coin(scene: Scene) -> None:
    """A coin is in hedge mode, and flat: an entry in it is made on its leg, or refused with a sentence about the
    mode."""
    scene.reconcile()
    scene.human.switch_position_mode(category="linear", symbol="LTCUSDT", mode=HEDGE)
    identity = scene.signal("LTCUSDT")
    attempt(scene.submit)
    if scene.signal_status(identity) == "executed":
        assert scene.size("LTCUSDT", 1) > 0
    else:
        assert scene.size("LTCUSDT", 1) == 0 and scene.hears("hedge mode")


def test_other_coins_are_entered_beside_one_in_hedge_mode(scene: Scene) -> None:
    scene.reconcile()
    _both_legs(scene)
    ltc, *good = [scene.signal(symbol) for symbol in ("LTCUSDT", "SOLUSDT", "XRPUSDT")]
    report = scene.submit()
    assert set(report.executed) == set(good) and scene.signal_status(ltc) != "executed"


def test_a_switch_to_hedge_mode_after_the_start_is_noticed(scene: Scene) -> None:
    """The whole account, by a person, between two signals."""
    scene.reconcile()
    scene.human.switch_position_mode(category="linear", coin="USDT", mode=HEDGE)
    identity = scene.signal("ETHUSDT")
    attempt(scene.submit)
    assert scene.signal_status(identity) == "executed" or scene.hears("hedge mode")
    if scene.signal_status(identity) == "executed":
        scene.passes(1)
        assert scene.is_ours(identity) and scene.leg("ETHUSDT", 1) is not None
        scene.flatten()
        assert scene.legs() == []


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_hedged_leg_of_a_person_in_the_coin_of_a_signal(scene: Scene, side: str) -> None:
    """The other leg is a person's: whatever becomes of our signal, that leg keeps its size and gets no stop."""
    scene.reconcile()
    scene.human.switch_position_mode(category="linear", symbol="LTCUSDT", mode=HEDGE)
    idx, order_side = (2, "Sell") if side == "long" else (1, "Buy")
    scene.order("LTCUSDT", order_side, "2", positionIdx=idx)
    scene.later(1)
    scene.signal("LTCUSDT", long=side == "long")
    attempt(scene.submit)
    scene.passes(2)
    leg = scene.leg("LTCUSDT", idx)
    assert leg is not None and (leg.size, leg.stop) == (2, None)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("hedge", "hedge"),
        ("isolated", "isolated"),
        ("portfolio", "portfolio"),
        ("classic", "unified"),
        ("read only", "read-only"),
    ],
)
def test_doctor_names_the_shape_of_the_account(scene: Scene, console: Console, shape: str, words: str) -> None:
    if shape == "hedge":
        scene.human.switch_position_mode(category="linear", coin="USDT", mode=HEDGE)
    elif shape == "isolated":
        scene.human.set_margin_mode(setMarginMode="ISOLATED_MARGIN")
    elif shape == "portfolio":
        scene.proxy.rewrite(ACCOUNT, lambda _, answer: answer["result"].update(marginMode="PORTFOLIO_MARGIN"))
    elif shape == "classic":
        scene.proxy.rewrite(ACCOUNT, lambda _, answer: answer["result"].update(unifiedMarginStatus=1))
        scene.proxy.rewrite(KEY, lambda _, answer: answer["result"].update(uta=0, unified=0))
        scene.proxy.refuse(WALLET, 10028, "The API can only be accessed by unified account users.")
    else:
        scene.proxy.rewrite(KEY, lambda _, answer: answer["result"].update(readOnly=1))
    assert words in console.text("doctor")


def test_doctor_is_content_with_one_way_and_cross(console: Console) -> None:
    result = console.run("doctor")
    assert result.exit_code == 0 and "one-way" in result.output.lower()


def test_accounts_prepare_asks_and_sets_what_may_be_set(scene: Scene, console: Console) -> None:
    scene.human.switch_position_mode(category="linear", coin="USDT", mode=HEDGE)
    scene.human.set_margin_mode(setMarginMode="ISOLATED_MARGIN")
    refused = console.run("accounts", "prepare", typed="n\n")
    assert refused.exit_code == 1 and _margin_mode(scene) == "ISOLATED_MARGIN"
    assert console.run("accounts", "prepare", typed="y\ny\ny\n").exit_code == 0
    assert _margin_mode(scene) == "REGULAR_MARGIN"
    scene.reconcile()
    identity = scene.signal("ETHUSDT")
    assert identity in scene.submit().executed and scene.leg("ETHUSDT", 0) is not None


def test_accounts_prepare_says_what_stands_in_its_way(scene: Scene, console: Console) -> None:
    """Positions are open: the mode cannot be switched now."""
    _both_legs(scene)
    result = console.run("accounts", "prepare", "--yes")
    text = f"{result.output} {result.exception or ''}".lower()
    assert result.exit_code != 0 and "ltcusdt" in text and "no such command" not in text


def _margin_mode(scene: Scene) -> str:
    return str(scene.human.get_account_info()["result"]["marginMode"])


@pytest.mark.parametrize("code", [110024, 110028])
def test_a_hint_at_another_mode_is_no_alarm_of_the_whole_account(scene: Scene, code: int) -> None:
    """The leverage of one coin cannot be set because of its mode: the others are entered."""
    scene.reconcile()
    scene.proxy.refuse(LEVERAGE, code, "position mode", symbol="LTCUSDT")
    scene.signal("LTCUSDT")
    good = scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.signal_status(good) == "executed" and scene.size("LTCUSDT") == 0


def test_a_position_mode_refusal_of_the_order_is_told_as_such(scene: Scene) -> None:
    scene.reconcile()
    scene.proxy.refuse(CREATE, 10001, "position idx not match position mode")
    scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.hears("hedge mode")


def _usdc(scene: Scene, qty: str = "0.649") -> None:
    scene.money_by_hand("USDC", 10_000)
    scene.order("BTCPERP", "Buy", qty)
    scene.later(1)


@pytest.mark.parametrize(("symbol", "qty"), [("BTCUSDT", "0.324"), ("BTCUSDT-26MAR27", "0.324"), ("BTCPERP", "0.649")])
def test_exposure_is_that_of_every_settle_coin(scene: Scene, symbol: str, qty: str) -> None:
    """A person holds 220 % of the equity."""
    scene.reconcile()
    if symbol == "BTCPERP":
        _usdc(scene, qty)
    else:
        scene.order(symbol, "Buy", qty)
        scene.later(1)
    report = scene.passes(2)[-1]
    assert any(named == symbol for named, _ in report.differences) and scene.hears(symbol)
    identity = scene.signal("SOLUSDT")
    refused = scene.submit().refused
    assert "exposure" in refused.get(identity, "") and scene.size("SOLUSDT") == 0


def test_positions_of_every_settle_coin_are_in_the_books(scene: Scene) -> None:
    (eth,) = scene.enter("ETHUSDT")
    _usdc(scene, "0.01")
    scene.order("BTCUSDT-26MAR27", "Sell", "0.01")
    scene.passes(2)
    held = {row["symbol"] for row in scene.rows("SELECT symbol FROM positions")}
    assert held == {"ETHUSDT", "BTCPERP", "BTCUSDT-26MAR27"}
    scene.close_by_hand("BTCPERP")
    scene.passes(1)
    scene.require_equal_sums()
    assert scene.is_ours(eth) and all(row["signal_id"] is None for row in scene.closings())


def test_places_are_taken_by_every_settle_coin(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene(max_positions=2)
    scene.enter("ETHUSDT")
    _usdc(scene, "0.01")
    scene.passes(1)
    scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.size("SOLUSDT") == 0, "two of two places are taken"


def test_open_orders_of_every_settle_coin_are_told(scene: Scene) -> None:
    scene.reconcile()
    scene.money_by_hand("USDC", 10_000)
    scene.order("BTCPERP", "Buy", "0.01", orderType="Limit", price="20000", timeInForce="GTC")
    (report,) = scene.passes(1)
    assert any(symbol == "BTCPERP" for symbol, _ in report.differences)


def test_flatten_foreign_closes_every_settle_coin(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    _usdc(scene, "0.01")
    scene.order("BTCUSDT-26MAR27", "Sell", "0.01")
    scene.later(1)
    scene.flatten(foreign=True)
    assert scene.legs() == []


@pytest.mark.parametrize("words", [{"tradeMode": 1}, {"autoAddMargin": 1, "positionStatus": "Liq"}, {"leverage": ""}])
def test_rows_in_the_shape_of_another_margin_mode_are_read(scene: Scene, words: Row) -> None:
    (eth,) = scene.enter("ETHUSDT")
    scene.proxy.each_row(POSITIONS, lambda row: row.update(words))
    scene.passes(2)
    assert scene.is_ours(eth) and Decimal(scene.rows("SELECT size FROM positions")[0]["size"]) > 0


ASKED_AGAIN = {
    **dict.fromkeys((kind for kind in ErrorKind), False),
    **dict.fromkeys((ErrorKind.FATAL, ErrorKind.SHAPE, ErrorKind.BALANCE), True),
}
"""Which refusals of an order hint at how account and key are set up."""


@pytest.mark.parametrize("code", [*CODES, 10001, 999_999])
def test_account_and_key_are_asked_again_when_a_refusal_hints_at_them(scene: Scene, code: int) -> None:
    scene.reconcile()
    scene.proxy.refuse(CREATE, code, "no", symbol="SOLUSDT")
    scene.signal("SOLUSDT")
    before = scene.proxy.asked(ACCOUNT)
    attempt(scene.submit)
    assert scene.proxy.asked(CREATE) >= 1
    assert (scene.proxy.asked(ACCOUNT) > before) is ASKED_AGAIN[kind_of_code(code, "no")]


def _in_hedge_mode(scene: Scene) -> None:
    scene.human.switch_position_mode(category="linear", coin="USDT", mode=HEDGE)


def _in_portfolio_margin(scene: Scene) -> None:
    scene.proxy.rewrite(ACCOUNT, lambda _, answer: answer["result"].update(marginMode="PORTFOLIO_MARGIN"))


def _classic(scene: Scene) -> None:
    scene.proxy.rewrite(ACCOUNT, lambda _, answer: answer["result"].update(unifiedMarginStatus=1))


def _read_only(scene: Scene) -> None:
    scene.proxy.rewrite(KEY, lambda _, answer: answer["result"].update(readOnly=1))


def _expired(scene: Scene) -> None:
    scene.proxy.rewrite(KEY, lambda _, answer: answer["result"].update(expiredAt="2026-01-01T00:00:00Z"))


def _isolated(scene: Scene) -> None:
    scene.human.set_margin_mode(setMarginMode="ISOLATED_MARGIN")


@pytest.mark.parametrize(
    ("happens", "code", "words", "is_sent_again"),
    [
        (_in_hedge_mode, 110024, ("hedge mode", "accounts prepare"), False),
        (_in_portfolio_margin, 110028, ("portfolio margin",), False),
        (_classic, 10028, ("classic account",), True),
        (_read_only, 10005, ("read-only", "read-write"), True),
        (_expired, 33004, ("expired at",), True),
        (_isolated, 110007, ("isolated margin",), True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_has_changed_meanwhile_is_told_in_a_sentence(
    scene: Scene, happens: Callable[[Scene], None], code: int, words: tuple[str, ...], is_sent_again: bool
) -> None:
    """A session was content with the account when it began; then somebody changes it, and orders are refused."""
    scene.reconcile()
    happens(scene)
    scene.drain()
    scene.proxy.refuse(CREATE, code, "no")
    for symbol in ("SOLUSDT", "XRPUSDT"):
        scene.signal(symbol)
        attempt(scene.submit)
        scene.later(20)
    assert len([text for text in scene.hears(*words) if "order failed" not in text]) == (code != 110007)
    assert scene.hears(*words)
    assert (scene.proxy.asked(CREATE) > 1) is is_sent_again, "an account that cannot be traded is not asked to trade"


def test_an_account_that_can_be_traded_again_is_traded_again(scene: Scene) -> None:
    scene.reconcile()
    _in_hedge_mode(scene)
    identity = scene.signal("SOLUSDT")
    for _ in range(3):
        attempt(scene.submit)
        scene.later(20)
    assert scene.signal_status(identity) == "active" and len(scene.hears("hedge mode")) == 1
    scene.human.switch_position_mode(category="linear", coin="USDT", mode=ONE_WAY)
    assert identity in scene.submit().executed
    _in_hedge_mode(scene)
    assert scene.size("SOLUSDT") > 0
    scene.drain()
    scene.signal("XRPUSDT")
    attempt(scene.submit)
    assert len(scene.hears("hedge mode")) == 1, "it is another episode"
