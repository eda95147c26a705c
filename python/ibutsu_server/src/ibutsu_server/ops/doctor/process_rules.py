"""What to think of the processes: the workers that answer, and all that are connected to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ibutsu_core.celery_utils import TASK_MODULES
from ibutsu_core.settings import Application
from ibutsu_server.ops.doctor.facts import Session, WorkerFacts
from ibutsu_server.ops.doctor.finding import Finding, failure, ok, skipped, warning
from ibutsu_server.ops.doctor.mends import Advice, Mends
from ibutsu_server.ops.doctor.trouble import Trouble

CHECKS = ("workers", "tasks", "worker-versions", "same-places")
"""What only workers that answer tell."""

SKEW = 2.0
"""Seconds that two clocks may differ."""


def workers(
    found: tuple[WorkerFacts, ...], sessions: Iterable[Session], version: str, advice: Advice
) -> Iterator[Finding]:
    """Return whether workers answer, of this version and with all tasks."""
    if not found:
        hidden = sorted({one.client for one in sessions if one.identity.application is Application.WORKER})
        cause = "No worker runs."
        if hidden:
            cause = f"One at {', '.join(hidden)} is connected to PostgreSQL: it hangs, or uses another broker."
        yield failure("workers", "No worker answers.", cause, advice.command(Mends.START_WORKER))
        return
    yield ok("workers", f"{len(found)} {'worker answers' if len(found) == 1 else 'workers answer'}: {_names(found)}.")
    yield _tasks(found, advice)
    yield from versions({one.name: one.version for one in found}, "worker-versions", version, advice)


def unanswered(trouble: Trouble, advice: Advice) -> Finding:
    """Return that the workers could not be asked, though Redis answers."""
    cause = "Redis is very slow, or went away meanwhile; ask again."
    return failure("workers", trouble.sentence, cause, advice.command(Mends.INFO_REDIS, name="commandstats"))


def _tasks(found: tuple[WorkerFacts, ...], advice: Advice) -> Finding:
    for one in found:
        lacking = [
            module
            for module in TASK_MODULES
            if one.tasks is not None and not any(task.startswith(f"{module}.") for task in one.tasks)
        ]
        if lacking:
            told = f"{one.name} does not know the tasks of {', '.join(lacking)}."
            cause = "It was started with another --app, or its image is incomplete; it discards such messages."
            return failure("tasks", told, cause, advice.command(Mends.START_WORKER))
    return ok("tasks", f"All workers know the tasks of all {len(TASK_MODULES)} modules.")


def versions(found: Mapping[str, str | None], check: str, version: str, advice: Advice) -> Iterator[Finding]:
    """Return whether all of these, by their names, are of the same version as this."""
    others = [f"{name} ({theirs or 'older'})" for name, theirs in found.items() if theirs != version]
    if others:
        told = f"Of another version than this one, {version}: {', '.join(others)}."
        cause = "An upgrade is under way, or these were left out of it."
        yield warning(check, told, cause, advice.command(Mends.UPGRADE_IBUTSU))
    elif found:
        yield ok(check, f"All are of version {version}, as this one.")


def processes(sessions: tuple[Session, ...], version: str, advice: Advice) -> Iterator[Finding]:
    """Return whether the other processes are of the same version as this."""
    others = [one for one in sessions if one.identity.application is not Application.WORKER]
    names = {f"{one.identity.application} at {one.client}": one.identity.version for one in others}
    yield from versions(names, "versions", version, advice)


def same_broker(broker: str, sessions: tuple[Session, ...], advice: Advice) -> Finding:
    """Return whether all processes that are connected to PostgreSQL have the broker of this one, by its digest."""
    check = "same-broker"
    others = sorted(
        {f"{one.identity.application} at {one.client}" for one in sessions if one.identity.broker != broker}
    )
    if others:
        told = f"CELERY_BROKER_URL names another place than here for: {', '.join(others)}."
        cause = "They send or wait for tasks elsewhere, or name the same Redis in another way; it must be one URL."
        return failure(check, told, cause, advice.command(Mends.SAME_BROKER))
    seen = sorted({str(one.identity.application) for one in sessions})
    if not seen:
        return skipped(check, "No process is connected to PostgreSQL, so their brokers were not compared.")
    return ok(check, f"CELERY_BROKER_URL names the same place for all that were seen: {', '.join(seen)}.")


def same_places(
    found: tuple[WorkerFacts, ...], result_backend: str | None, database: str | None, advice: Advice
) -> Iterator[Finding]:
    """Return whether the workers have the result backend and the database of this process, by their digests."""
    wanted = (("CELERY_RESULT_BACKEND", "result_backend", result_backend), ("POSTGRESQL_…", "database", database))
    others = [
        (name, one.name)
        for name, field, here in wanted
        for one in found
        if here is not None and getattr(one, field) not in (here, None)
    ]
    for name, worker in others:
        cause = "It works elsewhere, or names the same server in another way."
        told = f"{name} names another place for {worker} than here."
        yield warning("same-places", told, cause, advice.command(Mends.SAME_BROKER))
    if found and not others:
        yield ok("same-places", "The workers have the result backend and the database that are named here.")


def clocks(ahead: Mapping[str, float], advice: Advice) -> Finding:
    """Return whether the clocks agree; `ahead` has by how many seconds each is before this machine's."""
    check = "clocks"
    if not ahead:
        return skipped(check, "There is no other clock to compare with.")
    off = {name: seconds for name, seconds in ahead.items() if abs(seconds) > SKEW}
    if off:
        told = ", ".join(f"{name} by {seconds:+.1f} s" for name, seconds in sorted(off.items()))
        cause = "A machine does not keep its time (NTP)."
        return warning(check, f"Clocks differ from this machine's: {told}.", cause, advice.command(Mends.CLOCK))
    return ok(check, f"The clocks of {', '.join(sorted(ahead))} agree with this machine's.")


def _names(found: tuple[WorkerFacts, ...]) -> str:
    names = [one.name for one in found[:5]]
    return ", ".join(names) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
