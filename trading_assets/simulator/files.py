"""Names of the files in the home of an embedded exchange. Imported by both sides, so it imports nothing."""

from __future__ import annotations

ACCOUNT = "account.sqlite"
LOCK_SUFFIX = ".lock"
"""Of the file beside an account's that is held by the process that serves it, for its whole life."""

START_LOCK = "start.lock"
"""Held by a process while it starts the exchange."""

SERVER_INFO = "server.json"
"""Where the exchange of this home answers; written when it does, removed when it stops."""

SERVER_LOG = "server.log"
