"""The ledger of maintenance, for administrators."""

from __future__ import annotations

import flask

from ibutsu_server.api import access, answers, filters, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store.models import Maintenance


@api.get("/admin/maintenance")
@operation(query=schemas.FilterQuery, answers={200: schemas.MaintenanceList}, errors=(403,))
def admin_get_maintenance(query: schemas.FilterQuery) -> flask.Response:
    """List what the periodic tasks did, and those sent by hand: first what has not ended, then the newest."""
    access.require_superadmin()
    return answers.page(
        "maintenance",
        Maintenance,
        schemas.Maintenance.model_validate,
        query,
        where=filters.conditions(Maintenance, query.filter),
        order=[Maintenance.finished.desc().nulls_first(), Maintenance.id.desc()],
    )
