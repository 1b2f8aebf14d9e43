"""The settings: checked, and what follows from them. Nothing here reads a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from pydantic import PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from trading_assets.core.configuration import PREFIX
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.flags import Flag, Flags

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from sqlalchemy import URL

from trading_assets.core.ports import VenueSymbols
from trading_assets.core.settings.by_name import ByName
from trading_assets.core.settings.fields import Fields
from trading_assets.core.settings.secrets import SECRET_NAMES, SECRET_SETTINGS

DASHBOARD_PORT = 3001
"""Of the live page, where it is wanted and no setting names another one."""


class Settings(Fields):
    """All settings. Use `load_settings()`: it turns a malformed value into one clear message."""

    # What the ledger said on top of environment and file; `accounts.effective` sets it.
    _version: int = PrivateAttr(0)
    _flags: Flags = PrivateAttr(default_factory=Flags)
    _is_named: bool = PrivateAttr(default=False)

    def __hash__(self) -> int:
        # Pydantic's own cannot hash what is given by name.
        values = (getattr(self, name) for name in type(self).model_fields)
        return hash(tuple(tuple(one.items()) if isinstance(one, dict) else one for one in values))

    @field_validator(
        "backfill_hours_per_run",
        "backtest_capital",
        "min_trades",
        "min_win_rate",
        "min_profit_factor",
        "max_backtest_drawdown_pct",
        "min_pnl",
        "keep_research_runs_days",
        "keep_trading_runs_days",
        "keep_rows_days",
        "seal_results_after_days",
        "keep_results_days",
        "keep_selections_days",
        "keep_evaluations_days",
        "keep_candles_days",
        "monitor_port",
        "dashboard_port",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("parameters")
    @classmethod
    def _word_or_file(cls, value: str) -> str:
        if value in ("described", "declared"):
            return value
        if not Path(value).expanduser().is_file():
            raise ValueError("expected described, declared, or the path of a TOML or JSON file; there is no such file")
        return value

    @field_validator(
        "ui_origins",
        "notify_urls",
        "notify_rules",
        "strategies",
        "telegram_users",
        "telegram_chats",
        mode="before",
    )
    @classmethod
    def _list_of_json(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("is no JSON; expected such as .env.example has") from None

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("partitions_start")
    @classmethod
    def _whole_hour_utc(cls, value: datetime) -> datetime:
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        if value.minute or value.second or value.microsecond:
            raise ValueError(f"must be a whole hour, found {value.isoformat()}")
        return value

    @field_validator("api_key", "api_secret")
    @classmethod
    def _blank_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is not None and value.get_secret_value().strip() else None

    @model_validator(mode="after")
    def _mainnet_behind_two_switches(self) -> Self:
        if self.venue.adapter.is_real_money and not self.allow_mainnet:
            raise ValueError(
                f"venue is {self.venue.value} (real money) but {PREFIX}ALLOW_MAINNET is not true; set both, or use "
                "another venue"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then the environment, then the file: each by our names alone, since `API_KEY` is anybody's."""
        return (
            init_settings,
            *(
                ByName(cls, one.env_vars)
                for one in (env_settings, dotenv_settings)
                if isinstance(one, EnvSettingsSource)
            ),
        )

    @property
    def version(self) -> int:
        """The newest change of the ledger that these settings know; 0 before the first, or where it was not asked."""
        return self._version

    @property
    def flags(self) -> Flags:
        """The flags that hold with these settings."""
        return self._flags

    def changed(self, given: Mapping[str, object], *, version: int | None = None, flags: Flags | None = None) -> Self:
        """Return the settings with other values of some, which are checked as those of a file are, and as a whole.

        Args:
            given: values, or their text as in a file, by the setting's name.

        Raises:
            ConfigurationError: a value is malformed, or they contradict each other.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields} | dict(given)
        try:
            checked = _AsGiven(**values) if given else self
        except ValidationError as error:
            faults = "; ".join(fault(item) for item in error.errors(include_url=False))
            raise ConfigurationError(f"malformed setting: {faults}") from None
        copy = self.model_copy(update={name: getattr(checked, name) for name in given})
        copy._version = self._version if version is None else version
        copy._flags = self._flags if flags is None else flags
        copy._is_named = self._is_named
        return copy

    def differences(self, before: Settings) -> str:
        """Say what is other than before, in one line; secrets are not shown."""
        names = [name for name in type(self).model_fields if name not in SECRET_SETTINGS]
        pairs = [(name, getattr(before, name), getattr(self, name)) for name in names]
        told = [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
        for whose, old, new in (
            ("all accounts", before.flags.common, self.flags.common),
            ("the account", before.flags.own, self.flags.own),
        ):
            changed = [flag for flag in Flag if old.get(flag) != new.get(flag)]
            told += [f"flag {flag.value} of {whose} {old.get(flag, '-')} -> {new.get(flag, '-')}" for flag in changed]
        return "; ".join(told) or "nothing of this account"

    def as_named(self) -> Self:
        """Return the settings as those of an account besides the installation's own."""
        copy = self.model_copy()
        copy._is_named = True
        return copy

    @property
    def symbols(self) -> VenueSymbols:
        """The venue's name of the BTC perpetual, and its settle coin."""
        return self.venue.adapter.symbols

    @property
    def resolved_database_url(self) -> str | URL:
        """The setting, or the file in the home: made of parts, since a path may hold what means something in a URL."""
        from sqlalchemy import URL  # noqa: PLC0415 (costs half a second, and few ask)

        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return URL.create("sqlite", database=str(self.home / "trading_assets.db"))

    @property
    def target_notional(self) -> Decimal:
        """Value of one position in USD: `position_size` itself, or the position behind that margin."""
        return self.position_size if self.sizing == "notional" else self.position_size * self.leverage

    @property
    def backtest_notional(self) -> float:
        """Capital and notional of a simulated trade, USD: that of a live position unless a person says otherwise."""
        return float(self.target_notional) if self.backtest_capital is None else self.backtest_capital

    @property
    def liquidation_distance(self) -> float:
        """Distance from the entry at which the margin of a position is used up, a fraction of the entry's price."""
        return max(float(1 / self.leverage - self.maintenance_margin_pct / 100), 0.0)

    @property
    def automation_on(self) -> bool:
        """Default state of every schedule and sensor that can lead to an order."""
        return self.automation == "on" or (self.automation == "auto" and self.venue.adapter.is_simulated)

    @property
    def candle_store(self) -> Path:
        return self.home / "candles" / self.venue.adapter.candle_folder

    @property
    def live_page_url(self) -> str:
        """Where the live page is seen: as the setting says, else at this machine's own address."""
        return (self.dashboard_url or f"http://127.0.0.1:{self.dashboard_port or DASHBOARD_PORT}").rstrip("/")

    def chart_url(self, what: str) -> str:
        """Where the live page draws an order, a signal or a selection (`2026-03-02-05:00/ETHUSDT`) on its candles."""
        return f"{self.live_page_url}/chart?{urlencode({'what': what})}"

    @property
    def is_named(self) -> bool:
        """Whether they are those of a named account; else of the account of environment and file."""
        return self._is_named

    @property
    def simulator_home(self) -> Path:
        """Directory of the embedded exchange: a named account has one of its own, as each has one account."""
        return self.home / "accounts" / self.account / "exchange" if self._is_named else self.home / "exchange"


class _AsGiven(Settings):
    """Settings of the values given alone: neither environment nor file is looked at."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given."""
        return (init_settings,)


def fault(item: ErrorDetails) -> str:
    location = str(item["loc"][0]) if item["loc"] else ""
    name = location if location.isupper() else f"{PREFIX}{location.upper()}"
    found = "" if location in SECRET_NAMES or not location else f" (found {item['input']!r})"
    message = re.sub(r"^Value error, ", "", item["msg"])
    return f"{name}: {message}{found}" if location else message
