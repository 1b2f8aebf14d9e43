"""Kind 12: a stop that a person moved, or a target that was taken off, is told; a setting says what is put back."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_assets_tests.wild_account.proxy import POSITIONS
from trading_assets_tests.wild_account.scene import Scene

SIDES = pytest.mark.parametrize("long", [True, False], ids=["long", "short"])


def _looser(stop: Decimal, *, long: bool) -> Decimal:
    """Farther from the price by a tenth."""
    return (stop * (Decimal("0.9") if long else Decimal("1.1"))).quantize(Decimal("0.1"))


def _tighter(scene: Scene, stop: Decimal) -> Decimal:
    """Half way to the price."""
    return ((stop + scene.last_price("ETHUSDT")) / 2).quantize(Decimal("0.1"))


def _stop(scene: Scene) -> Decimal:
    stop = scene.stop("ETHUSDT")
    assert stop is not None
    return stop


@pytest.mark.slow
@SIDES
@pytest.mark.parametrize("setting", ["keep", "restore"])
def test_a_looser_stop_is_put_back_and_told(make_scene: Callable[..., Scene], setting: str, long: bool) -> None:
    scene = make_scene(changed_stops=setting)
    (identity,) = scene.enter("ETHUSDT", long=long)
    before = _stop(scene)
    scene.stops_by_hand("ETHUSDT", stop=_looser(before, long=long))
    scene.passes(2)
    assert _stop(scene) == before and scene.hears("ETHUSDT", "stop") and scene.is_ours(identity)


def test_a_stop_moved_far_away_is_put_back(scene: Scene) -> None:
    """With the project's own settings; the target of another position is taken off in the same minute."""
    scene.enter("ETHUSDT", "SOLUSDT")
    before = _stop(scene)
    scene.stops_by_hand("ETHUSDT", stop=500)
    scene.stops_by_hand("SOLUSDT", target=0)
    scene.passes(2)
    assert _stop(scene) == before
    assert scene.hears("ETHUSDT", "stop") and scene.hears("SOLUSDT", "target")


@SIDES
def test_a_tighter_stop_is_left_and_told(make_scene: Callable[..., Scene], long: bool) -> None:
    scene = make_scene(changed_stops="keep")
    (identity,) = scene.enter("ETHUSDT", long=long)
    tighter = _tighter(scene, _stop(scene))
    scene.stops_by_hand("ETHUSDT", stop=tighter)
    report = scene.passes(2)[-1]
    assert _stop(scene) == tighter and scene.is_ours(identity)
    assert any(symbol == "ETHUSDT" for symbol, _ in report.differences) and scene.hears("ETHUSDT", "stop")


@SIDES
def test_a_tighter_stop_is_put_back_where_the_setting_says_so(make_scene: Callable[..., Scene], long: bool) -> None:
    scene = make_scene(changed_stops="restore")
    scene.enter("ETHUSDT", long=long)
    before = _stop(scene)
    scene.stops_by_hand("ETHUSDT", stop=_tighter(scene, before))
    scene.passes(2)
    assert _stop(scene) == before and scene.hears("ETHUSDT", "stop")


@pytest.mark.parametrize(("setting", "is_back"), [("keep", False), ("restore", True)])
@pytest.mark.parametrize("target", [0, "moved"])
def test_a_target_taken_or_moved_is_told(
    make_scene: Callable[..., Scene], setting: str, is_back: bool, target: object
) -> None:
    scene = make_scene(changed_stops=setting)
    scene.enter("ETHUSDT")
    leg = scene.leg("ETHUSDT")
    assert leg is not None and leg.target is not None
    moved = 0 if target == 0 else (leg.target * Decimal("1.1")).quantize(Decimal("0.1"))
    scene.stops_by_hand("ETHUSDT", target=moved)
    scene.passes(2)
    now = scene.leg("ETHUSDT")
    assert now is not None and now.stop == leg.stop
    assert now.target == (leg.target if is_back else (moved or None))
    assert scene.hears("ETHUSDT", "target")


@pytest.mark.parametrize("setting", ["keep", "restore"])
def test_a_stop_taken_off_is_always_put_back(make_scene: Callable[..., Scene], setting: str) -> None:
    scene = make_scene(changed_stops=setting)
    scene.enter("ETHUSDT")
    before = _stop(scene)
    scene.stops_by_hand("ETHUSDT", stop=0)
    scene.passes(1)
    assert _stop(scene) == before and scene.hears("ETHUSDT", "stop")


def test_a_stop_put_back_does_not_take_a_persons_target_away(make_scene: Callable[..., Scene]) -> None:
    """The stop is gone, the target was moved by the person: under `keep` only the stop is ours to set."""
    scene = make_scene(changed_stops="keep")
    scene.enter("ETHUSDT")
    leg = scene.leg("ETHUSDT")
    assert leg is not None and leg.target is not None
    moved = (leg.target * Decimal("1.1")).quantize(Decimal("0.1"))
    scene.stops_by_hand("ETHUSDT", stop=0, target=moved)
    scene.passes(2)
    now = scene.leg("ETHUSDT")
    assert now is not None and (now.stop, now.target) == (leg.stop, moved)


def test_a_changed_stop_is_told_once_an_episode(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    before = _stop(scene)
    for _ in range(2):
        scene.stops_by_hand("ETHUSDT", stop=_tighter(scene, before))
        scene.passes(3)
        assert len(scene.hears("ETHUSDT", "stop")) == 1
        scene.stops_by_hand("ETHUSDT", stop=before)
        scene.passes(1)
        scene.drain()


def test_an_unchanged_stop_is_no_difference(scene: Scene) -> None:
    scene.enter("ETHUSDT", "SOLUSDT", "DOGEUSDT")
    assert [report.differences for report in scene.passes(3)] == [[]] * 3 and scene.told == []


def test_the_stop_of_a_persons_own_position_is_a_persons(scene: Scene) -> None:
    scene.reconcile()
    scene.order("ETHUSDT", "Buy", "0.03")
    scene.later(1)
    scene.stops_by_hand("ETHUSDT", stop=1000)
    scene.passes(2)
    assert scene.stop("ETHUSDT") == 1000


def test_a_trailing_stop_of_a_person_is_told_once_and_left(make_scene: Callable[..., Scene]) -> None:
    """It may close our position before the signal's stop does."""
    scene = make_scene(changed_stops="restore")
    (identity,) = scene.enter("ETHUSDT")
    before = _stop(scene)
    scene.proxy.each_row(POSITIONS, lambda row: row.update(trailingStop="30"))
    report = scene.passes(3)[-1]
    assert [symbol for symbol, _ in report.differences] == ["ETHUSDT"]
    assert len(scene.hears("ETHUSDT", "trailing stop 30 behind")) == 1
    assert _stop(scene) == before and scene.is_ours(identity)
    scene.proxy.clear()
    assert scene.passes(1)[-1].differences == []
