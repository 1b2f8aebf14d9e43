"""Fixtures of the scenes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from trading_assets.ledger.database import Database
from trading_assets_tests.wild_account.scene import ROOMY, Console, Scene, open_scene


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A scene takes a third of a second of the processor, and there are hundreds: the rest of a module is slow."""
    kinds: set[Path] = set()
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        if item.path in kinds:
            item.add_marker(pytest.mark.slow)
        else:
            kinds.add(item.path)


@pytest.fixture
def make_scene(sqlite: Database) -> Iterator[Callable[..., Scene]]:
    """Opens the scene of a test, with settings of its own."""
    with ExitStack() as stack:
        yield lambda **changes: open_scene(stack, sqlite, **changes)


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    """A scene with the project's own settings, and 10,000 USDT."""
    return make_scene()


@pytest.fixture
def roomy(make_scene: Callable[..., Scene]) -> Scene:
    """A scene in which no limit of the account is in the way."""
    return make_scene(**ROOMY)


@pytest.fixture
def console(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Console:
    """The command line on `scene`."""
    return Console(scene, monkeypatch, tmp_path)


@pytest.fixture
def skip_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the monotonic clock of this process ahead by seconds."""
    real, ahead = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])

    def skip(seconds: float) -> None:
        ahead[0] += seconds

    return skip


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
