"""Whether a role of the image works: `python3 health.py ROLE` ends with 0 or 1, and says why in one line.

A check costs little, because it runs every half minute beside what it checks: none but the daemon's imports Dagster.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request

WITHIN_S = 10.0


def answers(url: str, *, allowed: tuple[int, ...] = (200,)) -> str:
    """What was answered; an error where that is not one of the statuses `allowed`."""
    try:
        with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    if status not in allowed:
        raise OSError(f"{url} answered {status}, expected one of {allowed}")
    return f"{url} answered {status}"


def code_serves(port: int) -> str:
    """The code server's own health service, by gRPC."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        asked = health_pb2.HealthCheckRequest(service="DagsterApi")
        state = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=WITHIN_S).status
    if state != health_pb2.HealthCheckResponse.SERVING:
        raise OSError(f"the code server's state is {state}, expected SERVING")
    return "the code server serves"


def daemon_lives() -> str:
    """Dagster's own check: the heartbeats of its daemons in the database."""
    done = subprocess.run(["dagster-daemon", "liveness-check"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise OSError((done.stderr or done.stdout).strip().splitlines()[-1:] or "dagster-daemon liveness-check failed")
    return "the daemon's heartbeats are new"


def worker_answers(queue: str) -> str:
    """A ping over the broker, which only the worker of this machine answers."""
    import celery

    app = celery.Celery("health", broker=os.environ["TRADING_ASSETS_BROKER_URL"], set_as_current=False)
    app.conf.control_exchange = f"{os.environ.get('BROKER_NAMESPACE', 'trading_assets')}.control"
    name = f"{queue}@{socket.gethostname()}"
    if not app.control.ping(destination=[name], timeout=WITHIN_S, limit=1):
        raise OSError(f"the worker {name} did not answer within {WITHIN_S:.0f} s")
    return f"the worker {name} answers"


CHECKS = {
    # 401: with real money the guard wants the token also from this machine.
    "web": lambda: answers(f"http://127.0.0.1:{os.environ.get('WEB_PORT', '3000')}/server_info", allowed=(200, 401)),
    "code": lambda: code_serves(int(os.environ.get("CODE_PORT", "4000"))),
    "daemon": daemon_lives,
    "research": lambda: worker_answers("research"),
    "trading": lambda: worker_answers("trading"),
    # Any answer: whoever asks without the token is refused, and the figures are not read for it.
    "serve": lambda: answers(
        f"http://127.0.0.1:{os.environ.get('TRADING_ASSETS_MONITOR_PORT', '9464')}/", allowed=(200, 401, 403, 404, 421)
    ),
    "exchange": lambda: answers(f"http://127.0.0.1:{os.environ.get('EXCHANGE_PORT', '8765')}/admin/health"),
}


def main(arguments: list[str]) -> int:
    """Run the check of a role."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        print(f"found {arguments}, expected one of: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    import role  # beside this file

    try:
        # A check is begun beside the entry point, so it has what the container was given, not what that made of it.
        role.read_secrets(os.environ)
        role.compose_urls(os.environ)
        print(CHECKS[arguments[0]]())
    except Exception as error:  # noqa: BLE001 (whatever it is: it does not work)
        print(f"{arguments[0]}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
