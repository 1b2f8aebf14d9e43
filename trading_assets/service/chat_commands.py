"""The bot's commands: who may give each, whether it asks back, and what it does. No messenger here."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from trading_assets.core.errors import ConfirmationError, TradingAssetsError
from trading_assets.core.settings import Settings
from trading_assets.ledger import account as account_ledger
from trading_assets.service import replies
from trading_assets.service.actions import Operator
from trading_assets.trading.execute.flatten import FlattenReport
from trading_assets.trading.risk import confirmations

CONFIRM_WITHIN_S = 60.0
CLOSE_WITHIN_S = 240.0
_SYMBOL = re.compile(r"[A-Z0-9]{2,24}")
_PRESSED = re.compile(r"(flatten|close|resume|cancel):([A-Z0-9-]{0,24}):([A-Z0-9-]{0,20}):?([A-Za-z0-9_-]{0,32})")
_ACCOUNT = re.compile(r"(?:^|\s)account=([A-Za-z0-9_-]{1,32})(?=\s|$)")
_LONGEST_DATA = 64
"""Bytes of what a button may stand for."""


class Role(IntEnum):
    """What a user may: look; also make the account safer; everything."""

    VIEWER = 0
    TRADER = 1
    ADMIN = 2


@dataclass(frozen=True)
class Reply:
    """An answer, and the buttons below it: words and what each stands for.

    Attributes:
        did: whether it did what was asked; False where it was refused or failed.
    """

    text: str
    buttons: tuple[tuple[str, str], ...] = ()
    did: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For the ledger."""
        return {"text": self.text, "buttons": [list(one) for one in self.buttons]}


Act = Callable[[Operator, str], Reply]


@dataclass(frozen=True)
class ChatCommand:
    """A command.

    Attributes:
        argument: its name where it needs one; in brackets where it may be left out.
        is_repeatable: doing it twice is the same as once: after a death it is simply done.
        is_slow: it takes seconds or minutes, and others go on meanwhile.
    """

    name: str
    role: Role
    what: str
    act: Act
    argument: str = ""
    is_repeatable: bool = True
    is_slow: bool = False


def _look(text: Callable[..., str]) -> Act:
    return lambda operator, _: Reply(text(operator.shown(), operator.database))


def _why(operator: Operator, order: str) -> Reply:
    return Reply(replies.why(operator.shown(), operator.database, order))


def _asking(action: str, question: Callable[[Settings, str], str]) -> Act:
    """Ask back: the answer has a button that confirms, good once, for a minute, for him who asked."""

    def act(operator: Operator, argument: str) -> Reply:
        symbol = argument.upper()
        if action == "close" and not _SYMBOL.fullmatch(symbol):
            return Reply(f"{argument!r} is no symbol; expected such as /close BTCUSDT", did=False)
        settings = operator.meant(action)
        shown = _shown(operator, settings.account, symbol)
        if action == "close" and not shown:
            return Reply(f"The books know no open position in {symbol}.", did=False)
        if action == "flatten" and not shown:
            return Reply("The books know no open position. To stop trading: /halt", did=False)
        code = confirmations.create(settings, action, operator.actor, details=_digest(shown, symbol))
        data = f"{action}:{symbol}:{code}:{settings.account}"
        if len(data) > _LONGEST_DATA:
            return Reply("These names are too long for a button. Nothing was done; use the command line.", did=False)
        buttons = ((f"yes, {action} {symbol}".strip(), data), ("no", "cancel::"))
        text = "\n".join([question(settings, symbol), *shown, f"Good for {CONFIRM_WITHIN_S:.0f} s, once."])
        return Reply(text, buttons)

    return act


def shown_text(text: str, *, is_button: bool) -> str:
    """A command as it may be shown and kept: a button in words, without the code that it stands for."""
    matched = _PRESSED.fullmatch(text) if is_button else None
    if matched is None:
        return text
    action, symbol, _, account = matched.groups()
    if action == "cancel":
        return "no"
    return " ".join(word for word in ("yes,", action, symbol, f"account={account}" if account else "") if word)


