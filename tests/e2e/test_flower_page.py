"""Flower, as an operator sees it in a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

# SCREENSHOTS=docs/images keeps what the documentation shows.
SCREENSHOTS = os.environ.get("SCREENSHOTS")


@pytest.mark.slow
def test_who_logs_in_sees_the_worker_and_the_import_with_its_state_and_runtime(
    system: Any, member: Any, browser: Any, tmp_path: Path
) -> None:
    report = tmp_path / "report.xml"
    report.write_text("<testsuite><testcase name='t' time='1.5'/></testsuite>")
    imported = member.upload(report)
    assert imported["status"] == "done", imported
    user, _, password = system.printed("Flower login").partition(" / ")
    address = system.printed("Flower").removeprefix("http://")

    browser.driver.get(f"http://{address}/tasks")
    assert "ibutsu_server" not in browser.driver.page_source

    browser.driver.get(f"http://{quote(user)}:{quote(password)}@{address}/workers")
    browser.text("#workers-table tbody tr", "celery@", "Online")
    keep(browser, "flower-workers")

    browser.driver.get(f"http://{address}/tasks")
    browser.text("#tasks-table tbody", "import_results", imported["id"], "SUCCESS")
    keep(browser, "flower-tasks")

    browser.driver.get(f"http://{address}/task/{imported['id']}")
    page = browser.text("body", "ibutsu_server.tasks.importers.import_results", "SUCCESS", "Runtime")
    amount, unit = page.partition("Runtime")[2].split()[:2]
    assert 0 < float(amount) * {"ms": 0.001, "s": 1}[unit] < 60
    assert "Revoke" not in page
    keep(browser, "flower-task")


def keep(browser: Any, name: str) -> None:
    """Take a screenshot, where they are kept."""
    if SCREENSHOTS:
        browser.driver.save_screenshot(str(Path(SCREENSHOTS) / f"{name}.png"))
