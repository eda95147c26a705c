"""What the processes say: line by line on the console, each with its process's name, and in one file for each."""

from __future__ import annotations

import logging
import logging.handlers
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from ibutsu_core.redaction import redactor
from ibutsu_server.embedded.errors import from_os_error

OWN_NAME = "ibutsu"
MAX_BYTES = 5 * 1024 * 1024
KEPT_FILES = 3

_STYLES = {
    "postgres": "blue",
    "redis": "red",
    "api": "green",
    "worker": "magenta",
    "scheduler": "yellow",
    "flower": "cyan",
}
_NAME_WIDTH = max(map(len, _STYLES))
# Escape sequences and control characters, but not the tabulator: a log must not move the cursor.
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0a-\x1f\x7f]")


class _File(logging.handlers.RotatingFileHandler):
    """A log file that stops at a full disk, and says so once."""

    def __init__(self, path: Path, on_error: Callable[[], None]) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=True)
        self._on_error = on_error

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802, RUF100 - logging's name
        self._on_error()


class Log:
    """Everything that is said while the system runs. No secret passes."""

    def __init__(self, console: Console, directory: Path) -> None:
        self._console = console
        self._directory = directory
        self.on_broken_console: Callable[[], None] = lambda: None
        self._console_broken = False
        self._files_broken = False
        self._files: dict[str, _File] = {}
        self._hide: Callable[[str], str] = str
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, directory) from error

    def hide(self, secrets: Iterable[str]) -> None:
        """Show these texts as asterisks wherever they occur."""
        self._hide = redactor(secrets)

    def line(self, name: str, text: str, *, style: str | None = None) -> str:
        """Show a line of the process, append it to the process's file, and return it as shown."""
        text = self._hide(_UNPRINTABLE.sub("", text).rstrip())
        colour = style or _STYLES.get(name.rstrip("0123456789"), "white")
        self.show(Text.assemble((f"{name:<{_NAME_WIDTH}} | ", colour), (text, style or "")))
        if not self._files_broken:
            self._file(name).emit(logging.LogRecord(name, logging.INFO, "", 0, text, None, None))
        return text

    def say(self, text: str) -> None:
        """Show a sentence of the supervisor itself."""
        for line in text.splitlines():
            self.line(OWN_NAME, line, style="bold")

    def show(self, renderable: RenderableType) -> None:
        """Show something as it is, on the console only."""
        if self._console_broken:
            return
        try:
            self._console.print(renderable, soft_wrap=isinstance(renderable, Text), highlight=False)
        except (OSError, SystemExit):  # The terminal is gone, or the reader of the pipe, at which rich exits.
            self._console_broken = True
            self.on_broken_console()

    @property
    def width(self) -> int:
        """How many columns a process's line has on the console."""
        return max(40, self._console.width - _NAME_WIDTH - 3)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _file(self, name: str) -> _File:
        if name not in self._files:
            file = _File(self._directory / f"{name}.log", self._on_file_error)
            try:
                if Path(file.baseFilename).exists():
                    file.doRollover()
            except OSError as error:
                raise from_os_error(error, self._directory) from error
            file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
            self._files[name] = file
        return self._files[name]

    def _on_file_error(self) -> None:
        if not self._files_broken:
            self._files_broken = True
            self.line(OWN_NAME, f"The logs in {self._directory} cannot be written any more.", style="bold red")
