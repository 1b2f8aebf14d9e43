"""Every setting: its type, default, limits, description, and when it may change. What follows from it is in
`settings.model`.
"""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from trading_assets.core.configuration import PREFIX
from trading_assets.core.settings.fields.operation import OperationFields
from trading_assets.core.settings.fields.place import PlaceFields
from trading_assets.core.settings.fields.research import ResearchFields
from trading_assets.core.settings.fields.trading import TradingFields


class Fields(OperationFields, TradingFields, ResearchFields, PlaceFields):  # pydantic orders fields from the last base
    """The settings as they are given. Use `Settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        enable_decoding=False,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        defer_build=False,
    )
