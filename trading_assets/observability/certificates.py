"""When the certificate of the UI expires: asked of the server that browsers meet, now and then."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography import x509

from trading_assets.core.timeframes import HOUR_MS

_TIMEOUT_S = 2.0
_KNOWN_FOR_S, _UNKNOWN_FOR_S = HOUR_MS / 1000, 600.0


def expires_ms(url: str, timeout_s: float = _TIMEOUT_S) -> int | None:
    """Return when the certificate of an https server expires, UTC ms; None for http, or where nobody shows one.

    The certificate is read, not trusted: one that has expired, or that this machine does not know, has a date, too.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout=timeout_s) as line,
            context.wrap_socket(line, server_hostname=parts.hostname) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
        if shown is None:
            return None
        return int(x509.load_der_x509_certificate(shown).not_valid_after_utc.timestamp() * 1000)
    except (OSError, ValueError):
        return None


@dataclass
class Certificates:
    """Remembers what was found: who looks often asks the server once an hour, or every ten minutes until it answers."""

    _found: dict[str, tuple[float, int | None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expires_ms(self, url: str) -> int | None:
        """See the function."""
        with self._lock:
            at_s, found = self._found.get(url, (0.0, None))
            if at_s == 0.0 or time.monotonic() - at_s > (_UNKNOWN_FOR_S if found is None else _KNOWN_FOR_S):
                found = expires_ms(url)
                self._found[url] = (time.monotonic(), found)
            return found


PROCESS = Certificates()
"""Of this process."""
