"""Refusals of the whole account (key, permission, ban, mode): told once an episode, by whichever caller meets them.

An episode is kept in the ledger, so that all processes share it. One of reads ends when the account can be read again,
one of orders when an order is accepted, one of stops when a stop is set, one of the account's shape when it is asked
again and can be traded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Concatenate, ParamSpec, TypeVar

from trading_assets.core.errors import AccountShapeError, ExchangeError, ExchangeFatalError, UnusableKeyError
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.ledger import risk
from trading_assets.trading.context import ExecutionContext
from trading_assets.venues.accounts import judge_account, require_tradable_account
from trading_assets.venues.keys import judge_key

_READ, _ORDER, _STOP = "refused read", "refused order", "refused stop"
_ALL = (_READ, _ORDER, _STOP)
_SHAPE, _KEY = f"{_ORDER} shape", f"{_ORDER} key"
"""They end when the account, or the key, is asked again and can be traded."""

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


def tell(
    context: ExecutionContext, error: ExchangeFatalError, *, of_order: bool = False, of_stop: bool = False
) -> None:
    """Tell a refusal of the whole account, unless the same one was told and has not ended. The error says what to do.

    It hints at how account and key are set up, so both are asked again; what they say against trading is told with it.
    A refusal for a mode is told where the account has it; that of one contract is the caller's to tell.

    Args:
        of_order, of_stop: it was a write: that the account can be read says nothing of it.
    """
    if isinstance(error, AccountShapeError):
        is_of_account(context, error)
        return
    with context.database.read() as connection:
        is_known = _is_known(risk.open_episodes(connection, context.settings.account, _ALL), error.key)
    found = "" if is_known else asked_again(context)
    of_what = _ORDER if of_order else _STOP if of_stop else _READ
    _begin(context, of_what, error.key, f"{error}{found and f'; asked again: {found}'}")


def _begin(context: ExecutionContext, of_what: str, key: str, text: str) -> None:
    """Begin an episode and tell it, unless one of the same key has not ended."""
    account, kind = context.settings.account, f"{of_what} {key}"
    now_ms, told = context.wall_ms(), list[Message]()
    with context.database.write(one_at_a_time=f"refusals of {account}") as connection:
        known = risk.open_episodes(connection, account, _ALL)
        if kind not in known:
            risk.begin_episode(connection, account, kind, text, now_ms)
        if not _is_known(known, key):
            title, body = "the exchange refuses the account", f"{text}. Nothing is opened until then; stops stay."
            told.append(context.keep(connection, title, body, Kind.ACCOUNT, Severity.CRITICAL, time_ms=now_ms))
    context.tell(*told)


def _is_known(episodes: set[str], key: str) -> bool:
    return any(one.rsplit(" ", 1)[1] == key for one in episodes)


def asked_again(context: ExecutionContext) -> str:
    """Ask how account and key are set up now. Return what is against trading, or unusual; empty where nothing is told.

    For a person who reads of a refusal that hints at it: what cannot be asked is left out.
    """
    exchange, symbol = context.exchange, context.settings.symbols.btc
    found: list[str] = []
    with suppress(ExchangeError):
        verdict = judge_account(exchange.account_shape(symbol), symbol)
        found += [*verdict.faults, *verdict.warnings]
    with suppress(ExchangeError):
        found += [f"of the key: {fault}" for fault in judge_key(exchange.api_key(), exchange.now_ms()).faults]
    return "; ".join(found)


def is_of_account(context: ExecutionContext, error: AccountShapeError) -> bool:
    """Ask whether a refusal for a mode is one of the whole account, and tell it then. Else it is one of a contract.

    Where the venue cannot be asked it counts as one of the account: nothing is known, and the signal waits.
    """
    try:
        require_tradable(context)
    except AccountShapeError:
        return True
    except ExchangeError:
        _begin(context, _ORDER, error.key, str(error))
        return True
    return False


def why_out_of_shape(context: ExecutionContext) -> str:
    """Why the account's shape still forbids to trade it, if it did when it was asked last. Empty where it does not."""
    with context.database.read() as connection:
        if _SHAPE not in risk.open_episodes(connection, context.settings.account, (_SHAPE,)):
            return ""
    try:
        require_tradable(context)
    except ExchangeError as error:
        return str(error)
    return ""


def end(context: ExecutionContext, *, of_orders: bool = False, of_stops: bool = False) -> None:
    """The account was read, or an order or a stop was accepted: what was refused is no more."""
    _end(context, (_READ, *((_ORDER,) if of_orders else ()), *((_STOP,) if of_stops else ())))


def _end(context: ExecutionContext, kinds: tuple[str, ...]) -> None:
    """End the episodes whose kinds begin with one of these words."""
    account = context.settings.account
    with context.database.read() as connection:
        if not risk.open_episodes(connection, account, kinds):
            return
    with context.database.write(one_at_a_time=f"refusals of {account}") as connection:
        for kind in risk.open_episodes(connection, account, kinds):
            risk.end_episode(connection, account, kind, context.wall_ms())


def require_tradable(context: ExecutionContext) -> None:
    """Ask the venue how the account is set up, before anything is traded. What forbids to trade is told.

    Raises:
        AccountShapeError: it cannot be traded; the message says why, and what to do.
        ExchangeError: the venue refuses, or cannot be asked.
    """
    try:
        require_tradable_account(context.exchange, context.settings.symbols)
    except AccountShapeError as error:
        _begin(context, _ORDER, error.key, str(error))  # that the account can be read does not end it
        raise
    except ExchangeFatalError as error:
        tell(context, error)
        raise
    _end(context, (_SHAPE,))


@contextmanager
def telling(context: ExecutionContext, *, of_order: bool = False, of_stop: bool = False) -> Iterator[None]:
    """What the block raises of the whole account is told, and raised on."""
    try:
        yield
    except ExchangeFatalError as error:
        tell(context, error, of_order=of_order, of_stop=of_stop)
        raise


def require_bound(context: ExecutionContext) -> None:
    """See `ExecutionContext.require_bound`; a refusal of the whole account is told.

    Raises:
        WrongBooksError: the ledger is not that of the key's account.
        ExchangeError: the venue refuses, or cannot be asked.
    """
    with telling(context):
        context.require_bound()


@contextmanager
def asking_for_the_key(context: ExecutionContext) -> Iterator[None]:
    """In the block the venue is asked what the key may do: that it may not trade, or is refused, is told."""
    try:
        with telling(context):
            yield
    except UnusableKeyError as error:
        _begin(context, _ORDER, _KEY.rpartition(" ")[2], str(error))
        raise
    _end(context, (_KEY,))


def told(
    call: Callable[Concatenate[ExecutionContext, _Given], _Answer],
) -> Callable[Concatenate[ExecutionContext, _Given], _Answer]:
    """Decorate a function of a context: what it raises of the whole account is told, and raised on."""

    @functools.wraps(call)
    def told_call(context: ExecutionContext, *args: _Given.args, **more: _Given.kwargs) -> _Answer:
        with telling(context):
            return call(context, *args, **more)

    return told_call
