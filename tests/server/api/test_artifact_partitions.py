"""Artifacts through the API while their partition is emptied and dropped."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import flask
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import partitions
from ibutsu_server.store.partitions import Dropped


def test_what_stays_can_be_read_at_every_step_and_what_goes_is_not_found(
    app: flask.Flask, session: Session, ann: Any
) -> None:
    run = ann.run()
    form = {"runId": run["id"], "filename": "a.log"}
    stays, goes, empty = (
        ann.post("/artifact", data={**form, "file": (io.BytesIO(data), "a.log")}).get_json()["id"]
        for data in (b"stays", b"goes", b"")
    )
    told: list[int] = []

    def look(dropped: Dropped) -> None:
        told.append(dropped.artifacts)
        assert ann.get(f"/artifact/{stays}/download").data == b"stays"
        gone = [ann.get(f"/artifact/{goes}/{how}") for how in ("download", "view")]
        assert [one.status_code for one in gone] == [404, 404]
        if not dropped.artifacts:
            assert "content" in gone[0].text
            assert ann.get(f"/artifact/{goes}").status_code == 200
            assert ann.get(f"/artifact/{empty}/view").data == b""

    with app.extensions["ibutsu_engine"].connect() as connection:
        month = partitions.expired(connection, dt.datetime.now(dt.UTC) + dt.timedelta(days=32))[0]
        kept = "SELECT CAST(:stays AS uuid)"
        dropped = partitions.drop(connection, month, kept=kept, parameters={"stays": stays}, tell=look)
    assert isinstance(dropped, Dropped)
    assert (dropped.artifacts, dropped.bytes, dropped.kept) == (2, 4, 1)
    assert told[0] == 0
    assert told[-1] == 2
    listed = ann.get(f"/artifact?runId={run['id']}").get_json()["artifacts"]
    assert [one["id"] for one in listed] == [stays]
    # Deletion through the API and by the run's cascade find the content where it is.
    assert ann.delete(f"/artifact/{stays}").status_code == 200
    other = ann.post("/artifact", data={**form, "file": (io.BytesIO(b"other"), "a.log")}).get_json()["id"]
    session.execute(sa.text("DELETE FROM runs WHERE id = :id"), {"id": run["id"]})
    session.commit()
    assert ann.get(f"/artifact/{other}/view").status_code == 404
    assert session.scalar(sa.text("SELECT count(*) FROM artifact_chunks")) == 0
    session.rollback()
