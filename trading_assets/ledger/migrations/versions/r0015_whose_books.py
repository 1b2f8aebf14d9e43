"""Whose the rows are: accounts at their venues, and the market of the research. Older rows are unbound."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

MONEY = ("order_intents", "entry_signals", "fills", "closings", "positions", "equity", "account_transactions",
         "reconciliations")  # fmt: skip
RESEARCH = ("market_scan", "candle_coverage", "funding_coverage", "backtest_results", "strategy_selections")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("venue", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(32)),
        sa.Column("market", sa.String(64), nullable=False),
        sa.Column("bound_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("bound_by", sa.Text, nullable=False),
    )
    op.create_table(
        "research_market",
        sa.Column("market_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("bound_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("bound_by", sa.Text, nullable=False),
    )
    connection = op.get_bind()
    names = {
        str(name) for table in MONEY for (name,) in connection.exec_driver_sql(f"SELECT DISTINCT account FROM {table}")
    }
    for name in sorted(names):
        connection.execute(
            sa.text("INSERT INTO accounts VALUES (:name, '', NULL, '', 0, 'rows of an older version')"), {"name": name}
        )
    if names or any(connection.exec_driver_sql(f"SELECT 1 FROM {table} LIMIT 1").first() for table in RESEARCH):
        op.execute("INSERT INTO research_market VALUES (1, '', 0, 'rows of an older version')")


def downgrade() -> None:
    op.drop_table("research_market")
    op.drop_table("accounts")