def pressed(operator: Operator, data: str) -> Reply:
    """A button was pressed: do what it stands for, if it still may be done."""
    matched = _PRESSED.fullmatch(data)
    if matched is None:
        return Reply("This button means nothing here.", did=False)
    action, symbol, code, account = matched.groups()
    if action == "cancel":
        return Reply("Nothing was done.")
    again = f"/{action} {symbol}".strip()
    operator = operator.at(account)
    settings = operator.meant(action)
    try:
        held = confirmations.use(settings, action, code)
    except ConfirmationError:
        return Reply(f"This button was used already, or is too old. Nothing was done; ask again: {again}", did=False)
    if held.actor != operator.actor:
        return Reply(f"{held.actor} asked, and only he may confirm. Nothing was done.", did=False)
    if time.time() - held.made_s > CONFIRM_WITHIN_S:
        return Reply(f"The button is too old. Nothing was done; ask again: {again}", did=False)
    if action != "resume" and held.details != _digest(_shown(operator, settings.account, symbol), symbol):
        return Reply(f"The positions have changed meanwhile. Nothing was done; ask again: {again}", did=False)
    if action == "resume":
        return Reply(operator.resume("by chat"))
    report = (
        operator.flatten("flatten by chat", CLOSE_WITHIN_S)
        if action == "flatten"
        else operator.close(symbol, CLOSE_WITHIN_S)
    )
    after = " Trading is HALTED: /resume" if action == "flatten" else ""
    return Reply(f"{report}.{after}", did=_is_done(report))


def _is_done(report: FlattenReport) -> bool:
    return not report.left and not report.unread


def _shown(operator: Operator, account: str, symbol: str) -> list[str]:
    """The positions that would be closed, a line each, as the books know them."""
    held = account_ledger.position_rows(operator.database, account)
    return [
        f"{row['side']} {row['symbol']} {float(row['size']):.10g}: {float(row['unrealised_pnl']):+,.2f} USD"
        for row in held.to_dict("records")
        if symbol in ("", row["symbol"])
    ]


def _digest(shown: list[str], symbol: str) -> str:
    """Of which positions there are, not of what they are worth."""
    which = sorted(line.partition(":")[0] for line in shown)
    return hashlib.sha256("|".join([symbol, *which]).encode()).hexdigest()[:16]


def _reason(argument: str) -> str:
    return argument or "by chat"


COMMANDS: Mapping[str, ChatCommand] = {
    one.name: one
    for one in (
        ChatCommand("status", Role.VIEWER, "state, money, troubles", _look(replies.status)),
        ChatCommand("portfolio", Role.VIEWER, "exposure, drawdown, results", _look(replies.portfolio_text)),
        ChatCommand("positions", Role.VIEWER, "open positions", _look(replies.positions)),
        ChatCommand("trades", Role.VIEWER, "newest closed trades", _look(replies.trades)),
        ChatCommand("performance", Role.VIEWER, "results by strategy", _look(replies.performance)),
        ChatCommand("signals", Role.VIEWER, "newest signals", _look(replies.newest_signals)),
        ChatCommand(
            "strategies",
            Role.VIEWER,
            "which are started",
            lambda operator, _: Reply(replies.strategies(operator.database)),
        ),
        ChatCommand("why", Role.VIEWER, "an order back to its candles", _why, argument="ORDER"),
        ChatCommand(
            "halt",
            Role.TRADER,
            "open nothing, reject what waits",
            lambda operator, reason: Reply(operator.halt(_reason(reason))),
            argument="[REASON]",
        ),
        ChatCommand(
            "reduce",
            Role.TRADER,
            "open nothing new",
            lambda operator, reason: Reply(operator.reduce(_reason(reason))),
            argument="[REASON]",
        ),
        ChatCommand(
            "stop_strategy",
            Role.TRADER,
            "open nothing more with it",
            lambda operator, name: Reply(operator.stop_strategy(name)),
            argument="NAME",
            is_repeatable=False,
        ),
        ChatCommand(
            "close",
            Role.TRADER,
            "close one position; asks back",
            _asking(
                "close",
                lambda settings, symbol: (
                    f"Cancel what waits in {symbol} and close its position at the market, account "
                    f"{settings.account} on {settings.venue.value}?"
                ),
            ),
            argument="SYMBOL",
            is_repeatable=False,
        ),
        ChatCommand(
            "start_strategy",
            Role.ADMIN,
            "check it, and start it",
            lambda operator, name: Reply(operator.start_strategy(name)),
            argument="NAME",
            is_repeatable=False,
            is_slow=True,
        ),
        ChatCommand(
            "resume",
            Role.ADMIN,
            "trade again; asks back",
            _asking(
                "resume",
                lambda settings, _: (
                    f"Let account {settings.account} on "
                    f"{settings.venue.value} trade again? A loss that had halted it is accepted."
                ),
            ),
            is_repeatable=False,
        ),
        ChatCommand(
            "flatten",
            Role.ADMIN,
            "halt, and close every position; asks back",
            _asking(
                "flatten",
                lambda settings, _: (
                    f"Halt, and close every position of account "
                    f"{settings.account} on {settings.venue.value} at the market?"
                ),
            ),
            is_repeatable=False,
        ),
    )
}

