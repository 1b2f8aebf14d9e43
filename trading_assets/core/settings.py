"""Every setting of the project, typed, in one place. `.env.example` lists them all.

Values come from the environment (prefix `TRADING_ASSETS_`, keys as `BYBIT_API_KEY`/`BYBIT_API_SECRET`) or the
configuration file that `core.configuration` finds. Nothing here reads or writes anything else.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, get_args

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from trading_assets.core import configuration
from trading_assets.core.configuration import KEY_VARIABLES, PREFIX, Given, default_home
from trading_assets.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from sqlalchemy import URL

    from trading_assets.core.ports import VenueAdapter, VenueSymbols

__all__ = ["PREFIX", "RENAMED", "Settings", "Venue", "default_home", "load_settings"]

RENAMED: Mapping[str, str] = {"keep_looks_days": "keep_evaluations_days"}
"""Settings by their former names, which still work and warn."""


class Venue(StrEnum):
    """Where candles come from and orders go to: the setting's value, and where the venue's adapter is."""

    SIMULATOR = "simulator", "trading_assets.venues.embedded:EMBEDDED"
    DEMO = "demo", "trading_assets.venues.bybit:DEMO"
    TESTNET = "testnet", "trading_assets.venues.bybit:TESTNET"
    MAINNET = "mainnet", "trading_assets.venues.bybit:MAINNET"

    location: str

    def __new__(cls, value: str, location: str) -> Self:
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


class Settings(BaseSettings):
    """All settings. Use `load_settings()`: it turns a malformed value into one clear message."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        enable_decoding=False,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    # Where things are.
    home: Path = Field(
        default_factory=default_home, description="Directory of the database, candles and exchange account."
    )
    database_url: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL of the system of record; default SQLite in the home. "
        "PostgreSQL: postgresql://user:password@host/database, a database of its own (docs/production.md).",
    )
    database_busy_timeout_s: float = Field(
        30.0, gt=0, description="How long a write waits for another process's lock; halt waits 5 s at most."
    )
    database_connect_timeout_s: float = Field(
        10.0, ge=1, description="PostgreSQL: longest wait for a connection; halt waits 5 s at most."
    )
    database_statement_timeout_s: float = Field(
        120.0,
        ge=1,
        description="PostgreSQL: longest statement, also where the server says nothing at all; halt waits 5 s at most.",
    )
    partitions_start: datetime = Field(datetime(2026, 1, 1, tzinfo=UTC), description="First hourly partition (UTC).")

    # Venue.
    venue: Venue = Field(Venue.SIMULATOR, description="Where candles come from and orders go to.")
    allow_mainnet: bool = Field(False, description="Second switch: a venue with real money is refused without it.")
    account: str = Field(
        "main", pattern=r"^[A-Za-z0-9_-]{1,32}$", description="Name of the trading account in the ledger."
    )
    api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("BYBIT_API_KEY", "api_key"), description="Bybit API key."
    )
    api_secret: SecretStr | None = Field(
        None, validation_alias=AliasChoices("BYBIT_API_SECRET", "api_secret"), description="Bybit API secret."
    )
    secrets: str | None = Field(
        None,
        pattern=r"^aws:.+",
        description="aws:NAME takes the keys from that secret of AWS Secrets Manager, a JSON object with api_key, "
        "api_secret and testnet; default: from the two variables above.",
    )
    bybit_region: Literal["com", "nl", "tr", "kz", "ge", "ae", "id", "jp", "eu"] = Field(
        "com", description="Bybit's site at which the account was opened: a key works there alone."
    )
    limits_dir: Path | None = Field(
        None,
        description="Directory of the rate limiter, which all processes of the machine share; default: one of this "
        "user below the system's temporary directory.",
    )
    request_timeout_s: float = Field(
        10.0, gt=0, description="Timeout of one step of a request, s; the whole of it may take 1.5 times as long."
    )
    command_deadline_s: float = Field(
        300.0,
        gt=0,
        description="A command that acts (halt, reduce, resume, flatten, trading, strategies, accounts prepare) ends "
        "after so long at the latest, s.",
    )
    recv_window_ms: int = Field(5000, ge=1000, description="Bybit's receive window.")
    max_clock_offset_ms: int = Field(
        1000, gt=0, description="Largest difference to the exchange's clock on which orders are placed."
    )

    # The embedded exchange.
    simulator_url: str | None = Field(
        None, description="URL of an embedded exchange that runs elsewhere; default: started on first use."
    )
    simulator_seed: int = Field(7, ge=0, description="Seed of the market.")
    simulator_symbols: int = Field(
        80,
        ge=1,
        le=600,
        description="Number of perpetuals of the seeded market (a few more contracts come on top).",
    )
    simulator_deposit: Decimal = Field(Decimal(10_000), gt=0, description="Opening balance, USDT.")
    simulator_idle_stop_s: float = Field(
        1800.0, gt=0, description="The embedded exchange stops after so long without a request."
    )

    # Scan.
    min_volume_24h: float = Field(1_000_000.0, ge=0, description="24 h turnover, USD.")
    min_volatility: float = Field(2.0, ge=0, description="24 h range (high - low) / low, percent.")
    max_symbols: int = Field(30, ge=1, description="Keep so many, the most volatile first.")
    max_size_error_pct: float = Field(
        25.0, gt=0, description="Drop coins whose quantity step distorts the position size by more, percent."
    )

    # Candles that are left out.
    min_candle_coverage_pct: float = Field(
        95.0, ge=0, le=100, description="A coin takes no part in an hour that holds less of its candles, percent."
    )
    max_candle_age_bars: int = Field(
        2, ge=0, description="Nor one whose newest candle closed more candles than this before the hour's end."
    )
    max_candle_jump_pct: float = Field(
        50.0, gt=0, description="Nor one with a candle that opens so far from the close before it, percent."
    )

    # Backtests.
    parameters: str = Field(
        "described",
        min_length=1,
        description="How far parameters are varied: described (what the strategies' description gives is fixed), "
        "declared (every set that a strategy names), or a TOML or JSON file with values for each strategy. A "
        "strategy's row may say it for itself: trading-assets strategies set.",
    )
    backtest_capital: float | None = Field(
        None,
        gt=0,
        description="Capital and notional of each simulated trade, USD; default: the value of a live position, so that "
        "money means the same in backtests and live.",
    )
    taker_fee: float = Field(0.00055, ge=0, lt=0.1, description="Taker fee, fraction of notional.")
    slippage_bps: float = Field(2.0, ge=0, lt=1000, description="Slippage of a market fill, basis points.")
    cost_model: Literal["flat", "liquidity", "stress"] = Field(
        "flat",
        description="What fills cost in backtests and reports: flat (slippage_bps everywhere), liquidity (by turnover "
        "and range of the bar) or stress (besides, stops fill halfway to the worst price of their bar). A report shows "
        "its result under each.",
    )
    out_of_sample_pct: float = Field(
        25.0,
        ge=0,
        lt=100,
        description="Newest part of the window, which plays no part in the choice of parameters, percent.",
    )

    backfill_hours_per_run: int | None = Field(
        None,
        ge=1,
        description="A backfill becomes runs of so many hours each, which several machines can share; empty: it is one "
        "run.",
    )

    # Selection.
    selection_preset: Literal["strict", "volume", "volume_loose"] = Field(
        "strict",
        description="Filter preset: strict (profit factor and drawdown count), volume (number of trades and PnL count) "
        "or volume_loose (the same with lower limits).",
    )
    min_deflated_sharpe: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Drop backtests with a smaller deflated Sharpe ratio, such as 0.9, and those with fewer than 20 "
        "trades, which have none; default: none is dropped.",
    )
    min_trades: int | None = Field(
        None, ge=1, description="Least number of closed trades of a backtest; default: the preset's."
    )
    min_win_rate: float | None = Field(
        None, ge=0, le=100, description="Least win rate of a backtest, percent; default: the preset's."
    )
    min_profit_factor: float | None = Field(
        None, ge=0, description="Least profit factor of a backtest, 0 asks for none; default: the preset's."
    )
    max_backtest_drawdown_pct: float | None = Field(
        None,
        ge=0,
        description="Deepest drawdown of a backtest, percent; 100 allows any; default: the preset's.",
    )
    min_pnl: float | None = Field(
        None,
        description="Least PnL of a backtest, USD as given; default: the preset's, in proportion to a trade's value.",
    )
    min_history_pct: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Drop backtests that have less than this part of their timeframe's window, percent, such as those "
        "of young listings; default: none is dropped.",
    )
    max_p_value: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Drop backtests whose p-value, corrected for all that was tried on the coin, is larger, such as "
        "0.05; default: none is dropped.",
    )

    # Trading.
    trade_mode: Literal["session", "once"] = Field(
        "session",
        description="session: one run lives with the selection and follows a candle stream; once: a run for each "
        "closed candle.",
    )
    stream_silence_s: float = Field(
        15.0, ge=2, description="A candle stream that says nothing for so long is taken for dead and opened again."
    )

    # Signals and orders.
    signal_ttl_s: int = Field(300, gt=0, description="A signal not executed after so long expires.")
    min_signal_interval_s: int = Field(
        300, ge=0, description="Minimum time between two signals of a symbol and strategy."
    )
    sizing: Literal["notional", "margin"] = Field(
        "notional",
        description="notional: position_size is the position's value; margin: it is the margin behind it.",
    )
    position_size: Decimal = Field(Decimal(100), gt=0, description="USD; see sizing.")
    leverage: Decimal = Field(Decimal(10), ge=1, le=100, description="Leverage of each position.")
    maintenance_margin_pct: Decimal = Field(
        Decimal("0.5"),
        ge=0,
        lt=100,
        description="Maintenance margin of a position, percent of its value. With the leverage it tells where a "
        "position would be liquidated: an entry whose stop is as far is none, in a backtest and live.",
    )
    min_confidence: float = Field(60.0, ge=0, le=100, description="Entry gate.")
    max_price_deviation_pct: Decimal = Field(
        Decimal("0.5"), gt=0, description="Entry gate: distance of the price to the signal's, percent."
    )
    max_spread_pct: Decimal = Field(Decimal("0.1"), gt=0, description="Entry gate, percent.")
    min_entry_volume: Decimal = Field(Decimal(1000), ge=0, description="Entry gate: 24 h turnover, USD.")
    min_available_margin: Decimal = Field(Decimal(10), ge=0, description="Entry gate: free margin, USD.")
    max_positions: int = Field(10, ge=1, le=100, description="Positions open at once.")
    max_selection_age_s: int = Field(7200, gt=0, description="No entry on a selection whose as-of is older.")

    # Risk guard.
    max_daily_loss_pct: float = Field(
        5.0,
        gt=0,
        le=100,
        description="Trading halts until 00:00 UTC after so much realised loss (funding included) since 00:00 UTC, "
        "percent of equity.",
    )
    max_drawdown_pct: float = Field(
        20.0,
        gt=0,
        le=100,
        description="Trading halts until it is resumed by hand when equity is so far below its peak, percent.",
    )
    max_position_margin_pct: Decimal = Field(
        Decimal(2), gt=0, description="Capital (margin) behind one position, percent of equity."
    )
    max_symbol_exposure_pct: Decimal = Field(
        Decimal(25), gt=0, description="Value of the position in one symbol, percent of equity."
    )
    max_total_exposure_pct: Decimal = Field(
        Decimal(200), gt=0, description="Value of all positions together, percent of equity."
    )
    max_leverage: Decimal = Field(Decimal(10), ge=1, le=100, description="No entry with a higher leverage.")
    max_reconciliation_age_s: int = Field(
        900, gt=0, description="No entry when the exchange's books were read longer ago."
    )
    unseen_tell_s: int = Field(
        600, gt=0, description="A position of ours that the exchange has not shown for so long, s, is told."
    )
    changed_stops: Literal["keep", "restore"] = Field(
        "keep",
        description="What becomes of a stop or target that a person has changed: keep leaves a tighter stop and puts a "
        "looser one back; restore puts both levels of the signal back.",
    )
    unprotected_max_s: int = Field(
        120,
        ge=0,
        description="A position that has lost its stop, and gets neither that nor an order in its place, is closed "
        "after so long, s.",
    )
    min_days_to_delivery: float | None = Field(
        None,
        ge=0,
        description="No entry in a contract whose delivery is announced; with a number, only if it is within so many "
        "days.",
    )
    cooldown_after_stop_s: int = Field(900, ge=0, description="No entry in a symbol for so long after its stop.")
    max_stops_in_a_row: int = Field(
        5, ge=1, description="After so many stops in a row in the whole account, no entry for a while ..."
    )
    pause_after_stops_s: int = Field(3600, ge=0, description="... so long after the last of them; 0 switches it off.")
    weak_symbol_trades: int = Field(
        4, ge=1, description="No entry in a symbol that, in at least so many closings of the last hours, ..."
    )
    weak_symbol_hours: int = Field(24, ge=0, le=168, description="... so many hours (0 switches it off), ...")
    weak_symbol_min_pnl: Decimal = Field(Decimal(0), description="... earned less than this, USD.")

    # Parity of live and backtest.
    parity_tolerance_bps: float = Field(
        50.0,
        gt=0,
        description="A live fill farther from the backtest's is reported as a difference, basis points.",
    )
    min_parity_pct: float = Field(
        95.0, ge=0, le=100, description="The day's check fails when less of live is explained, percent of decisions."
    )

    # Reports.
    report_capital: Decimal = Field(
        Decimal(1000),
        gt=0,
        description="Opening equity of the account that the walk-forward report follows, USD. At the default, ten "
        "positions are worth as much as the BTC it is compared with.",
    )
    report_random_choices: int = Field(
        20,
        ge=0,
        description="Random choices that the walk-forward report holds the selections against; 0 leaves them out.",
    )
    reports_kept: int = Field(10, ge=1, description="Pages kept of each report, the newest ones; 5 MB each.")

    automation: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether schedules and sensors run without being switched on in the UI: auto is on for the "
        "simulator and off elsewhere.",
    )

    ui_url: str = Field(
        "http://127.0.0.1:3000",
        description="Where Dagster's UI is, for links to it, and the one address at which the guard lets it be seen "
        "besides those of this machine.",
    )
    ui_origins: tuple[str, ...] = Field(
        (), description="Further addresses of the UI (JSON list of scheme://host:port), as of a proxy."
    )
    ui_token: SecretStr | None = Field(
        None,
        min_length=20,
        description="Opens the UI from another machine, and on a venue with real money also from this one; default: "
        "made on first use and kept in the home, trading-assets web --show-token prints it.",
    )
    ui_user_header: str = Field(
        "",
        pattern=r"^[A-Za-z0-9-]*$",
        description="Header in which the proxy before the UI tells who has logged in; only where it always sets it.",
    )

    # Retention: the daily job.
    keep_research_runs_days: float | None = Field(
        7.0, gt=0, description="Dagster forgets older runs of research and backfills; empty keeps them for good."
    )
    keep_trading_runs_days: float | None = Field(
        2.0, gt=0, description="... and older runs of the other jobs. Orders, fills and rows stay in the ledger."
    )
    keep_rows_days: float | None = Field(
        7.0,
        gt=0,
        description="Scans, coverage and backtests stay for so long after their hour, and after they were written; "
        "those an order came from stay for good.",
    )
    keep_selections_days: float | None = Field(
        None, gt=0, description="The same for selections; empty keeps them for good, as reports follow them."
    )
    keep_evaluations_days: float | None = Field(14.0, gt=0, description="Signal evaluations, for parity.")
    keep_candles_days: float | None = Field(
        30.0,
        gt=0,
        description="Candles stay for so long beyond the deepest backtest window; they can be had again.",
    )

    # Notifications.
    notify_urls: tuple[SecretStr, ...] = Field(
        (), description="Apprise URLs (JSON list) told of failures, refusals and fills."
    )
    notify_max_age_s: float = Field(
        86_400.0,
        gt=0,
        description="A message that a channel has not taken for so long, s, is given up; status and doctor show it.",
    )

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
        "keep_selections_days",
        "keep_evaluations_days",
        "keep_candles_days",
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

    @field_validator("ui_origins", "notify_urls", mode="before")
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
    def simulator_home(self) -> Path:
        return self.home / "exchange"


