"""The table of Bybit's venues: the page shows it, the connector follows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trading_assets.core.errors import SymbolUnavailableError
from trading_assets.core.settings import Venue, load_settings
from trading_assets.exchange.venue_profiles import PROFILES, VenueProfile
from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.venues import bybit
from trading_assets.venues.behaviour import behaviour_of
from trading_assets.venues.bybit import DEMO, MAINNET, TESTNET
from trading_assets.venues.differences import told_differences

PAGE = Path(__file__).parents[2] / "docs" / "venues.md"


def cells(profile: VenueProfile) -> list[str]:
    def host(part: str) -> str:
        return f"`{part}.bybit.com`"

    return [
        host(profile.rest),
        host(profile.public_stream),
        host(profile.private_stream),
        "Bybit's" if profile.shares_mainnets_market else "its own",
        profile.keys_at,
        ", ".join(f"`{path}`" for path in profile.paths) or "none",
        "yes" if profile.trade_stream else "no",
        "yes" if profile.isolated_margin else "no",
        f"{profile.order_days} days",
        profile.limits,
        profile.fills,
        profile.money,
    ]


def test_the_page_shows_the_table() -> None:
    text = PAGE.read_text().partition("<!-- venues: begin -->\n")[2].partition("<!-- venues: end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.strip().splitlines()]
    assert rows[0][1:] == list(PROFILES)
    columns = list(zip(*[row[1:] for row in rows[2:]], strict=True))
    assert [list(column) for column in columns] == [cells(profile) for profile in PROFILES.values()]


@pytest.mark.parametrize("venue", [MAINNET, TESTNET, DEMO], ids=lambda venue: venue.profile.name)
def test_what_is_missing_is_not_asked_for(venue: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BYBIT_API_KEY", DEFAULT_API_KEY)
    monkeypatch.setenv("BYBIT_API_SECRET", DEFAULT_API_SECRET)
    adapter = replace(venue)  # type: ignore[type-var]
    profile = adapter.profile  # type: ignore[attr-defined]
    with serve_in_thread(ServeConfig(symbols=2, behaviour=behaviour_of(profile))) as running:
        settings = load_settings(home=tmp_path, limits_dir=tmp_path / "limits")
        at = replace(adapter, url=running.url)  # type: ignore[type-var]
        asked, fully = at.open_exchange(settings), at.fully_asking().open_exchange(settings)  # type: ignore[attr-defined]
        assert (asked.api_key() is None) is ("get_api_key_information" in profile.missing)
        assert (fully.api_key() is None) is ("get_api_key_information" in profile.missing)
        if "get_fee_rates" not in profile.missing:
            assert asked.fee_rates()
            return
        with pytest.raises(SymbolUnavailableError, match="it was not asked"):
            asked.fee_rates()
        with pytest.raises(SymbolUnavailableError, match="Demo trading are not supported"):
            fully.fee_rates()


@pytest.mark.parametrize(("like", "is_odd"), [("demo", False), ("mainnet", True)])
def test_a_venue_that_answers_otherwise_than_the_table_is_told(
    like: str, is_odd: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BYBIT_API_KEY", DEFAULT_API_KEY)
    monkeypatch.setenv("BYBIT_API_SECRET", DEFAULT_API_SECRET)
    with serve_in_thread(ServeConfig(symbols=2, behaviour=behaviour_of(PROFILES[like]))) as running:
        monkeypatch.setattr(bybit, "DEMO", replace(DEMO, url=running.url))
        settings = load_settings(venue=Venue.DEMO, home=tmp_path, limits_dir=tmp_path / "limits")
        text, odd = told_differences(settings)
    assert odd is is_odd
    assert ("tell the project" in text) is is_odd
    assert ("orders are kept 7 days" in text) is not is_odd
    assert told_differences(load_settings(home=tmp_path)) == ("none: an embedded exchange", False)
