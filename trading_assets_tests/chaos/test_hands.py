"""What a person does by hand is what the trial believes that they did, though they saw the account before."""

from __future__ import annotations

import random
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from trading_assets.chaos.hands import Hands
from trading_assets.chaos.truth import Truth
from trading_assets.core.models import Position, Side
from trading_assets_tests.fakes import an_instrument

Levels = tuple[Decimal | None, Decimal | None]


class Account:
    """The levels of one position, as the exchange has them; nothing else happens."""

    def __init__(self, stop: Decimal, target: Decimal) -> None:
        self.levels: Levels = stop, target

    def set_levels(self, _symbol: str, stop: str | None = None, target: str | None = None) -> None:
        self.levels = (
            self.levels[0] if stop is None else Decimal(stop) or None,
            self.levels[1] if target is None else Decimal(target) or None,
        )

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments, **_options: None


def test_two_acts_on_a_position_that_was_seen_once_are_remembered_as_they_came_out() -> None:
    stop, target = Decimal("75.721"), Decimal("70.918")
    seen = Position(
        symbol="AUSDT",
        side=Side.SELL,
        size=Decimal(1),
        entry_price=Decimal(74),
        mark_price=Decimal("74.256"),
        leverage=Decimal(10),
        unrealised_pnl=Decimal(0),
        realised_pnl=Decimal(0),
        liquidation_price=None,
        stop_loss=stop,
        take_profit=target,
        position_idx=0,
        opened_ms=0,
        updated_ms=0,
    )
    moved = 0
    for seed in range(200):
        account = Account(stop, target)
        exchange = SimpleNamespace(open_orders=list, ticker=lambda _symbol: SimpleNamespace(last=Decimal(74)))
        hands = Hands(
            account,  # type: ignore[arg-type]
            exchange,  # type: ignore[arg-type]
            {"AUSDT": an_instrument("AUSDT"), "BUSDT": an_instrument("BUSDT")},
            ["AUSDT"],
            ["BUSDT"],
            "CUSDT",
            random.Random(seed),
        )
        truth = Truth(SimpleNamespace())  # type: ignore[arg-type]
        truth.ours["AUSDT"]["ours"] = Decimal(1)
        for _ in range(6):
            hands.act([seen], truth)
        moved += len(hands.moved)
        assert account.levels == hands.moved.get("AUSDT", (stop, target)), seed
    assert moved > 50
