"""The base class of maintenance tasks: each slot is done once, and what became of it is in the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from celery.exceptions import Retry, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from flask import current_app
from sqlalchemy import exc

from ibutsu_core import logs
from ibutsu_core.slots import Slot
from ibutsu_core.task import IbutsuTask
from ibutsu_server.store import ledger
from ibutsu_server.store.database import is_transient

logger = get_task_logger(__name__)

AGAIN_IN = "again_in"


class MaintenanceTask(IbutsuTask):
    """A task that claims its slot before its work, and notes the outcome after it.

    A second message for the slot returns who has it, under "taken". One that was sent without a slot is noted without.
    The task returns its counts, and its bytes among them. Where it left something to do, under `AGAIN_IN` the seconds
    after which another message, for the same slot and with the same arguments, does the rest.
    """

    abstract = True

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work, unless another message for the slot did or does it."""
        slot = Slot.of(self.request.headers)
        logs.bind(entry=slot.entry if slot else None)
        message = ledger.Message(str(self.name), str(self.request.id), str(self.request.hostname), slot)
        engine: sa.Engine = current_app.extensions["ibutsu_engine"]
        try:
            with ledger.claimed(engine, message) as claim, self._recorded(claim):
                result = self.run(*args, **kwargs)
                again_in = result.pop(AGAIN_IN, None)
                current_app.extensions["ibutsu_session"].commit()
                (claim.finish if again_in is None else claim.leave)(result)
        except ledger.TakenError as taken:
            what = f"{slot.entry} {slot.due.isoformat()}" if slot else f"{self.name}[{self.request.id}]"
            logger.info("%s is taken: %s", what, taken)
            return {"slot": slot.due.isoformat() if slot else None, "taken": str(taken)}
        if again_in is not None:
            # Only now is the claim free for who takes this message.
            headers = slot.headers() if slot else {}
            self.apply_async(args, kwargs, task_id=self.request.id, countdown=again_in, headers=headers)
        return result

    @contextlib.contextmanager
    def _recorded(self, claim: ledger.Claim) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            again = isinstance(error, Retry) or (is_transient(error) and self.request.retries < (self.max_retries or 0))
            try:
                (claim.wait if again else claim.fail)(_sentence(error))
            except exc.SQLAlchemyError as failure:
                logger.warning("%s: its failure is not in the ledger: %s", self.name, type(failure).__name__)
            raise


def _sentence(error: Exception) -> str:
    if isinstance(error, SoftTimeLimitExceeded):
        return "It took longer than CELERY_TASK_TIME_LIMIT allows."
    # A database's error has the whole statement in its text, and the driver's own text says enough.
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
    text = next(iter(str(cause).splitlines()), "").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if isinstance(error, ValueError) and text:
        return text
    return f"{type(cause).__name__}: {text}" if text else f"{type(cause).__name__}; its worker's log has more."
