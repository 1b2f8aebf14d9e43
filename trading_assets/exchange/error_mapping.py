"""What each of Bybit's codes means: the one table from `retCode` and HTTP status to the kind of an error. No I/O.

A code that is not in the table is ambiguous: a refusal that nobody knows decides nothing.
"""

from __future__ import annotations

import re
from enum import StrEnum


class ErrorKind(StrEnum):
    """What an answer that is not a plain success means for the caller."""

    SUCCESS = "success"
    """what was asked for is already so; only for a call that sets a state"""
    RETRY = "retry"
    """certainly not processed: it may be sent again"""
    AMBIGUOUS = "ambiguous"
    """unknown whether it was processed: a read may be sent again, a write must be looked up"""
    CLOCK = "clock"
    """not processed: the timestamp lay outside the window"""
    FATAL = "fatal"
    """the whole account: key, permission, ban, signature. Stop and tell a human"""
    SHAPE = "shape"
    """the account is in a mode in which this cannot be done"""
    BALANCE = "balance"
    """rejected for lack of margin"""
    UNAVAILABLE = "unavailable"
    """rejected: the symbol cannot be traded now, or by this key"""
    PRICE = "price"
    """rejected: the price has come to a stop or target already"""
    NOTHING_TO_CLOSE = "nothing to close"
    """rejected: a reduce-only order without a position that it could reduce"""
    RULES = "rules"
    """rejected: it breaks a rule of the contract, which may have changed"""
    REJECTED = "rejected"
    """rejected: never send it unchanged again"""


def _table(groups: dict[ErrorKind, tuple[int, ...]]) -> dict[int, ErrorKind]:
    return {code: kind for kind, codes in groups.items() for code in codes}


PARAMETERS = 10001
NO_SUCH_ORDER = 110001
TOO_MANY_REQUESTS = 10006
NOT_ON_DEMO = 10032
ENDED = (110008, 110010)
"""The order has been filled or cancelled already."""

CODES = _table(
    {
        ErrorKind.SUCCESS: (110025, 110026, 110027, 110043, 34040),
        ErrorKind.RETRY: (TOO_MANY_REQUESTS, 10018),
        ErrorKind.AMBIGUOUS: (
            *(10000, 10014, 10016, 10019, 10403, 10404, 10429, 20003, 20006, 30001, 110072, 170001, 170005, 170007),
            *(110079, 170032, 500000, 3100116, 3400214),
        ),
        ErrorKind.CLOCK: (10002,),
        ErrorKind.FATAL: (
            *(10003, 10004, 10005, 10007, 10008, 10009, 10010, 10017, 10024, 10027, 10028),
            *(33004, 100028, -2015),
        ),
        ErrorKind.SHAPE: (110024, 110028),
        ErrorKind.BALANCE: (*(30031, 110004, 110006, 110007, 110012, 110014, 110044, 110045, 110051, 110052, 110053),),
        ErrorKind.UNAVAILABLE: (
            *(10029, NOT_ON_DEMO, 30228),
            *(110022, 110023, 110042, 110063, 110066, 110074, 110123, 110125),
        ),
        ErrorKind.PRICE: (110092, 110093),
        ErrorKind.NOTHING_TO_CLOSE: (110017,),
        ErrorKind.RULES: (110013, 110086, 110094),
        ErrorKind.REJECTED: (
            *(PARAMETERS, 30034, 30035, 30063, 30208, 30209),
            *(NO_SUCH_ORDER, 110003, *ENDED, 110009, 110011, 110020, 110021),
            *(110057, 110058, 110059, 110060, 110061, 110064, 110073, 110089, 110090, 110118, 110120, 110121, 3400045),
        ),
    }
)
"""Every code that is known. Whatever is not here is ambiguous."""

_TEXTS: tuple[tuple[ErrorKind, re.Pattern[str]], ...] = (
    (ErrorKind.SUCCESS, re.compile(r"order not modified|not modified", re.IGNORECASE)),
    (ErrorKind.SHAPE, re.compile(r"position idx not match|position mode", re.IGNORECASE)),
    (
        ErrorKind.PRICE,
        re.compile(r"base_?price|(StopLoss|TakeProfit|\b[st][lp]):.*(greater|lower|higher|less)", re.IGNORECASE),
    ),
    (
        ErrorKind.UNAVAILABLE,
        re.compile(r"symbol (is )?(invalid|not supported|not exist)|invalid symbol", re.IGNORECASE),
    ),
    (
        ErrorKind.RULES,
        re.compile(
            r"\bqty\b|quantity|number of contracts|tick|precision|leverage|min(imum)? (notional|limit)", re.IGNORECASE
        ),
    ),
)
"""`10001` says "a parameter is wrong" and tells in its text which; the first that fits. Others: rejected."""

BANNED_FOR_S = 600.0
"""After HTTP 403 for too many requests, the address is banned for about ten minutes."""

ADVICE = {
    10003: "the key is not valid here: is it of another venue (testnet, demo), or deleted? Create a new one",
    33004: "the key has expired: create a new one",
    10004: "the signature is wrong: is the secret that of this key?",
    10005: "give the key the permission Contract (Orders and Positions)",
    10010: "the key is bound to other addresses: add this one at Bybit",
    10009: "this address is banned: ask Bybit",
    10008: "the account is banned: ask Bybit",
    10024: "Bybit does not serve this account for reasons of compliance: log in there",
    10028: "only a unified account can be traded: upgrade it at Bybit",
    100028: "only a unified account can be traded: upgrade it at Bybit",
}
"""What a person has to do after a refusal that concerns the whole account."""


def kind_of_code(code: int, message: str = "") -> ErrorKind:
    """What a `retCode` other than 0 means; the text tells the cases of `10001` apart."""
    kind = CODES.get(code, ErrorKind.AMBIGUOUS)
    if code == PARAMETERS:
        return next((found for found, pattern in _TEXTS if pattern.search(message)), kind)
    return kind


def kind_of_status(status: int, body: str) -> ErrorKind:
    """What an HTTP status other than 200 means. Only the body tells a ban (403) from a closed country.

    429 is system protection: whether a write had passed it is unknown.
    """
    if status == 403:
        return ErrorKind.RETRY if "too frequent" in body.lower() else ErrorKind.FATAL
    if status in (401, 404):
        return ErrorKind.FATAL
    return ErrorKind.AMBIGUOUS