ALWAYS = frozenset({"halt", "reduce"})
"""They are done however late they come, and however many came before."""

_PRESSED_ROLES = {"close": Role.TRADER, "flatten": Role.ADMIN, "resume": Role.ADMIN, "cancel": Role.VIEWER}


def help_text(role: Role) -> str:
    """The commands that a role may give."""
    return "\n".join(
        f"/{one.name}{' ' + one.argument if one.argument else ''} - {one.what}"
        for one in COMMANDS.values()
        if one.role <= role
    )


def find(text: str, our_name: str = "") -> tuple[str, str] | None:
    """The command's name and its argument; None where it is for another bot."""
    whom = text.strip().partition(" ")[0].partition("@")[2]
    return None if whom and whom.lower() != our_name.lower() else split(text)


def split(text: str) -> tuple[str, str]:
    """The command's name and its argument, whichever bot it names."""
    word, _, argument = text.strip().partition(" ")
    return word.removeprefix("/").partition("@")[0].lower(), " ".join(argument.split())


def is_repeatable(text: str, *, is_button: bool) -> bool:
    """Whether it may simply be done again after a death."""
    known = COMMANDS.get(split(text)[0])
    return not is_button and (known is None or known.is_repeatable)


def is_slow(text: str, *, is_button: bool) -> bool:
    """Whether others are to go on while it is done."""
    known = COMMANDS.get(split(text)[0])
    return is_button or (known is not None and known.is_slow)


def perform(operator: Operator, role: Role, text: str, *, is_button: bool) -> Reply:
    """Do what was written, or what the button stands for. Every error is an answer."""
    try:
        if is_button:
            wanted = _PRESSED_ROLES.get(text.partition(":")[0], Role.ADMIN)
            return pressed(operator, text) if role >= wanted else _may_not(wanted)
        name, argument = split(text)
        named = _ACCOUNT.search(argument)
        account = named[1] if named is not None else ""
        argument = _ACCOUNT.sub("", argument).strip()
        if name in ("help", "start"):
            return Reply(help_text(role))
        command = COMMANDS.get(name)
        if command is None:
            return Reply(f"Unknown command. These are known:\n{help_text(role)}", did=False)
        if role < command.role:
            return _may_not(command.role)
        if command.argument and not command.argument.startswith("[") and not argument:
            return Reply(f"Expected: /{command.name} {command.argument}", did=False)
        return command.act(operator.at(account), argument)
    except TradingAssetsError as error:
        return Reply(str(error), did=False)


def _may_not(role: Role) -> Reply:
    return Reply(f"That needs the role {role.name.lower()}. Nothing was done.", did=False)