_ESSENTIAL = ("home", "database_url", "venue", "allow_mainnet", "account", "api_key", "api_secret", "secrets")
"""Settings that say whose account and which books are meant: nothing goes on without a good value of these."""


def load_settings(*, lenient: bool = False, **overrides: object) -> Settings:
    """Settings from overrides, environment and configuration file, in this order.

    Args:
        lenient: for what stops, closes or only looks, and must not be held up by a typing error. Unknown names, and
            malformed values of settings that do not say whose account is meant, warn instead.

    Raises:
        ConfigurationError: a value is malformed, a name is unknown, or a setting is there under two names with two
            values; the message names each variable, what was found and expected.
    """
    given = Given.read()
    fields = Settings.model_fields
    unprefixed, contradictions = configuration.unprefixed(given, fields)
    faults = [*configuration.strangers(given, fields, RENAMED), *contradictions]
    if faults and not lenient:
        raise ConfigurationError(f"{'; '.join(faults)}. Nothing was started")
    for text in (*faults, *configuration.ignored(given)):
        warnings.warn(text, UserWarning, stacklevel=2)
    values = unprefixed | _renamed(given.both, lenient=lenient) | overrides
    file = given.path if given.path is not None and given.path.is_file() else None
    while True:
        try:
            return Settings(_env_file=file, **values)  # type: ignore[arg-type]
        except ValidationError as error:
            message = f"malformed setting: {'; '.join(_fault(item) for item in error.errors(include_url=False))}"
            malformed = {str(item["loc"][0]) if item["loc"] else "" for item in error.errors(include_url=False)}
            if not lenient or not malformed <= fields.keys() - set(_ESSENTIAL) - overrides.keys():
                raise ConfigurationError(message) from None
            warnings.warn(f"{message}. The default is taken", UserWarning, stacklevel=2)
            values |= {name: fields[name].get_default(call_default_factory=True) for name in malformed}


