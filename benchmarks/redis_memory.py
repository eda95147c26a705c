"""Redis's memory while many reports are imported and their results expire: it is bounded by what the expiry keeps."""

from __future__ import annotations

import argparse
import time

import redis
from common import TASK, empty, report, sender, servers, session, upload, worker

from ibutsu_core.celery_utils import QUEUE
from ibutsu_core.queues import UNACKNOWLEDGED

BATCH = 100
"""Reports that wait at once."""


def main() -> None:
    """Import the reports in batches, and print the memory after every tenth of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=10_000)
    parser.add_argument("--expires", type=int, default=20, help="seconds that a result is kept")
    options = parser.parse_args()
    with servers() as found, session(found) as database:
        expires = {"CELERY_RESULT_EXPIRES": str(options.expires)}
        with redis.Redis.from_url(found.broker) as client, worker(found, variables=expires):
            celery = sender(found)
            celery.conf.update(result_backend="disabled://")
            path = report(found.directory / "report.xml", 2, plain=True)
            begun = time.perf_counter()
            print(f"{'reports':>8} {'seconds':>8} {'keys':>7} {'KB used':>8} {'KB peak':>8}")
            for done in range(0, options.reports, BATCH):
                ids = [upload(database, path) for _ in range(BATCH)]
                for one in ids:
                    celery.send_task(TASK, (str(one),), task_id=str(one))
                while client.llen(QUEUE) or client.hlen(UNACKNOWLEDGED):
                    time.sleep(0.02)
                if (done + BATCH) % (options.reports // 10) == 0:
                    memory = client.info("memory")
                    used, peak = (memory[name] // 1024 for name in ("used_memory", "used_memory_peak"))
                    seconds = time.perf_counter() - begun
                    print(f"{done + BATCH:>8} {seconds:>8.0f} {client.dbsize():>7} {used:>8} {peak:>8}", flush=True)
                    empty(database)


if __name__ == "__main__":
    main()
