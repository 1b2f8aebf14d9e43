"""The one tree of errors that the project raises on purpose.

A message says what was found, what was expected and what to do. Anything else that escapes is a bug.
Errors of a library never cross a module border: the module that calls the library translates them.
"""

from __future__ import annotations


class TradingAssetsError(Exception):
    """Root of every error raised on purpose."""


class ConfigurationError(TradingAssetsError):
    """A setting is malformed, unknown or missing. Nothing was started."""


class MissingKeysError(ConfigurationError):
    """The venue needs an API key and secret and at least one is absent."""


class UnknownAccountError(ConfigurationError):
    """No account of the installation has the name, or several are meant where one must be."""


class UnusableKeyError(ConfigurationError):
    """The API key may not trade: read-only, without permission, expired, or of another kind of account."""


class StorageError(TradingAssetsError):
    """A store cannot be read or written (disk full, no permission, damaged file)."""


class DamagedFileError(StorageError):
    """A file does not hold what was written into it."""


class ConflictError(StorageError):
    """A row breaks a rule of its table: another process was first, or a value is missing. Nothing was written."""


class ChangedMeanwhileError(StorageError):
    """Another writer has written a file since it was read. Nothing was written: read it again, and decide again."""


class DatabaseLockedError(StorageError):
    """Another process kept the database locked longer than the busy timeout."""


class MirrorUnavailableError(TradingAssetsError):
    """DynamoDB did not take or show items. What the mirror lacks waits in the ledger."""


class ConfirmationError(TradingAssetsError):
    """A command that risks or moves money came without a valid one-time code. Nothing was done."""


class DeadlineError(TradingAssetsError):
    """Something took longer than it may. What was sent before stays sent."""


class WrongBooksError(TradingAssetsError):
    """The ledger belongs to another account, venue or market, or nobody has said yet to whose. Nothing was done."""


class TradingIsOffError(TradingAssetsError):
    """The account's switch is off: nothing is opened until a person switches it on."""


class HaltedByHandError(TradingAssetsError):
    """A file that somebody made by hand halts every account of the home. Nothing was done."""


class LeaseLostError(TradingAssetsError):
    """Another process holds what this one was allowed to do alone: it must stop doing it. Nothing was written."""


class DataError(TradingAssetsError):
    """Data does not have the promised form (schema, order, gaps, missing candles)."""


class NothingYetError(DataError):
    """There is nothing to look at yet, and there will be if one waits: no fault of anybody."""


class StrategyError(TradingAssetsError):
    """A strategy is unknown, or its parameters or its output are malformed."""


class ExchangeError(TradingAssetsError):
    """The exchange refused, failed or could not be reached.

    Attributes:
        code: the exchange's own code, or the HTTP status where the answer has none, or None. For messages only.
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_answered(self) -> bool:
        """Whether the exchange has said anything at all."""
        return self.code is not None

    @property
    def key(self) -> str:
        """Tells refusals apart: the same key, the same refusal."""
        return "unknown" if self.code is None else str(self.code)


class ExchangeUnavailableError(ExchangeError):
    """No usable answer to a *read* (network, 5xx, not JSON). Nothing can have been changed by it."""


class UnreadableAnswerError(ExchangeUnavailableError):
    """The venue answered, and left empty or malformed what was asked for: unknown, not zero."""


class AmbiguousOutcomeError(ExchangeError):
    """A *write* was sent and its outcome is unknown: look it up before anything else, never send again."""


class NotSentError(ExchangeError):
    """A *write* certainly had no effect (connection refused, rate limit, clock): it may be tried later."""


class TooLateError(NotSentError):
    """The time by which a *write* was to be signed has passed: it is not sent, now or later."""


class RateLimitedError(NotSentError):
    """Too many requests; `retry_after_s` says how long to keep quiet."""

    def __init__(self, message: str, *, code: int | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class ClockSkewError(NotSentError):
    """Local and exchange clocks differ by more than the limit; trading on it would be blind."""


class ExchangeFatalError(ExchangeError):
    """Key, permission, ban, address or signature: stop trading and tell a human."""


class AccountShapeError(ExchangeFatalError):
    """The account, or a contract, is in a mode in which this system does not trade, so the order is not accepted."""

    @property
    def key(self) -> str:
        return "shape"


class OrderRejectedError(ExchangeError):
    """The exchange said no to this very order; nothing was placed. Never send it unchanged again."""


class OrderEndedError(OrderRejectedError):
    """The order is filled or cancelled already, or the venue does not know it: nothing was changed. Look it up."""


class NothingToCloseError(OrderRejectedError):
    """A reduce-only order, and no position of the other side that it could reduce."""


class InsufficientBalanceError(OrderRejectedError):
    """Not enough margin for the order."""


class PriceRefusedError(OrderRejectedError):
    """A stop or target lies on the wrong side of the price: the price has come to it already."""


class RulesChangedError(OrderRejectedError):
    """The order breaks a rule of its contract (tick, step, minimum, leverage): read the contract's rules again."""


class SymbolUnavailableError(OrderRejectedError):
    """The symbol is closed, delisting or not permitted to this key: drop it."""
