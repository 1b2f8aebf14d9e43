"""Settings of operation: reports, automation, the UI, the log, retention, messages, metrics."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from trading_assets.core.channel_rules import ChannelRule
from trading_assets.core.setting_changes import LIVE

_TABLE = r"^[A-Za-z0-9_.-]{3,255}$"


class OperationFields(BaseSettings):
    """How it runs, and what it tells."""

    model_config = SettingsConfigDict(defer_build=True)

    # Reports.
    report_capital: Decimal = Field(
        Decimal(1000),
        gt=0,
        json_schema_extra=LIVE,
        description="Opening equity of the account that the walk-forward report follows, USD. At the default, ten "
        "positions are worth as much as the BTC it is compared with.",
    )
    report_random_choices: int = Field(
        20,
        ge=0,
        json_schema_extra=LIVE,
        description="Random choices that the walk-forward report holds the selections against; 0 leaves them out.",
    )
    reports_kept: int = Field(
        10, ge=1, json_schema_extra=LIVE, description="Pages kept of each report, the newest ones; 5 MB each."
    )

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

    # The log.
    log_format: Literal["text", "json"] = Field(
        "text",
        description="json: every process writes its log as JSON lines to standard error (docs/howto/observe.md).",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = Field(
        None, description="Least severe line of the log; default: INFO with json, else warnings as Python writes them."
    )

    # Retention: the daily job.
    keep_research_runs_days: float | None = Field(
        7.0,
        gt=0,
        json_schema_extra=LIVE,
        description="Dagster forgets older runs of research and backfills; empty keeps them for good.",
    )
    keep_trading_runs_days: float | None = Field(
        2.0,
        gt=0,
        json_schema_extra=LIVE,
        description="... and older runs of the other jobs. Orders, fills and rows stay in the ledger.",
    )
    keep_rows_days: float | None = Field(
        7.0,
        gt=0,
        json_schema_extra=LIVE,
        description="Scans and coverage stay for so long after their hour, and after they were written; those an order "
        "came from stay for good. Backtests, too, where they are not sealed.",
    )
    seal_results_after_days: float | None = Field(
        2.0,
        ge=0,
        json_schema_extra=LIVE,
        description="Backtests of days that ended so long ago go from SQL into a Parquet file a day; empty never. "
        "Those selected or traded stay in SQL, too.",
    )
    keep_results_days: float | None = Field(
        366.0,
        gt=0,
        json_schema_extra=LIVE,
        description="Sealed backtests stay for so long after their day, and after they were sealed; empty keeps them "
        "for good.",
    )
    keep_selections_days: float | None = Field(
        None,
        gt=0,
        json_schema_extra=LIVE,
        description="The same for selections; empty keeps them for good, as reports follow them.",
    )
    keep_evaluations_days: float | None = Field(
        14.0, gt=0, json_schema_extra=LIVE, description="Signal evaluations, for parity."
    )
    keep_candles_days: float | None = Field(
        30.0,
        gt=0,
        json_schema_extra=LIVE,
        description="Candles stay for so long beyond the deepest backtest window; they can be had again.",
    )

    # Notifications.
    notify_urls: tuple[SecretStr, ...] = Field(
        (),
        description="Channels (JSON list): URLs of apprise, as tgram://, discord://, slack://, mailto://, and "
        "arn:aws:sns:... of a topic.",
    )
    notify_rules: dict[str, ChannelRule] = Field(
        {},
        json_schema_extra=LIVE,
        description="What each channel gets (JSON object by name, kind such as mailto, or *): kinds, min_severity, "
        "quiet, per_minute, group_from. See docs/notifications.md.",
    )
    notify_max_age_s: float = Field(
        86_400.0,
        gt=0,
        json_schema_extra=LIVE,
        description="A message that a channel has not taken for so long, s, is given up; status and doctor show it.",
    )
    telegram_token: SecretStr | None = Field(
        None, description="Token of the bot that takes commands by chat, from Telegram's @BotFather."
    )
    telegram_users: dict[int, Literal["viewer", "trader", "admin"]] = Field(
        {},
        description='Who may command the bot (JSON object, role by user id: {"12345": "admin"}). Admins are told '
        "every message, too.",
    )
    telegram_chats: tuple[int, ...] = Field(
        (), description="Groups (JSON list of chat ids) in which those users are obeyed, besides their private chats."
    )
    telegram_per_minute: int = Field(20, ge=1, description="Most commands of a user in a minute.")
    telegram_api_url: str = Field(
        "https://api.telegram.org", pattern=r"^https?://", description="Where the Bot API is, as behind a proxy."
    )

    # Metrics, beside Dagster.
    monitor_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port at which trading-assets serve shows metrics for Prometheus (/metrics); default: none. 9464 "
        "is usual, 0 takes a free one.",
    )
    monitor_host: str = Field(
        "127.0.0.1", description="Address at which it listens; another one than this machine's needs the token."
    )
    monitor_token: SecretStr | None = Field(
        None, description="Token that other machines must send for metrics (Authorization: Bearer ...)."
    )

    # The live page, beside Dagster.
    dashboard_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port at which trading-assets serve shows the live page; default: none. The command "
        "trading-assets dashboard and make dev take 3001 then; 0 takes a free one.",
    )
    dashboard_host: str = Field(
        "127.0.0.1", description="Address at which it listens; another one than this machine's needs the token."
    )
    dashboard_url: str | None = Field(
        None,
        description="Where the page is seen, for links to it, and an address at which it may be seen besides those of "
        "this machine and IP addresses; default: this machine's.",
    )
    dashboard_token: SecretStr | None = Field(
        None,
        min_length=20,
        description="Whoever logs in with it may halt and close on the page, and read it from another machine; "
        "default: none, the page only shows.",
    )

    # Tables that other programs read.
    dynamodb_mirror: bool = Field(
        False,
        description="Whether trading-assets serve mirrors scans, backtests and signals to DynamoDB: docs/mirror.md.",
    )
    dynamodb_prefix: str = Field(
        "crypto-backtest-",
        pattern=r"^[A-Za-z0-9_.-]{0,200}$",
        description="What the names of its tables begin with: scan-results, backtest-results, trading-positions.",
    )
    dynamodb_scan_table: str | None = Field(
        None, pattern=_TABLE, description="Name of the table of scans; default: the prefix and scan-results."
    )
    dynamodb_backtest_table: str | None = Field(
        None, pattern=_TABLE, description="Name of the table of backtests; default: the prefix and backtest-results."
    )
    dynamodb_positions_table: str | None = Field(
        None, pattern=_TABLE, description="Name of the table of signals; default: the prefix and trading-positions."
    )
    dynamodb_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="URL of DynamoDB; default: AWS's own, of the region. Credentials come from AWS's own chain.",
    )
