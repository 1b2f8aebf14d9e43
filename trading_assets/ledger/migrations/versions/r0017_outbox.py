"""The outbox: what became of each message on each channel. Messages that were not sent yet go over into it."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_OLD = sa.table("untold_messages", *(sa.column(name) for name in ("message_id", "account", "title", "body", "time_ms")))
_NEW = sa.table(
    "outbox_messages",
    *(sa.column(name) for name in ("account", "kind", "severity", "title", "body", "time_ms", "written_wall_ms")),
)


def upgrade() -> None:
    op.create_table(
        "outbox_messages",
        sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("written_wall_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_outbox_messages_account", "outbox_messages", ["account", "written_wall_ms"])
    op.create_table(
        "outbox_channels",
        sa.Column("account", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(48), primary_key=True),
        sa.Column("after_message_id", sa.Integer, nullable=False),
    )
    op.create_table(
        "outbox_deliveries",
        sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("channel", sa.String(48), primary_key=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("queued_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_wall_ms", sa.BigInteger),
        sa.Column("error", sa.Text),
    )
    op.create_index("ix_outbox_deliveries_waiting", "outbox_deliveries", ["channel", "state", "message_id"])
    now = sa.literal(time.time_ns() // 1_000_000, sa.BigInteger)
    unsent = sa.select(
        _OLD.c.account, sa.literal("books"), sa.literal("info"), _OLD.c.title, _OLD.c.body, _OLD.c.time_ms, now
    ).order_by(_OLD.c.message_id)
    op.execute(sa.insert(_NEW).from_select([column.name for column in _NEW.c], unsent))
    op.drop_index("ix_untold_messages_account", "untold_messages")
    op.drop_table("untold_messages")


def downgrade() -> None:
    op.create_table(
        "untold_messages",
        sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_untold_messages_account", "untold_messages", ["account", "message_id"])
    op.drop_index("ix_outbox_deliveries_waiting", "outbox_deliveries")
    op.drop_table("outbox_deliveries")
    op.drop_table("outbox_channels")
    op.drop_index("ix_outbox_messages_account", "outbox_messages")
    op.drop_table("outbox_messages")
