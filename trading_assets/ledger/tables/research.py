"""Tables of strategies, evaluations and what research wrote."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import account_column, metadata, time_column

strategies = sa.Table(
    "strategies",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True, comment="name of the strategy class"),
    sa.Column("is_active", sa.Boolean, nullable=False, comment="backtested, and traded where it is selected"),
    sa.Column("exchange", sa.String(32), nullable=False, comment="bybit"),
    sa.Column("pairs", sa.Text, nullable=False, comment="JSON list of symbols; empty means all"),
    sa.Column("timeframes", sa.Text, nullable=False, comment="JSON list; empty means all eight"),
    sa.Column(
        "parameters",
        sa.Text,
        nullable=False,
        comment="JSON object: values that every set has; what is absent is varied by the grid, else at its default",
    ),
    sa.Column(
        "grid",
        sa.Text,
        comment="how far parameters are varied: described, declared, or JSON blocks of values; none: as the setting "
        "says, and not at all where parameters are given",
    ),
    comment="Registry of strategies: which are tried, on what, with which parameters.",
)


signal_evaluations = sa.Table(
    "signal_evaluations",
    metadata,
    sa.Column("evaluation_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    account_column(),
    sa.Column("hour_ms", sa.BigInteger, nullable=False, comment="hour of the selection that was followed, UTC ms"),
    sa.Column(
        "outcomes",
        sa.Text,
        nullable=False,
        comment="JSON object: symbol to why it was not decided, or why its signal was dropped; empty: decided",
    ),
    time_column("time_ms", "moment of the evaluation"),
    sa.Index("signal_evaluations_by_time", "account", "time_ms"),
    comment="When the finder evaluated which coins, and what kept it from deciding: parity is explained by it.",
)


signal_evidence = sa.Table(
    "signal_evidence",
    metadata,
    sa.Column("signal_id", sa.String(200), primary_key=True, comment="the signal"),
    sa.Column("content", sa.Text, nullable=False, comment="JSON object: copies of the rows that it came from"),
    sa.Column("content_hash", sa.String(64), nullable=False, comment="SHA-256 of the content, hexadecimal"),
    time_column("time_ms", "moment of the signal"),
    comment="What each signal was decided on, as it was then: partitions may be written again, these rows never.",
)


partition_writes = sa.Table(
    "partition_writes",
    metadata,
    sa.Column("asset", sa.String(100), primary_key=True, comment="asset key, its parts joined by /"),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("run_id", sa.String(36), nullable=False, comment="Dagster run that wrote the rows that are there now"),
    sa.Column("code_version", sa.String(64), nullable=False, comment="of the asset when it wrote them"),
    sa.Column("written_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    comment="Who wrote each partition last: the way back from an order to its candles, kept when Dagster forgets.",
)


check_results = sa.Table(
    "check_results",
    metadata,
    sa.Column("asset", sa.String(100), primary_key=True, comment="asset key, its parts joined by /"),
    sa.Column("check_name", sa.String(64), primary_key=True, comment="name of the check, as in Dagster"),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("passed", sa.Boolean, nullable=False, comment="the newest verdict"),
    sa.Column("detail", sa.Text, comment="what was found, where it failed"),
    sa.Column("run_id", sa.String(36), nullable=False, comment="Dagster run of the check"),
    sa.Index("ix_check_results_hour", "hour_ms"),
    comment="The newest verdict of each blocking check on each partition: what selections and orders ask.",
)


excluded_strategies = sa.Table(
    "excluded_strategies",
    metadata,
    sa.Column("timeframe", sa.String(8), primary_key=True, comment="of the backtests that are left out"),
    sa.Column("strategy", sa.String(64), primary_key=True, comment="name of the strategy"),
    sa.Column("check_name", sa.String(64), primary_key=True, comment="the check that it failed"),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("detail", sa.Text, nullable=False, comment="what was found"),
    sa.Column("run_id", sa.String(36), nullable=False, comment="Dagster run of the check"),
    sa.Index("ix_excluded_strategies_hour", "hour_ms"),
    comment="Strategies that failed a check of their own in an hour: their backtests are not selected, nor traded.",
)


strategy_failures = sa.Table(
    "strategy_failures",
    metadata,
    sa.Column("strategy", sa.String(64), primary_key=True, comment="name of the strategy"),
    sa.Column("timeframe", sa.String(8), primary_key=True, comment="of the backtest that failed"),
    sa.Column("hour_ms", sa.BigInteger, nullable=False, comment="hour of that backtest, UTC ms"),
    sa.Column("symbol", sa.Text, nullable=False, comment="a coin on which it failed: the first by name"),
    sa.Column("parameters", sa.Text, nullable=False, comment="the set that failed, JSON"),
    sa.Column(
        "bar_ms",
        sa.BigInteger,
        comment="close of the first candle with which it fails, UTC ms; none where no candle is to blame",
    ),
    sa.Column("error", sa.Text, nullable=False, comment="kind and message"),
    sa.Column("traceback", sa.Text, nullable=False, comment="calls and lines, without secrets, shortened"),
    comment="Of each strategy that raised, its newest failure on each timeframe; gone when a newer hour has none.",
)


research_market = sa.Table(
    "research_market",
    metadata,
    sa.Column("market_id", sa.Integer, primary_key=True, autoincrement=False, comment="1: a ledger has one market"),
    sa.Column("name", sa.String(64), nullable=False, comment="of the market; empty: nobody has said it yet"),
    sa.Column("bound_wall_ms", sa.BigInteger, nullable=False, comment="local clock when it was bound, UTC ms"),
    sa.Column("bound_by", sa.Text, nullable=False, comment="a person, or the first use of an empty ledger"),
    comment="The market that scans, candles, backtests and selections are of: they are traded on no other.",
)


research_settings = sa.Table(
    "research_settings",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    sa.Column("digest", sa.String(16), nullable=False, comment="of the content"),
    sa.Column("content", sa.Text, nullable=False, comment="JSON: settings of research, and the rows of strategies"),
    sa.Column("since_ms", sa.BigInteger, nullable=False, comment="exchange's clock when it was first used, UTC ms"),
    comment="What research was done with: rows of its tables name the version.",
)
