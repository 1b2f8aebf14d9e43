"""Settings of the place: home, database, venue, account and keys, the embedded exchange, paper trading."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from trading_assets.core.configuration import default_home
from trading_assets.core.settings.venue import Venue


class PlaceFields(BaseSettings):
    """Where everything is, and whose."""

    model_config = SettingsConfigDict(defer_build=True)

    # Where things are.
    home: Path = Field(
        default_factory=default_home, description="Directory of the database, candles and exchange account."
    )
    store_url: str | None = Field(
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_][A-Za-z0-9_.-]*)*/?$",
        description="s3://BUCKET/PREFIX: research keeps its candles there, and reports are copied there; default: "
        "files in the home alone (docs/howto/store.md). Region and credentials come from AWS's own chain.",
    )
    store_cache_dir: Path | None = Field(
        None,
        description="With store_url: directory of this machine's copies, which may be deleted at any time; default: "
        "`copies` in the home.",
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
        pattern=r"^(aws:.+|env:[A-Za-z_][A-Za-z0-9_]*,[A-Za-z_][A-Za-z0-9_]*)$",
        description="aws:NAME takes the keys from that secret of AWS Secrets Manager, a JSON object with api_key, "
        "api_secret and testnet; aws:KEY,SECRET,TESTNET from three secrets with one text each (the third may be left "
        "out); env:KEY,SECRET from two other variables; default: from the two variables above.",
    )
    encryption_key: SecretStr | None = Field(
        None,
        description="Master key under which the keys of named accounts are kept in the ledger (trading-assets accounts "
        "encryption new makes one); several with commas between them, the newest first.",
    )
    encryption_key_from: str | None = Field(
        None,
        pattern=r"^(file|aws-secret|aws-kms):.+",
        description="Where the master key is instead: file:PATH (a file of its owner alone), aws-secret:NAME (AWS "
        "Secrets Manager) or aws-kms:PATH (a file that AWS KMS has encrypted).",
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
        "after so long at the latest, s; a backup or restore after twelve times as long without a finished part.",
    )
    recv_window_ms: int = Field(
        5000,
        ge=1000,
        le=15_000,
        description="Bybit's receive window. An order that is sent longer after its signature is refused.",
    )
    max_clock_offset_ms: int = Field(
        1000, gt=0, le=4_000, description="Largest difference to the exchange's clock on which orders are placed."
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

    # Paper trading.
    paper_market_url: str | None = Field(
        None,
        pattern=r"^https?://.+",
        description="URL of an embedded exchange in the role of Bybit, whose prices paper trading has; default: Bybit.",
    )
    paper_max_price_age_s: float = Field(
        10.0, ge=3, description="The paper exchange trades at no price that is older, s."
    )
