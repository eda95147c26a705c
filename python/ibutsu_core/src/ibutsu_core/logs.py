"""One line an event: for people, or as JSON; with the task, the import, the run and the project that it is about.

What a task is about is bound while it runs, and is in all that is logged of it then, by whatever library.
"""

from __future__ import annotations

import abc
import datetime as dt
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TextIO

from celery._state import get_current_task

from ibutsu_core.redaction import redactor

_EMPTY: Mapping[str, str] = {}
_context: ContextVar[Mapping[str, str]] = ContextVar("ibutsu_log_context", default=_EMPTY)

_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


def bind(**values: object) -> None:
    """Say with each line from here on what it is about, until `clear`; a value of None is left out."""
    given = {name: str(value) for name, value in values.items() if value is not None}
    _context.set({**_context.get(), **given})


def bound() -> Mapping[str, str]:
    """Return what is bound."""
    return _context.get()


def clear() -> None:
    """Bind nothing any more: another task or request begins."""
    _context.set(_EMPTY)


def configure(
    application: str, log_format: str, level: str | int, secrets: Iterable[str] = (), stream: TextIO | None = None
) -> None:
    """Log to `stream`, else to standard error, as `text` or `json`, from the level on; no secret is shown."""
    stream = stream or sys.__stderr__ or sys.stderr
    handler = Handler(stream)
    hide = redactor(_forms(secrets))
    if log_format == "json":
        handler.setFormatter(JsonFormatter(application, hide))
    else:
        handler.setFormatter(TextFormatter(hide, coloured=stream.isatty()))
    root = logging.getLogger()
    for other in [other for other in root.handlers if isinstance(other, Handler)]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(level.upper() if isinstance(level, str) else level)
    logging.captureWarnings(True)


class Handler(logging.StreamHandler[TextIO]):
    """The handler of all that is logged; `configure` lets no second one be."""


class _Formatter(logging.Formatter, abc.ABC):
    def __init__(self, hide: Callable[[str], str] = str) -> None:
        super().__init__()
        self.hide = hide

    def format(self, record: logging.LogRecord) -> str:
        return self.write(record, record.getMessage(), _about(record))

    @abc.abstractmethod
    def write(self, record: logging.LogRecord, message: str, about: Mapping[str, str]) -> str:
        """Return the line."""


class TextFormatter(_Formatter):
    """For people: what a line is about follows the message, where that does not say it."""

    def __init__(self, hide: Callable[[str], str] = str, *, coloured: bool = False) -> None:
        super().__init__(hide)
        self._coloured = coloured

    def write(self, record: logging.LogRecord, message: str, about: Mapping[str, str]) -> str:
        """Return the line, and a traceback below it."""
        level = f"{record.levelname:<7}"
        if self._coloured and record.levelno in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelno]}m{level}\x1b[0m"
        rest = " ".join(f"{name}={value}" for name, value in about.items() if value not in message)
        text = f"{_time(record)} {level} {record.processName} {record.name}: {message}"
        return self.hide("\n".join(filter(None, (f"{text} [{rest}]" if rest else text, _traceback(record)))))


class JsonFormatter(_Formatter):
    """One object a line, a traceback as one of its texts."""

    def __init__(self, application: str, hide: Callable[[str], str] = str) -> None:
        super().__init__(hide)
        self._application = application

    def write(self, record: logging.LogRecord, message: str, about: Mapping[str, str]) -> str:
        """Return the object."""
        event: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "application": self._application,
            "logger": record.name,
            "message": message,
            "process": record.processName,
            "pid": record.process,
            **about,
        }
        if text := _traceback(record):
            event["exception"] = text
        # Before it is JSON, whose escapes could hide where a word begins, and whose keys stay as they are.
        shown = {name: self.hide(value) if isinstance(value, str) else value for name, value in event.items()}
        return json.dumps(shown, ensure_ascii=False)


def _about(record: logging.LogRecord) -> Mapping[str, str]:
    about = _context.get()
    task = get_current_task()
    if task is not None and task.request.id:
        return {"task": str(task.name), "task_id": str(task.request.id), **about}
    # Celery's own lines of a task's arrival and end.
    told = getattr(record, "data", None)
    if isinstance(told, dict) and told.get("id") and told.get("name"):
        return {"task": str(told["name"]), "task_id": str(told["id"]), **about}
    return about


def _time(record: logging.LogRecord) -> str:
    instant = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    parts = ["".join(traceback.format_exception(*record.exc_info))] if record.exc_info else []
    if record.exc_text and not parts:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    # Nothing but the line's end: a secret may end with a space, and is hidden only as a whole.
    return "\n".join(part.rstrip("\n") for part in parts)


def _forms(secrets: Iterable[str]) -> Iterator[str]:
    """Yield the secrets as they are, and as they stand in JSON that somebody logs."""
    for text in secrets:
        yield from (text, json.dumps(text, ensure_ascii=False)[1:-1])
