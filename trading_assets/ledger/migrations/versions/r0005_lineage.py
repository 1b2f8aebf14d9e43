"""Who wrote each partition, what its checks said, which candles were left out, which run found each signal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_RESULTS_BY_HOUR = "ix_check_results_hour"


def upgrade() -> None:
    op.add_column("candle_coverage", sa.Column("fault", sa.Text))
    op.add_column("entry_signals", sa.Column("run_id", sa.Text))
    op.create_table(
        "partition_writes",
        sa.Column("asset", sa.String(100), primary_key=True),
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("code_version", sa.String(64), nullable=False),
        sa.Column("written_wall_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "check_results",
        sa.Column("asset", sa.String(100), primary_key=True),
        sa.Column("check_name", sa.String(64), primary_key=True),
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("run_id", sa.String(36), nullable=False),
    )
    op.create_index(_RESULTS_BY_HOUR, "check_results", ["hour_ms"])


def downgrade() -> None:
    op.drop_index(_RESULTS_BY_HOUR, "check_results")
    op.drop_table("check_results")
    op.drop_table("partition_writes")
    op.drop_column("entry_signals", "run_id")
    op.drop_column("candle_coverage", "fault")
