"""What Alembic runs for every command of `ledger.migrations`: on the caller's connection, in its transaction."""

from alembic import context

from trading_assets.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite has transactional DDL too, when the driver does not begin transactions by itself.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
