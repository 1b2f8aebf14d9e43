"""Messages to people: always one log line, and apprise's messengers if URLs are set. No order waits for a message.

One thread sends from a bounded queue, so a messenger that is slow or down loses its own message and delays nothing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from pydantic import SecretStr

from trading_assets.core.foreign_text import get_logger, plain, plain_lines
from trading_assets.core.secret_text import keep_out_of_logs, parts_of_url

_log = get_logger(__name__)

QUEUE_LENGTH = 100

Send = Callable[[str, str], object]


class Notifier:
    """Sends messages to people, from a thread of its own.

    Args:
        urls: apprise URLs; without any, messages go to the log only. They hold tokens: no log shows a part of them.
        send: delivers a title and a body; apprise by default.
    """

    def __init__(self, urls: Sequence[SecretStr], *, send: Send | None = None) -> None:
        self._urls = tuple(urls)
        keep_out_of_logs(
            {part for url in self._urls for part in parts_of_url(url.get_secret_value())},
            *("apprise", "urllib3.connectionpool", __name__),
        )
        self._send = send
        self._queue: queue.Queue[tuple[str, str]] = queue.Queue(QUEUE_LENGTH)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.dropped = 0

    def notify(self, title: str, body: str) -> None:
        """Log it, and queue it for the messengers; returns at once. A full queue drops the message, and says so."""
        title, body = plain(title), plain_lines(body)
        _log.info("%s: %s", title, body)
        if not self._urls and self._send is None:
            return
        try:
            self._queue.put_nowait((title, body))
        except queue.Full:
            self.dropped += 1
            _log.warning("notification dropped: %d wait already", QUEUE_LENGTH)
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._deliver, name="notifier", daemon=True)
                self._thread.start()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all queued messages were tried, at most `timeout_s`; whether they were."""
        waiting = threading.Thread(target=self._queue.join, daemon=True)
        waiting.start()
        waiting.join(timeout_s)
        return not waiting.is_alive()

    def _deliver(self) -> None:
        send = self._send
        while True:
            title, body = self._queue.get()
            try:
                send = send or self._apprise()
                if send(title, body) is False:
                    _log.warning("a messenger refused: %s", title)
            except Exception:  # noqa: BLE001 (a messenger's plugin may raise anything; the next message is tried)
                _log.warning("a messenger failed: %s", title, exc_info=True)
            finally:
                self._queue.task_done()

    def _apprise(self) -> Send:
        import apprise  # noqa: PLC0415 (costs a second, and most installations set no messenger)

        messengers = apprise.Apprise()
        for url in self._urls:
            if not messengers.add(url.get_secret_value()):
                scheme = url.get_secret_value().partition("://")[0][:20]
                _log.warning("no messenger knows the URL that begins with %s://, expected one of apprise's", scheme)
        return lambda title, body: messengers.notify(title=title, body=body)
