"""That a scheduler sees a Redis that was wiped, and has the repair done."""

from __future__ import annotations

import json

import pytest
from flask import Flask
from redis import Redis

from ibutsu_core import repair
from ibutsu_core.beat import StatelessScheduler
from ibutsu_core.celery_utils import create_flask_celery_app
from ibutsu_core.retention import RetentionPolicy
from ibutsu_core.settings import CelerySettings


def test_a_redis_that_was_wiped_is_seen_and_the_repair_is_sent_once(
    broker_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "LOOK_EVERY", 0.0)
    flask_app = Flask("flask")
    flask_app.extensions[repair.Mark.EXTENSION] = repair.Mark(broker_url)
    settings = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    app = create_flask_celery_app(flask_app, "tests", settings=settings, policy=RetentionPolicy())
    sends, client = StatelessScheduler(app, lazy=False), Redis.from_url(broker_url)

    def repairs() -> list[str]:
        sends.tick()
        sends.tick()
        messages = [json.loads(message)["headers"] for message in client.lrange("ibutsu", 0, -1)]
        return [headers["task"] for headers in messages if headers["eta"]]

    assert repairs() == [repair.TASK], "a new one"
    client.flushall()
    assert repairs() == [repair.TASK]
    assert "Redis has lost what it was given, or is new" in caplog.text
    sends.close()
    client.close()
    flask_app.extensions[repair.Mark.EXTENSION] = repair.Mark("redis://127.0.0.1:1/0")
    assert not flask_app.extensions[repair.Mark.EXTENSION].is_gone(), "one that is away says nothing"
