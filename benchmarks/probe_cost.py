"""What a probe of a worker costs, beside `celery inspect ping`, which is often used for one."""

from __future__ import annotations

import argparse
import http.client
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import psutil
from common import servers, worker

from ibutsu_server.embedded import ports

PING = (sys.executable, "-m", "celery", "--app", "ibutsu_server:worker_app", "inspect", "ping")


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--pings", type=int, default=5)
    options = parser.parse_args()
    port = ports.free_port()
    with servers() as found, worker(found, variables={"IBUTSU_HEALTH_ADDRESS": f"127.0.0.1:{port}"}) as process:
        probed = psutil.Process(process.pid)

        def probe(path: str) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            connection.close()

        def ping() -> None:
            done = subprocess.run(PING, env=found.environment, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr

        print(f"{'':<22} {'ms it takes':>12} {'ms of processor':>16}")
        for path in ("/healthz", "/readyz", "/metrics"):
            show(path, options.probes, partial(probe, path), lambda: sum(probed.cpu_times()[:2]))
        show("celery inspect ping", options.pings, ping, lambda: sum(probed.cpu_times()[:2]) + spent_by_children())


def spent_by_children() -> float:
    """Return the seconds of processor time of the processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def show(name: str, count: int, ask: Callable[[], None], spent: Callable[[], float]) -> None:
    """Ask so often, and print the median time and the mean of the processor's."""
    ask()
    before, times = spent(), []
    for _ in range(count):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    print(f"{name:<22} {statistics.median(times) * 1e3:>12.1f} {(spent() - before) / count * 1e3:>16.2f}", flush=True)


if __name__ == "__main__":
    main()
