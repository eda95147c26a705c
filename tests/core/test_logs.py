"""One line an event, with what it is about, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ibutsu_core import logs
from ibutsu_core.redaction import HIDDEN
from ibutsu_core.settings import Application, CelerySettings, DatabaseSettings, Settings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.clear()
    yield
    root.handlers[:], root.level = handlers, level
    logs.clear()
    logging.captureWarnings(False)


def lines(log_format: str, *, secrets: tuple[str, ...] = ()) -> io.StringIO:
    """Log into the stream that this returns."""
    stream = io.StringIO()
    logs.configure("worker", log_format, "info", secrets, stream)
    return stream


def event(stream: io.StringIO) -> dict[str, Any]:
    """Return the only line, which is JSON."""
    (line,) = stream.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def fail(text: str) -> None:
    """Fail."""
    raise ValueError(text)


def test_a_line_for_people_has_what_its_message_does_not_say() -> None:
    stream = lines("text")
    logs.bind(import_id="4711", project="shop", run_id=None)
    logging.getLogger("ibutsu_server.tasks").info("import %s: 3 results", "4711")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("Z INFO    MainProcess ibutsu_server.tasks: import 4711: 3 results [project=shop]")


def test_what_is_bound_ends_with_the_next_task() -> None:
    stream = lines("json")
    logs.bind(import_id="1")
    logs.clear()
    logging.getLogger("a").warning("b")
    assert "import_id" not in event(stream)


def test_an_error_is_one_line_of_json_with_its_traceback() -> None:
    stream = lines("json")
    logs.bind(import_id="1")
    try:
        fail("two\nlines")
    except ValueError:
        logging.getLogger("a").exception("it failed:\n%s", "badly")
    found = event(stream)
    assert (found["level"], found["message"], found["import_id"]) == ("error", "it failed:\nbadly", "1")
    assert found["application"] == "worker"
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert found["exception"].endswith("ValueError: two\nlines")
    assert found["time"].endswith("Z")


def test_celerys_own_lines_name_the_task_that_they_are_of() -> None:
    stream = lines("json")
    logging.getLogger("celery.worker.strategy").info("received", extra={"data": {"id": "1", "name": "tasks.a"}})
    found = event(stream)
    assert (found["task"], found["task_id"]) == ("tasks.a", "1")


def test_logging_is_configured_once_however_often() -> None:
    lines("text")
    stream = lines("json")
    logging.getLogger("a").info("b")
    logging.getLogger("a").debug("c")
    assert event(stream)["message"] == "b"


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=8, max_size=20))
@example("password ")
def test_a_secret_is_hidden_wherever_it_stands(secret: str) -> None:
    for log_format in ("text", "json"):
        stream = lines(log_format, secrets=(secret, "log", "spare"))
        logs.bind(project=secret)
        try:
            fail(secret)
        except ValueError:
            logging.getLogger("a").exception("log: redis://:%s@host\nspare", secret)
        found = stream.getvalue()
        assert f"redis://:{HIDDEN}@host" in found
        assert f"ValueError: {HIDDEN}" in found
        assert "log:" in found
        assert "spare" not in found
        if log_format == "json":
            assert event(stream)["project"] == HIDDEN
        logs.clear()


def test_the_secrets_of_the_settings_are_passwords_in_both_forms() -> None:
    url = "redis://:p%40ssword@redis:6379/0"
    settings = Settings(
        application=Application.WORKER,
        celery=CelerySettings(broker_url=url, result_backend=url),
        database=DatabaseSettings(host="h", port=1, user="u", password="database!", database="d"),
        flower_options={"FLOWER_BASIC_AUTH": "a:first,b:second"},
    )
    assert settings.secrets() == ("database!", "p%40ssword", "p@ssword", "first", "second")
