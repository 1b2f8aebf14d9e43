"""The mirror's outbox: triggers note what changes of signals and partitions, while a mirror is on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"

_IS_ON = "EXISTS (SELECT 1 FROM mirrors)"
_IS_SHOWN = "(NEW.asset IN ('market_scan', 'strategy_selections') OR NEW.asset LIKE 'backtest_results/%')"
_NOTED = (
    ("entry_signals", "INSERT", "'signal', NEW.signal_id, 0", _IS_ON),
    ("entry_signals", "UPDATE", "'signal', NEW.signal_id, 0", _IS_ON),
    ("partition_writes", "INSERT", "'partition', NEW.asset, NEW.hour_ms", f"{_IS_ON} AND {_IS_SHOWN}"),
)


def upgrade() -> None:
    op.create_table(
        "mirrors",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("since_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("sent", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("last_sent_wall_ms", sa.BigInteger),
    )
    op.create_table(
        "mirror_changes",
        sa.Column("change_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("hour_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("kind", "item", "hour_ms", name="mirror_changes_once"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "mirror_partitions",
        sa.Column("asset", sa.String(100), primary_key=True),
        sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("keys", sa.Text, nullable=False),
    )
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for table, verb, values, condition in _NOTED:
        name = f"{table}_{verb.lower()}_mirrored"
        if not is_postgresql:
            op.execute(
                f"CREATE TRIGGER {name} AFTER {verb} ON {table} WHEN {condition} "
                f"BEGIN INSERT OR REPLACE INTO mirror_changes (kind, item, hour_ms) VALUES ({values}); END"
            )
            continue
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {condition} THEN "
            f"INSERT INTO mirror_changes (kind, item, hour_ms) VALUES ({values}) "
            "ON CONFLICT (kind, item, hour_ms) DO UPDATE SET change_id = nextval("
            "pg_get_serial_sequence('mirror_changes', 'change_id')); "
            "END IF; RETURN NULL; END $$"
        )
        op.execute(f"CREATE TRIGGER {name} AFTER {verb} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")


def downgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for table, verb, _, _ in _NOTED:
        name = f"{table}_{verb.lower()}_mirrored"
        op.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if is_postgresql else ""))
        if is_postgresql:
            op.execute(f"DROP FUNCTION {name}()")
    for table in ("mirror_partitions", "mirror_changes", "mirrors"):
        op.drop_table(table)
