"""The page of the API, as a person without the internet uses it."""

from __future__ import annotations

import time
from typing import Any

import pytest


@pytest.mark.slow
def test_the_page_shows_every_operation_and_asks_one_with_a_token(system: Any, member: Any, browser: Any) -> None:
    url = system.local["url"]
    browser.driver.get(f"{url}/api/ui/")
    browser.find(".opblock")
    document = system.api.get("/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    expected = {f"operations-{operation['tags'][0]}-{operation['operationId']}" for operation in operations}
    deadline = time.monotonic() + 60
    while (shown := {element.get_attribute("id") for element in browser.find_all(".opblock")}) != expected:
        assert time.monotonic() < deadline, shown ^ expected
        time.sleep(0.1)

    browser.click(".auth-wrapper .authorize")
    browser.find(".auth-container input").send_keys(member.token)
    browser.click(".auth-btn-wrapper .authorize")
    browser.click(".auth-btn-wrapper .btn-done")

    operation = "#operations-users-get_user"
    browser.click(f"{operation} .opblock-summary-control")
    browser.click(f"{operation} .try-out__btn")
    browser.click(f"{operation} .execute")
    answer = f"{operation} .live-responses-table tbody"
    assert browser.text(f"{answer} .response-col_status", "200").startswith("200")
    browser.text(f"{answer} .response-col_description", member.get("/user")["email"])

    asked = browser.requests()
    assert f"{url}/api/user" in asked
    assert not [address for address in asked if not address.startswith(f"{url}/api/")]
    assert browser.errors() == []
