"""Commands by chat. A message has facts, a picture and a key; a channel leaves messages out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

_NEW_KINDS = ("signal", "limit", "hour", "restarts", "command", "summary")


def upgrade() -> None:
    op.add_column("outbox_messages", sa.Column("facts", sa.Text))
    op.add_column("outbox_messages", sa.Column("picture", sa.LargeBinary))
    op.add_column("outbox_messages", sa.Column("key", sa.String(96)))
    op.create_index("ux_outbox_messages_key", "outbox_messages", ["account", "key"], unique=True)
    op.create_table(
        "chat_bots",
        sa.Column("name", sa.String(48), primary_key=True),
        sa.Column("next_update_id", sa.BigInteger, nullable=False),
        sa.Column("asked_wall_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_commands",
        sa.Column("bot", sa.String(48), primary_key=True),
        sa.Column("update_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("chat_id", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("is_button", sa.Boolean, nullable=False),
        sa.Column("answers_to", sa.String(64)),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("sent_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("received_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_wall_ms", sa.BigInteger),
        sa.Column("answered_wall_ms", sa.BigInteger),
    )
    op.create_index("ix_chat_commands_received", "chat_commands", ["account", "received_wall_ms"])


def downgrade() -> None:
    op.drop_table("chat_commands")
    op.drop_table("chat_bots")
    # An older version knows neither these kinds nor this state.
    kinds = ", ".join(f"'{kind}'" for kind in _NEW_KINDS)
    op.execute(f"UPDATE outbox_messages SET kind = 'system' WHERE kind IN ({kinds})")
    op.execute("UPDATE outbox_deliveries SET state = 'given up', error = 'left out' WHERE state = 'left out'")
    op.drop_index("ux_outbox_messages_key", "outbox_messages")
    with op.batch_alter_table("outbox_messages") as batch:
        for name in ("key", "picture", "facts"):
            batch.drop_column(name)
