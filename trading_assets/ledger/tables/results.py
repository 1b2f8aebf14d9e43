"""Tables of sealed results: which file has the rows of which partition."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import metadata

sealed_files = sa.Table(
    "sealed_files",
    metadata,
    sa.Column("file_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    sa.Column("name", sa.String(200), nullable=False, unique=True, comment="below the folder of results"),
    sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of the file, hexadecimal"),
    sa.Column("day_ms", sa.BigInteger, nullable=False, comment="UTC day of its rows, UTC ms"),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="rows in the file"),
    sa.Column("bytes", sa.BigInteger, nullable=False, comment="size of the file"),
    sa.Column("written_wall_ms", sa.BigInteger, nullable=False, comment="local clock when it was begun, UTC ms"),
    sa.Column("unused_wall_ms", sa.BigInteger, comment="local clock since when no partition is in it, UTC ms"),
    comment="Files of sealed backtests. The row is there before the file, and goes after it.",
)


sealed_partitions = sa.Table(
    "sealed_partitions",
    metadata,
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("timeframe", sa.String(8), primary_key=True, comment="of the backtests"),
    sa.Column(
        "file_id",
        sa.Integer,
        sa.ForeignKey("sealed_files.file_id"),
        index=True,
        comment="the file that has all of its rows; none: they were deleted, but for those selected or traded",
    ),
    comment="Partitions of backtest_results that are not read from there any more: only some of their rows are.",
)
