"""Whether an account at a venue is set up as this system trades it, and how it is brought there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trading_assets.core.errors import AccountShapeError
from trading_assets.core.models import AccountShape, MarginMode, PositionMode
from trading_assets.core.ports import Exchange, VenueSymbols


class AccountChange(StrEnum):
    """What `prepare_account` can set. The value says it to a person."""

    CROSS = "the margin mode to cross: the whole account secures each position"
    ONE_WAY = "the position mode of every contract to one-way: one position a coin"


_CANNOT_BE_TRADED = {
    MarginMode.PORTFOLIO: "it is in portfolio margin, whose needs nobody can foresee: choose cross margin at the venue",
    MarginMode.OTHER: "its margin mode is not known to this system: choose cross margin at the venue",
}


@dataclass(frozen=True)
class AccountVerdict:
    """What is known of an account: a line to show, what forbids to trade it, what differs from the usual.

    Attributes:
        changes: what `prepare_account` would set.
    """

    summary: str
    faults: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[AccountChange, ...]


def judge_account(shape: AccountShape, symbol: str, legs: tuple[str, ...] = ()) -> AccountVerdict:
    """Whether an account is in the shape that trading needs. Each fault and warning is one sentence.

    Args:
        symbol: the contract whose position mode the shape tells.
        legs: contracts in which legs of hedge mode are open.
    """
    faults, warnings, changes = [], [], []
    if not shape.unified:
        faults.append("it is a classic account: upgrade it to a unified account at the venue")
    if shape.margin_mode in _CANNOT_BE_TRADED:
        faults.append(_CANNOT_BE_TRADED[shape.margin_mode])
    if shape.margin_mode is MarginMode.ISOLATED:
        changes.append(AccountChange.CROSS)
        warnings.append(
            "it is in isolated margin: a position may be liquidated although the account has money left, and free "
            "margin is counted by coin; trading-assets accounts prepare sets cross"
        )
    if shape.position_mode is PositionMode.HEDGE:
        changes.append(AccountChange.ONE_WAY)
        faults.append(
            f"{symbol} is in hedge mode, and this system trades in one-way mode: run trading-assets accounts prepare"
        )
    elif legs:
        changes.append(AccountChange.ONE_WAY)
    if shape.position_mode is PositionMode.UNKNOWN:
        warnings.append(f"the venue does not tell the position mode of {symbol} now")
    if legs:
        warnings.append(f"legs of hedge mode are open in {', '.join(legs)}: nothing is traded there")
    kind = "unified" if shape.unified else "classic"
    number = "" if shape.user_id is None else f" {shape.user_id}"
    summary = f"{kind} account{number}, {shape.margin_mode.value} margin, {symbol} in {shape.position_mode.value} mode"
    return AccountVerdict(summary, tuple(faults), tuple(warnings), tuple(changes))


def examine_account(exchange: Exchange, symbols: VenueSymbols) -> AccountVerdict:
    """Ask the venue how the account is set up, and what is open in hedge mode.

    Raises:
        ExchangeError: the venue refuses, or cannot be asked.
    """
    legs = sorted({held.symbol for held in exchange.positions() if held.position_idx})
    return judge_account(exchange.account_shape(symbols.btc), symbols.btc, tuple(legs))


def require_tradable_account(exchange: Exchange, symbols: VenueSymbols) -> AccountVerdict:
    """What the venue says of the account. Call it before anything is traded, and when a refusal hints at its shape.

    Raises:
        AccountShapeError: it cannot be traded; the message says why, and what to do.
        ExchangeError: the venue refuses, or cannot be asked.
    """
    verdict = judge_account(exchange.account_shape(symbols.btc), symbols.btc)
    if verdict.faults:
        raise AccountShapeError(f"the account cannot be traded: {'; '.join(verdict.faults)}")
    return verdict


def prepare_account(exchange: Exchange, symbols: VenueSymbols, changes: tuple[AccountChange, ...]) -> AccountVerdict:
    """Set what is to be changed, and ask again.

    Raises:
        AccountShapeError: positions or orders are open; the message names their contracts.
        ExchangeError: the venue refuses, or cannot be asked.
    """
    if AccountChange.CROSS in changes:
        exchange.set_cross_margin()
    refused: AccountShapeError | None = None
    if AccountChange.ONE_WAY in changes:
        try:
            exchange.set_one_way()
        except AccountShapeError as error:
            refused = error
    after = examine_account(exchange, symbols)
    # A venue may switch those contracts alone in which nothing is open.
    if refused is not None or AccountChange.ONE_WAY in after.changes:
        in_the_way = {held.symbol for held in exchange.positions()} | {one.symbol for one in exchange.open_orders()}
        raise AccountShapeError(
            "the position mode of a contract cannot be changed while positions or orders are open in it "
            f"({', '.join(sorted(in_the_way)) or 'the venue names none'}): close them, then try again",
            code=refused.code if refused is not None else None,
        ) from refused
    return after


def settle_coins_held(exchange: Exchange) -> dict[str, tuple[str, ...]]:
    """The contracts in which positions are open, by their settle coin; "unknown" where the venue lists them no more."""
    coins = {contract.symbol: contract.settle_coin for contract in exchange.instruments()}
    held: dict[str, set[str]] = {}
    for position in exchange.positions():
        held.setdefault(coins.get(position.symbol, "unknown"), set()).add(position.symbol)
    return {coin: tuple(sorted(symbols)) for coin, symbols in sorted(held.items())}
