"""Tables of messages to people, and of commands by chat."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import account_column, metadata, time_column

outbox_messages = sa.Table(
    "outbox_messages",
    metadata,
    sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    account_column(),
    sa.Column("kind", sa.String(16), nullable=False, comment="what it is about: fill, closing, risk, run ..."),
    sa.Column("severity", sa.String(8), nullable=False, comment="info, warning or critical"),
    sa.Column("title", sa.Text, nullable=False, comment="of the message"),
    sa.Column("body", sa.Text, nullable=False, comment="of the message"),
    time_column("time_ms", "what it tells"),
    sa.Column("written_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    sa.Column("facts", sa.Text, comment="what it tells, for a user's template: JSON, values by name"),
    sa.Column("picture", sa.LargeBinary, comment="PNG, of a daily summary"),
    sa.Column("key", sa.String(96), comment="of an event that is told once, whoever tells it"),
    sa.Index("ix_outbox_messages_account", "account", "written_wall_ms"),
    sa.Index("ux_outbox_messages_key", "account", "key", unique=True),
    comment="Messages to people, written with what they tell: a death between the two loses none.",
)


outbox_channels = sa.Table(
    "outbox_channels",
    metadata,
    account_column(primary_key=True),
    sa.Column("name", sa.String(48), primary_key=True, comment="kind of the messenger and a mark of its URL"),
    sa.Column("after_message_id", sa.Integer, nullable=False, comment="it gets the messages after this one"),
    comment="The channels that messages of an account have gone to.",
)


outbox_deliveries = sa.Table(
    "outbox_deliveries",
    metadata,
    sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=False, comment="the message"),
    sa.Column("channel", sa.String(48), primary_key=True, comment="name of the channel"),
    sa.Column("state", sa.String(10), nullable=False, comment="waiting, delivered, given up or left out"),
    sa.Column("attempts", sa.Integer, nullable=False, comment="how often it was tried"),
    sa.Column("due_wall_ms", sa.BigInteger, nullable=False, comment="not tried again before, UTC ms"),
    sa.Column("queued_wall_ms", sa.BigInteger, nullable=False, comment="since when it waits, UTC ms"),
    sa.Column("ended_wall_ms", sa.BigInteger, comment="when it was delivered or given up, UTC ms"),
    sa.Column("error", sa.Text, comment="of the last try that failed"),
    sa.Index("ix_outbox_deliveries_waiting", "channel", "state", "message_id"),
    comment="What became of each message on each channel: at least once, in order, until it is too old.",
)


chat_bots = sa.Table(
    "chat_bots",
    metadata,
    sa.Column("name", sa.String(48), primary_key=True, comment="kind of the messenger and a mark of the bot's token"),
    sa.Column("next_update_id", sa.BigInteger, nullable=False, comment="what the messenger is asked for next"),
    sa.Column("asked_wall_ms", sa.BigInteger, nullable=False, comment="when it was asked last, UTC ms"),
    comment="How far commands by chat were read. A command is written in the transaction that goes past it.",
)


chat_commands = sa.Table(
    "chat_commands",
    metadata,
    sa.Column("bot", sa.String(48), primary_key=True, comment="name of the bot"),
    sa.Column("update_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="of the messenger"),
    account_column(),
    sa.Column("chat_id", sa.BigInteger, nullable=False, comment="where it was written"),
    sa.Column("user_id", sa.BigInteger, nullable=False, comment="who wrote it"),
    sa.Column("actor", sa.String(64), nullable=False, comment="the same in words, as other histories have it"),
    sa.Column("text", sa.Text, nullable=False, comment="the command"),
    sa.Column("is_button", sa.Boolean, nullable=False, comment="whether a button was pressed"),
    sa.Column("answers_to", sa.String(64), comment="id of the button's press, or of the message, at the messenger"),
    sa.Column("state", sa.String(12), nullable=False, comment="received, done, refused, failed, interrupted"),
    sa.Column("answer", sa.Text, comment="what was answered: JSON, text and buttons"),
    sa.Column("sent_wall_ms", sa.BigInteger, nullable=False, comment="when it was written, by the messenger, UTC ms"),
    sa.Column("received_wall_ms", sa.BigInteger, nullable=False, comment="when it was read, UTC ms"),
    sa.Column("ended_wall_ms", sa.BigInteger, comment="when it was done, UTC ms"),
    sa.Column("answered_wall_ms", sa.BigInteger, comment="when its answer was taken, UTC ms"),
    sa.Index("ix_chat_commands_received", "account", "received_wall_ms"),
    comment="Commands by chat: who, what, and what became of each.",
)
