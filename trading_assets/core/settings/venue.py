"""The setting that says where candles come from and orders go to."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    pass
from trading_assets.core.ports import VenueAdapter


class Venue(StrEnum):
    """Where candles come from and orders go to: the setting's value, and where the venue's adapter is."""

    HISTORY = "history", "trading_assets.venues.history:HISTORY"
    SIMULATOR = "simulator", "trading_assets.venues.embedded:EMBEDDED"
    PAPER = "paper", "trading_assets.venues.paper:PAPER"
    DEMO = "demo", "trading_assets.venues.bybit:DEMO"
    TESTNET = "testnet", "trading_assets.venues.bybit:TESTNET"
    MAINNET = "mainnet", "trading_assets.venues.bybit:MAINNET"

    location: str

    def __new__(cls, value: str, location: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.location = location
        return member

    @property
    def adapter(self) -> VenueAdapter:
        """What opens the venue. Its module is imported on first use: a venue that is not asked for costs nothing."""
        module, _, name = self.location.partition(":")
        adapter: VenueAdapter = getattr(import_module(module), name)
        return adapter
