"""Which files have the backtests that are not in SQL any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    op.create_table(
        "sealed_files",
        sa.Column("file_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("day_ms", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("written_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("unused_wall_ms", sa.BigInteger),
    )
    op.create_table(
        "sealed_partitions",
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("timeframe", sa.String(8), primary_key=True),
        sa.Column("file_id", sa.Integer, sa.ForeignKey("sealed_files.file_id"), index=True),
    )


def downgrade() -> None:
    op.drop_table("sealed_partitions")
    op.drop_table("sealed_files")
