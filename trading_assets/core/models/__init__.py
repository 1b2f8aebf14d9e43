"""What every connector speaks: frozen records in the field's terms, `Decimal` for money and quantities.

The words are the project's own. A connector translates its exchange's words, codes and numbers into them; where a
venue's own word is kept, it is for a person to read and never compared.

One vocabulary: it is imported from here, wherever in the package a word is defined.
"""

from trading_assets.core.models.account import (
    DOLLARS,
    AccountShape,
    ApiKeyInfo,
    FeeRate,
    MarginMode,
    Position,
    PositionMode,
    Transaction,
    TransactionKind,
    Wallet,
)
from trading_assets.core.models.contracts import (
    Announcement,
    ContractKind,
    ContractStatus,
    Instrument,
    OrderBook,
    Ticker,
    Tickers,
    is_leaving,
)
from trading_assets.core.models.orders import (
    CancelledBy,
    ClosedPnl,
    CloseReason,
    EntryOrder,
    Execution,
    FillKind,
    Order,
    OrderAck,
    OrderChange,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    RejectReason,
    SendBy,
    Side,
    close_reason,
)
from trading_assets.core.models.rows import (
    Rows,
    UnreadableRow,
)

__all__ = [
    "DOLLARS",
    "AccountShape",
    "Announcement",
    "ApiKeyInfo",
    "CancelledBy",
    "CloseReason",
    "ClosedPnl",
    "ContractKind",
    "ContractStatus",
    "EntryOrder",
    "Execution",
    "FeeRate",
    "FillKind",
    "Instrument",
    "MarginMode",
    "Order",
    "OrderAck",
    "OrderBook",
    "OrderChange",
    "OrderPurpose",
    "OrderRequest",
    "OrderStatus",
    "Position",
    "PositionMode",
    "RejectReason",
    "Rows",
    "SendBy",
    "Side",
    "Ticker",
    "Tickers",
    "Transaction",
    "TransactionKind",
    "UnreadableRow",
    "Wallet",
    "close_reason",
    "is_leaving",
]
