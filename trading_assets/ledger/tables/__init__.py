"""Every SQL table of the system of record. The hourly ones are derived from their pandera models.

A module for each subject. They are imported from here, so that the metadata has them all.
"""

from trading_assets.ledger.tables.columns import (
    DERIVED,
    DecimalText,
    entry_signals,
    metadata,
    sql_table,
)
from trading_assets.ledger.tables.dca import (
    dca_buys,
    dca_orders,
    dca_plans,
)
from trading_assets.ledger.tables.grids import (
    grid_levels,
    grid_orders,
    grids,
)
from trading_assets.ledger.tables.installation import (
    accounts,
    installation,
    leases,
    live_changes,
    named_accounts,
    process_reports,
    rehearsals,
    schema_compatibility,
    trading_switches,
)
from trading_assets.ledger.tables.messages import (
    chat_bots,
    chat_commands,
    outbox_channels,
    outbox_deliveries,
    outbox_messages,
)
from trading_assets.ledger.tables.mirror import (
    mirror_changes,
    mirror_partitions,
    mirrors,
)
from trading_assets.ledger.tables.research import (
    check_results,
    excluded_strategies,
    partition_writes,
    research_market,
    research_settings,
    signal_evaluations,
    signal_evidence,
    strategies,
    strategy_failures,
)
from trading_assets.ledger.tables.results import sealed_files, sealed_partitions
from trading_assets.ledger.tables.risk import (
    alarms,
    automation_troubles,
    risk_events,
    risk_states,
)
from trading_assets.ledger.tables.trading import (
    account_fees,
    account_transactions,
    closings,
    delivery_announcements,
    equity,
    exit_decisions,
    fills,
    order_events,
    order_intents,
    positions,
    reconciliations,
)

__all__ = [
    "DecimalText",
    "account_fees",
    "account_tables",
    "account_transactions",
    "accounts",
    "alarms",
    "automation_troubles",
    "chat_bots",
    "chat_commands",
    "check_results",
    "closings",
    "dca_buys",
    "dca_orders",
    "dca_plans",
    "delivery_announcements",
    "entry_signals",
    "equity",
    "excluded_strategies",
    "exit_decisions",
    "fills",
    "grid_levels",
    "grid_orders",
    "grids",
    "history_tables",
    "installation",
    "leases",
    "live_changes",
    "metadata",
    "mirror_changes",
    "mirror_partitions",
    "mirrors",
    "named_accounts",
    "order_events",
    "order_intents",
    "outbox_channels",
    "outbox_deliveries",
    "outbox_messages",
    "partition_writes",
    "positions",
    "process_reports",
    "reconciliations",
    "rehearsals",
    "research_market",
    "research_settings",
    "risk_events",
    "risk_states",
    "schema_compatibility",
    "sealed_files",
    "sealed_partitions",
    "signal_evaluations",
    "signal_evidence",
    "sql_table",
    "strategies",
    "strategy_failures",
    "trading_switches",
]

history_tables = (
    order_events,
    fills,
    closings,
    equity,
    account_transactions,
    reconciliations,
    risk_events,
    risk_states,
    signal_evidence,
    trading_switches,
    live_changes,
    research_settings,
    rehearsals,
)
"""Rows that are never changed or deleted: triggers made by the migrations see to it."""

account_tables = tuple(table for table in metadata.tables.values() if table.name not in DERIVED)
"""All but the tables of the pipeline's stages."""
