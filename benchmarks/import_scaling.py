"""What a second worker brings: two reports imported at once by two workers, beside one report by one worker.

python benchmarks/import_scaling.py [TESTS] [ROUNDS]
"""

from __future__ import annotations

import sys

import common

if __name__ == "__main__":
    tests = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    one: list[float] = []
    two: list[float] = []
    with common.servers() as servers, common.session(servers) as session:
        first, second = (common.report(servers.directory / f"{name}.xml", tests) for name in ("first", "second"))
        celery = common.sender(servers)
        with common.worker(servers), common.worker(servers):
            small = common.report(servers.directory / "small.xml", 1000)
            common.imported(celery, [common.upload(session, small) for _ in range(8)])
            for _ in range(rounds):
                common.empty(session)
                one.append(common.imported(celery, [common.upload(session, first)]))
                common.empty(session)
                two.append(common.imported(celery, [common.upload(session, path) for path in (first, second)]))
    print(f"one report: {tests / min(one):,.0f} results/s; two at once: {2 * tests / min(two):,.0f} results/s")
    print(f"two workers import at {2 * min(one) / min(two):.2f} times the speed of one")
