"""What to think of the schedulers and of what they have workers do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping

from ibutsu_core.schedule import Entry, describe, latest_due
from ibutsu_core.settings import Application
from ibutsu_server.ops.doctor.facts import LedgerRow, Session
from ibutsu_server.ops.doctor.finding import Finding, failure, ok, warning
from ibutsu_server.ops.doctor.mends import Advice, Mends
from ibutsu_server.ops.doctor.words import span

GRACE = dt.timedelta(minutes=15)
"""How long after a slot is due a worker may begin with it."""

SILENT = 180.0
"""Seconds without a look at the ledger after which a scheduler hangs; it looks each minute."""


def schedulers(sessions: Iterable[Session], advice: Advice) -> Finding:
    """Return whether there is exactly one scheduler: each keeps one connection, by which it looks at the ledger."""
    check = "scheduler"
    found = [one for one in sessions if one.identity.application is Application.SCHEDULER]
    active = [one for one in found if one.idle < SILENT]
    where = ", ".join(sorted(one.client for one in active))
    if len(active) == 1:
        return ok(check, f"One scheduler is active, at {where}.")
    if active:
        told = f"{len(active)} schedulers are active, at {where}."
        cause = (
            "The deployment has more than one replica, or one was started by hand. Each slot is done once all the same."
        )
        return warning(check, told, cause, advice.command(Mends.ONE_SCHEDULER))
    if found:
        told = f"The scheduler at {found[0].client} has not looked at the ledger for {span(found[0].idle)}."
        return failure(check, told, "It hangs or is paused.", advice.command(Mends.START_SCHEDULER))
    cause = "The scheduler does not run, or cannot reach PostgreSQL."
    return failure(check, "No scheduler is active.", cause, advice.command(Mends.START_SCHEDULER))


def maintenance(
    entries: Iterable[Entry], ledger: Mapping[str, LedgerRow], now: dt.datetime, advice: Advice
) -> Iterator[Finding]:
    """Return for each entry of the schedule what is wrong with it, or once that nothing is."""
    found = [finding for entry in entries if (finding := _entry(entry, ledger.get(entry.name), now, advice))]
    yield from found or [ok("maintenance", f"All {len(ledger)} entries of the schedule are known, and up to date.")]


def _entry(entry: Entry, row: LedgerRow | None, now: dt.datetime, advice: Advice) -> Finding | None:
    check, name = "maintenance", entry.name
    show = advice.command(Mends.SHOW_LEDGER, entry=name)
    if row is None:
        told = f"{name} ({describe(entry.schedule)}) is not in the ledger."
        cause = "No scheduler of this version has ever looked at the ledger."
        return failure(check, told, cause, advice.command(Mends.START_SCHEDULER))
    last = f"it last succeeded {span((now - row.succeeded).total_seconds())} ago" if row.succeeded else "it never did"
    due = latest_due(entry.schedule, now - GRACE)
    if row.slot < due:
        told = f"{name} is overdue: no worker has begun with its slot {due:%Y-%m-%d %H:%M} UTC; {last}."
        cause = "No scheduler sent it, or no worker took it; see `scheduler`, `workers` and `queue`."
        return failure(check, told, cause, advice.command(Mends.START_SCHEDULER))
    if row.status == "error":
        told = f"{name} failed in its newest slot, {row.slot:%Y-%m-%d %H:%M} UTC; {last}."
        return failure(check, told, f"{_printable(row.error)} Its next slot tries again.", show)
    if row.status == "waiting" and row.error:
        told = f"{name} has not ended its slot {row.slot:%Y-%m-%d %H:%M} UTC, and is tried again; {last}."
        return warning(check, told, _printable(row.error), show)
    return None


def _printable(text: str | None) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text or "The ledger does not say why.")[:300]
