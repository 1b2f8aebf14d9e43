"""What each of Bybit's codes means: the one table from `retCode` and HTTP status to the kind of an error. No I/O."""

from __future__ import annotations

from enum import StrEnum


class ErrorKind(StrEnum):
    """What an answer that is not a plain success means for the caller."""

    SUCCESS = "success"
    """what was asked for is already so"""
    RETRY = "retry"
    """certainly not processed: it may be sent again"""
    AMBIGUOUS = "ambiguous"
    """unknown whether it was processed: a read may be sent again, a write must be looked up"""
    CLOCK = "clock"
    """not processed: the timestamp lay outside the window"""
    FATAL = "fatal"
    """key, permission, ban or signature: stop and tell a person"""
    BALANCE = "balance"
    """rejected for lack of margin"""
    UNAVAILABLE = "unavailable"
    """rejected: the symbol cannot be traded now, or by this key"""
    REJECTED = "rejected"
    """rejected: never send it unchanged again"""


def _table(groups: dict[ErrorKind, tuple[int, ...]]) -> dict[int, ErrorKind]:
    return {code: kind for kind, codes in groups.items() for code in codes}


NO_SUCH_ORDER = 110001
TOO_MANY_REQUESTS = 10006
NOT_ON_DEMO = 10032

_CODES = _table(
    {
        ErrorKind.SUCCESS: (110025, 110026, 110027, 110043, 34040),
        ErrorKind.RETRY: (TOO_MANY_REQUESTS, 110079),
        ErrorKind.AMBIGUOUS: (10000, 10014, 10016, 10019, 10429, 30001, 110072, 500000, 3400214),
        ErrorKind.CLOCK: (10002,),
        ErrorKind.FATAL: (
            *(10003, 10004, 10005, 10007, 10008, 10009, 10010, 10017, 10024, 10027, 10028),
            *(33004, 100028, -2015, 110024, 110028),
        ),
        ErrorKind.BALANCE: (*(30031, 110004, 110006, 110007, 110012, 110014, 110044, 110045, 110051, 110052, 110053),),
        ErrorKind.UNAVAILABLE: (
            *(10029, NOT_ON_DEMO, 30228),
            *(110022, 110023, 110042, 110063, 110066, 110074, 110123, 110125),
        ),
    }
)

BANNED_FOR_S = 600.0
"""After HTTP 403 for too many requests, the address is banned for about ten minutes."""


def kind_of_code(code: int) -> ErrorKind:
    """What a `retCode` other than 0 means. An unknown code is a rejection: the venue answered, and said no."""
    return _CODES.get(code, ErrorKind.REJECTED)


def kind_of_status(status: int, body: str) -> ErrorKind:
    """What an HTTP status other than 200 means. Only the body tells a ban (403) from a closed country.

    429 is system protection: whether a write had passed it is unknown.
    """
    if status == 403:
        return ErrorKind.RETRY if "too frequent" in body.lower() else ErrorKind.FATAL
    if status in (401, 404):
        return ErrorKind.FATAL
    return ErrorKind.AMBIGUOUS