def _is_secret(field: FieldInfo) -> bool:
    """Whether a field's values are secret: by its type, also inside a tuple."""
    kinds = [field.annotation]
    for kind in kinds:
        kinds += get_args(kind)
    return SecretStr in kinds


SECRET_SETTINGS = tuple(name for name, field in Settings.model_fields.items() if _is_secret(field))
"""Names of the settings whose values are shown as set or not set, and nowhere else."""

SECRET_NAMES = frozenset(SECRET_SETTINGS) | set(KEY_VARIABLES)


def secret_values(settings: Settings) -> set[str]:
    """The text of every secret that is set."""
    values = [getattr(settings, name) for name in SECRET_SETTINGS]
    flat = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
    return {one.get_secret_value() for one in flat if one is not None}


def _fault(item: ErrorDetails) -> str:
    location = str(item["loc"][0]) if item["loc"] else ""
    name = location if location.isupper() else f"{PREFIX}{location.upper()}"
    found = "" if location in SECRET_NAMES or not location else f" (found {item['input']!r})"
    message = re.sub(r"^Value error, ", "", item["msg"])
    return f"{name}: {message}{found}" if location else message


def _renamed(given: Mapping[str, str], *, lenient: bool) -> dict[str, object]:
    """Values that are given under a setting's former name only."""
    found: dict[str, object] = {}
    for former, name in RENAMED.items():
        old, new = (f"{PREFIX}{each.upper()}" for each in (former, name))
        if old not in given:
            continue
        if given.get(new, given[old]) != given[old]:
            text = (
                f"{old} is {given[old]!r} and {new} is {given[new]!r}, expected one value: {old} is the former name of "
                f"{new}, remove it"
            )
            if not lenient:
                raise ConfigurationError(text)
            warnings.warn(text, UserWarning, stacklevel=3)
            continue
        warnings.warn(f"{old} is now {new}: rename it", FutureWarning, stacklevel=3)
        if new not in given:
            found[name] = given[old]
    return found
