"""What is on the disk belongs to its owner, and a name from outside does not lead elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.cli.doctor import examine
from trading_assets.core import private_files
from trading_assets.core.errors import DataError, StorageError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.exchange.rate_limiter import SharedRateLimiter
from trading_assets.ledger.database import Database
from trading_assets.market.store import CandleStore
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.risk import confirmations


@pytest.fixture(autouse=True)
def _open_umask() -> object:
    before = os.umask(0)
    yield None
    os.umask(before)


@pytest.mark.parametrize(
    "symbol", ["../../escaped/BTC", "/etc/x", "..", ".", "", "A/B", "A\\B", "A\x00", "A\n", "A" * 65]
)
def test_a_symbol_is_no_way_out_of_the_store(tmp_path: Path, symbol: str) -> None:
    store = CandleStore(tmp_path / "home" / "candles", btc="BTCUSDT")
    with pytest.raises(DataError, match="cannot name a file"):
        store.read(symbol, Timeframe.M60, 0, HOUR_MS)
    assert list(tmp_path.rglob("*BTC*")) == []
    for good in ("BTCUSDT", "1000PEPEUSDT", "BTC-27MAR26", "BTCUSDT-04DEC26", "a.b_c"):
        assert private_files.path_part(good) == good


def test_what_is_made_is_of_its_owner_alone(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    Database(settings.resolved_database_url).close()
    SharedRateLimiter(settings.home / "limits" / "x.limits")
    confirmations.create(settings, "resume", "me")
    private_files.write_private(settings.home / "page.html", "text")
    assert [str(path) for path in private_files.exposed(settings.home)] == []
    assert len(list(settings.home.rglob("*"))) >= 5


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(symbols=2)) as running:
        yield running


def test_the_doctor_takes_the_rights_of_others_away(tmp_path: Path, exchange: RunningExchange) -> None:
    settings = load_settings(home=tmp_path / "home", simulator_url=exchange.url)
    Database(settings.resolved_database_url).close()
    ledger = settings.home / "trading_assets.db"
    ledger.chmod(0o644)
    settings.home.chmod(0o755)
    assert set(private_files.exposed(settings.home)) == {ledger, settings.home}
    (finding,) = [one for one in examine(settings) if one.what == "rights of files"]
    assert finding.ok and "just now: 2" in finding.found
    assert list(private_files.exposed(settings.home)) == []


def test_a_folder_that_another_user_could_have_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "theirs")
    with pytest.raises(StorageError, match="not a directory of this user"):
        SharedRateLimiter(link / "x.limits")
    (tmp_path / "wide").mkdir(mode=0o777)
    SharedRateLimiter(tmp_path / "wide" / "x.limits")
    assert (tmp_path / "wide").stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StorageError, match="not a directory of this user"):
        SharedRateLimiter(tmp_path / "wide" / "x.limits")


def test_a_code_is_old_or_damaged_or_of_another_account(tmp_path: Path) -> None:
    from trading_assets.core.errors import ConfirmationError

    settings = load_settings(home=tmp_path)
    code = confirmations.create(settings, "flatten", "me", now_s=lambda: 1000.0)
    with pytest.raises(ConfirmationError, match="older than 10 minutes"):
        confirmations.use(settings, "flatten", code, now_s=lambda: 1601.0)
    code = confirmations.create(settings, "flatten", "me")
    with pytest.raises(ConfirmationError, match="account other"):
        confirmations.use(load_settings(home=tmp_path, account="other"), "flatten", code)
    code = confirmations.create(settings, "flatten", "me")
    assert confirmations.use(settings, "flatten", f" {code.lower()} ").actor == "me"
    for wrong in (code, "", "../../x", "A" * 10_000):
        with pytest.raises(ConfirmationError):
            confirmations.use(settings, "flatten", wrong)
    with pytest.raises(ConfirmationError, match="needs no confirmation"):
        confirmations.create(settings, "halt", "me")
