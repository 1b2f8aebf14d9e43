"""The checklist has a line for each named account: its keys can be read and are right, or it says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from trading_assets.accounts import master_keys, registry
from trading_assets.accounts.registry import AccountDraft
from trading_assets.accounts.sealing import Keys
from trading_assets.cli import doctor
from trading_assets.cli.doctor import Finding, Level
from trading_assets.core.errors import ExchangeFatalError, ExchangeUnavailableError, RateLimitedError
from trading_assets.core.models import ApiKeyInfo, PositionMode
from trading_assets.core.settings import Settings, load_settings
from trading_assets.ledger import switches
from trading_assets.ledger.database import Database
from trading_assets.trading.binding import require_bound
from trading_assets_tests.fakes import FakeExchange

KEY, SECRET = "a-key-that-is-hidden", "a-secret-that-is-hidden"


class Venue(FakeExchange):
    """An account at the venue, with what its key may do."""

    def __init__(self, user_id: str) -> None:
        super().__init__("BTCUSDT")
        self.shape = replace(self.shape, user_id=user_id)
        self.info = ApiKeyInfo(read_only=False, may_withdraw=False, addresses=("192.0.2.1",), expires_ms=None)
        self.error: Exception | None = None

    def api_key(self) -> ApiKeyInfo:
        if self.error is not None:
            raise self.error
        return self.info


@dataclass
class Scene:
    """A ledger with a named account, the file of its master key, and the accounts at the venue by name."""

    database: Database
    master: Path
    venues: dict[str, Venue] = field(default_factory=dict)
    opened_with: dict[str, Settings] = field(default_factory=dict)

    def open(self, settings: Settings) -> Venue:
        self.opened_with[settings.account] = settings
        return self.venues[settings.account]

    def findings(self) -> dict[str, Finding]:
        return {one.what: one for one in doctor._named_accounts(load_settings(lenient=True))}


@pytest.fixture
def scene(sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    found = Scene(sqlite, tmp_path / "keys" / "master", {"main": Venue("1"), "second": Venue("2")})
    master_keys.put_first(found.master)
    url = sqlite.url.render_as_string(hide_password=False)
    for name, value in {"DATABASE_URL": url, "ENCRYPTION_KEY_FROM": f"file:{found.master}", "VENUE": "demo"}.items():
        monkeypatch.setenv(f"TRADING_ASSETS_{name}", value)
    monkeypatch.setattr(doctor, "open_exchange", found.open)
    require_bound(sqlite, found.venues["main"], load_settings())
    keys = Keys(SecretStr(KEY), SecretStr(SECRET))
    registry.add(sqlite, load_settings(), AccountDraft("second", "demo", keys, {}, {}), actor="a test", reason="to see")
    return found


def test_each_named_account_has_a_line_and_its_own_keys_are_tried(scene: Scene) -> None:
    registry.add(
        scene.database,
        load_settings(),
        AccountDraft("third", "simulator", None, {}, {}),
        actor="a test",
        reason="to see",
    )
    found = scene.findings()
    assert {what: one.level for what, one in found.items()} == {"second": Level.OK, "third": Level.OK}
    assert "demo, off; read-write" in found["second"].found and "needs no keys" in found["third"].found
    held = scene.opened_with["second"].api_key
    assert held is not None and held.get_secret_value() == KEY and set(scene.opened_with) == {"second"}
    assert KEY not in str(found) and SECRET not in str(found)


def no_master_key(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRADING_ASSETS_ENCRYPTION_KEY_FROM")


def another_master_key(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.master.write_text(master_keys.new_key())


def no_file_of_the_master_key(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.master.unlink()


def refused(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.venues["second"].error = ExchangeFatalError("the venue does not know the key")


def silent(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.venues["second"].error = ExchangeUnavailableError("no answer; look at the network")


def banned(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.venues["second"].error = RateLimitedError("this address is banned for 9 s more")


def read_only(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.venues["second"].info = replace(scene.venues["second"].info, read_only=True)


def hedge_mode(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.venues["second"].shape = replace(scene.venues["second"].shape, position_mode=PositionMode.HEDGE)


def of_the_main_account(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.venues["second"] = scene.venues["main"]


def of_a_third_account(scene: Scene, _: pytest.MonkeyPatch) -> None:
    settings = load_settings().model_copy(update={"account": "second"})
    require_bound(scene.database, scene.venues["second"], settings)
    scene.venues["second"] = Venue("3")


def any_address(scene: Scene, _: pytest.MonkeyPatch) -> None:
    scene.venues["second"].info = replace(scene.venues["second"].info, addresses=())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "level", "says"),
    [
        (no_master_key, Level.FAULT, ("there is no master key", "ENCRYPTION_KEY_FROM", "no session of it starts")),
        (another_master_key, Level.FAULT, ("sealed by master key", "accounts rotate second")),
        (no_file_of_the_master_key, Level.FAULT, ("of the master key cannot be read",)),
        (refused, Level.FAULT, ("does not know the key", "accounts rotate second")),
        (silent, Level.FAULT, ("the keys can be read", "look at the network", "accounts test second")),
        (banned, Level.FAULT, ("the keys can be read", "banned for 9 s", "accounts test second")),
        (read_only, Level.FAULT, ("read-only", "accounts rotate second")),
        (hedge_mode, Level.FAULT, ("accounts prepare", "--account second")),
        (of_the_main_account, Level.FAULT, ("under the name 'main' already", "accounts rotate second")),
        (of_a_third_account, Level.FAULT, ("account number 3", "accounts rotate second")),
        (any_address, Level.ADVICE, ("restrict it to yours",)),
    ],
)
def test_what_is_wrong_with_an_account_is_found_and_says_what_to_do(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Scene, pytest.MonkeyPatch], None],
    level: Level,
    says: tuple[str, ...],
) -> None:
    spoil(scene, monkeypatch)
    switched_off = scene.findings()["second"]
    assert switched_off.level is Level.ADVICE, "nothing of it is traded"
    switches.set_switch(scene.database, "second", on=True, actor="a test", reason="to see", wall_ms=1)
    found = scene.findings()["second"]
    assert found.level is level and all(text in found.found for text in says), found
    assert KEY not in found.found and SECRET not in found.found


def test_without_a_ledger_the_point_of_the_database_says_so_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", "postgresql://a:b@127.0.0.1:9/x")
    assert scene.findings() == {}
