"""Three machines of Linux's network namespaces: an exchange, a trader, and the router between them that can be cut.

A silent cut drops every packet, as a cable that is pulled out far away does: neither side is told. A refused one
answers each packet with a reset, as a host without the service does. It needs root and `ip` of iproute2.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from trading_assets.core.errors import ConfigurationError

EXCHANGE_ADDRESS = "10.213.1.2"
_CLONE_NEWNET = 0x4000_0000
_NUMBERS = itertools.count()


class Link:
    """The namespaces, from the beginning of a `with` statement to its end.

    Attributes:
        exchange, router, trader: names of the namespaces, for `ip netns exec`.

    Raises:
        ConfigurationError: namespaces cannot be made here.
    """

    def __init__(self) -> None:
        base = f"ta-{os.getpid()}-{next(_NUMBERS)}"
        self.exchange, self.router, self.trader = (f"{base}-{name}" for name in ("exchange", "router", "trader"))

    def __enter__(self) -> Link:
        why = unavailable()
        if why:
            raise ConfigurationError(f"network namespaces cannot be made here: {why}")
        try:
            self._build()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _build(self) -> None:
        for name in (self.exchange, self.router, self.trader):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for number, name in ((1, self.exchange), (2, self.trader)):
            inner, outer = f"r{number}", "e0"
            _ip("link", "add", outer, "netns", name, "type", "veth", "peer", "name", inner, "netns", self.router)
            for where, device, host in ((name, outer, 2), (self.router, inner, 1)):
                _ip("-n", where, "addr", "add", f"10.213.{number}.{host}/24", "dev", device)
                _ip("-n", where, "link", "set", device, "up")
            _ip("-n", name, "route", "add", "default", "via", f"10.213.{number}.1")
        self._forward(on=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in (self.exchange, self.router, self.trader):
            with contextlib.suppress(ConfigurationError):
                _ip("netns", "del", name)

    def cut(self, kind: str) -> None:
        """Cut the wire: `silent` or `refused`."""
        if kind == "silent":
            self._forward(on=False)
        else:
            _ip("-n", self.router, "addr", "add", f"{EXCHANGE_ADDRESS}/32", "dev", "lo")

    def heal(self) -> None:
        """The wire is whole again."""
        self._forward(on=True)
        with contextlib.suppress(ConfigurationError):  # it was not a refused cut
            _ip("-n", self.router, "addr", "del", f"{EXCHANGE_ADDRESS}/32", "dev", "lo")

    def _forward(self, *, on: bool) -> None:
        value = "1" if on else "0"
        _ip("netns", "exec", self.router, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/ip_forward")


def unavailable() -> str:
    """Why no namespaces can be made here; empty where they can."""
    if os.geteuid() != 0:
        return "it needs root"
    if shutil.which("ip") is None:
        return "it needs the command ip (package iproute2)"
    name = f"ta-{os.getpid()}-probe-{next(_NUMBERS)}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except ConfigurationError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, and the processes that it starts, live in a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home, Path("/run/netns", namespace).open("rb") as there:
        _enter(libc, there.fileno())
        try:
            yield
        finally:
            _enter(libc, home.fileno())


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise ConfigurationError(f"a network namespace cannot be entered: {os.strerror(ctypes.get_errno())}")


def _ip(*arguments: str) -> None:
    run = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if run.returncode != 0:
        raise ConfigurationError(f"ip {' '.join(arguments)}: {run.stderr.strip() or run.returncode}")
