"""Settings: defaults, clear messages for malformed values, secrets that stay secret, generated documents."""

from pathlib import Path

import pytest

from trading_assets.core.errors import ConfigurationError, MissingKeysError
from trading_assets.core.settings import RENAMED, Settings, Venue, default_home, load_settings
from trading_assets.exchange.keys import load_keys
from trading_assets.reference import settings_page

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TRADING_ASSETS_VENUE", "TRADING_ASSETS_HOME", "BYBIT_API_KEY", "BYBIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)


def test_the_default_is_the_embedded_exchange_without_keys() -> None:
    settings = load_settings()
    assert settings.venue is Venue.SIMULATOR
    assert settings.automation_on
    assert str(settings.resolved_database_url).startswith("sqlite:///")


def test_an_unknown_venue_is_named_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "binance")
    with pytest.raises(ConfigurationError, match=r"TRADING_ASSETS_VENUE.*simulator.*mainnet.*binance"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_POSITIONS", "many"),
        ("MAX_POSITIONS", "0"),
        ("LEVERAGE", "1000"),
        ("SLIPPAGE_BPS", "-1"),
        ("PARTITIONS_START", "2026-01-01T00:30:00Z"),
        ("SELECTION_PRESET", "lucky"),
        ("ACCOUNT", "a b"),
    ],
)
def test_a_malformed_value_is_named_with_what_was_found(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TRADING_ASSETS_{name}", value)
    with pytest.raises(ConfigurationError, match=f"TRADING_ASSETS_{name}.*{value[:4]}"):
        load_settings()


def test_mainnet_needs_a_second_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "mainnet")
    with pytest.raises(ConfigurationError, match="TRADING_ASSETS_ALLOW_MAINNET"):
        load_settings()
    monkeypatch.setenv("TRADING_ASSETS_ALLOW_MAINNET", "true")
    settings = load_settings()
    assert settings.venue is Venue.MAINNET
    assert not settings.automation_on


def test_missing_keys_are_named_and_blank_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "demo")
    monkeypatch.setenv("BYBIT_API_KEY", "abc")
    monkeypatch.setenv("BYBIT_API_SECRET", " ")
    with pytest.raises(MissingKeysError, match="BYBIT_API_SECRET is not set"):
        load_keys(load_settings(), testnet=False)


def test_secrets_are_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYBIT_API_KEY", "visible-key-123")
    monkeypatch.setenv("BYBIT_API_SECRET", "visible-secret-456")
    settings = load_settings()
    keys = load_keys(settings, testnet=False)
    assert (keys.key.get_secret_value(), keys.secret.get_secret_value()) == ("visible-key-123", "visible-secret-456")
    shown = repr(settings) + repr(keys) + str(settings.model_dump()) + str(settings_page.current_values(settings))
    assert "visible" not in shown


def test_a_malformed_secret_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(api_key=["visible-key-123"])
    assert "visible" not in str(raised.value)


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_a_renamed_setting_still_works_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_KEEP_LOOKS_DAYS", "3.5")
    with pytest.warns(FutureWarning, match="KEEP_LOOKS_DAYS is now TRADING_ASSETS_KEEP_EVALUATIONS_DAYS"):
        assert load_settings().keep_evaluations_days == 3.5
    monkeypatch.setenv("TRADING_ASSETS_KEEP_LOOKS_DAYS", "")
    with pytest.warns(FutureWarning):
        assert load_settings().keep_evaluations_days is None


def test_a_renamed_setting_in_the_file_gives_way_to_the_same_value_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.env").write_text("trading_assets_keep_looks_days=3\n")
    monkeypatch.setenv("TRADING_ASSETS_CONFIG", str(tmp_path / "mine.env"))
    monkeypatch.setenv("TRADING_ASSETS_KEEP_EVALUATIONS_DAYS", "3")
    with pytest.warns(FutureWarning):
        assert load_settings().keep_evaluations_days == 3
    monkeypatch.setenv("TRADING_ASSETS_KEEP_EVALUATIONS_DAYS", "4")
    with pytest.raises(
        ConfigurationError, match=r"KEEP_LOOKS_DAYS is '3' and .*KEEP_EVALUATIONS_DAYS is '4'.*remove it"
    ):
        load_settings()


def test_every_former_name_stands_for_a_setting_of_today() -> None:
    assert set(RENAMED.values()) <= set(Settings.model_fields)
    assert not set(RENAMED) & set(Settings.model_fields)


def test_the_home_is_in_the_checkout() -> None:
    assert default_home() == Path(__file__).resolve().parents[2] / ".trading_assets"
