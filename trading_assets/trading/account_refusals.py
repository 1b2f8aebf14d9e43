"""Refusals of the whole account (key, permission, ban, mode): told once an episode, by whichever caller meets them.

An episode is kept in the ledger, so that all processes share it. One of reads ends when the account can be read again,
one of orders when an order is accepted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from trading_assets.core.errors import AccountShapeError, ExchangeFatalError
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.ledger import risk
from trading_assets.trading.context import ExecutionContext
from trading_assets.venues.accounts import require_tradable_account

_READ, _ORDER = "refused read", "refused order"

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


def tell(context: ExecutionContext, error: ExchangeFatalError, *, of_order: bool = False) -> None:
    """Tell a refusal of the whole account, unless the same one was told and has not ended. The error says what to do.

    Args:
        of_order: it was a write: that the account can be read says nothing of it.
    """
    account = context.settings.account
    kind = f"{_ORDER if of_order else _READ} {error.key}"
    now_ms, told = context.wall_ms(), list[Message]()
    with context.database.write(one_at_a_time=f"refusals of {account}") as connection:
        known = risk.open_episodes(connection, account, (_READ, _ORDER))
        if kind not in known:
            risk.begin_episode(connection, account, kind, str(error), now_ms)
        if not any(one.rsplit(" ", 1)[1] == error.key for one in known):
            title, text = "the exchange refuses the account", f"{error}. Nothing is opened until then; stops stay."
            told.append(context.keep(connection, title, text, Kind.ACCOUNT, Severity.CRITICAL, time_ms=now_ms))
    context.tell(*told)


def end(context: ExecutionContext, *, of_orders: bool = False) -> None:
    """The account was read, or with `of_orders` an order was accepted: what was refused is no more."""
    account = context.settings.account
    kinds = (_READ, _ORDER) if of_orders else (_READ,)
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
        tell(context, error, of_order=True)  # that the account can be read does not end it
        raise


def told(
    call: Callable[Concatenate[ExecutionContext, _Given], _Answer],
) -> Callable[Concatenate[ExecutionContext, _Given], _Answer]:
    """Decorate a function of a context: what it raises of the whole account is told, and raised on."""

    @functools.wraps(call)
    def telling(context: ExecutionContext, *args: _Given.args, **more: _Given.kwargs) -> _Answer:
        try:
            return call(context, *args, **more)
        except ExchangeFatalError as error:
            tell(context, error)
            raise

    return telling
