"""The page of the API, as a person without the internet uses it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.slow
def test_the_page_shows_every_operation_and_asks_one_with_a_token(system: Any, member: Any, browser: Any) -> None:
    url = system.local["url"]
    browser.driver.get(f"{url}/api/ui/")
    browser.find(".opblock")
    document = system.api.get("/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    shown = {element.get_attribute("id") for element in browser.find_all(".opblock")}
    assert shown == {f"operations-{operation['tags'][0]}-{operation['operationId']}" for operation in operations}

    browser.click(".auth-wrapper .authorize")
    browser.find(".auth-container input").send_keys(member.token)
    browser.click(".auth-btn-wrapper .authorize")
    browser.click(".auth-btn-wrapper .btn-done")

    operation = "#operations-users-get_user"
    browser.click(f"{operation} .opblock-summary-control")
    browser.click(f"{operation} .try-out__btn")
    browser.click(f"{operation} .execute")
    assert browser.find(f"{operation} .live-responses-table tbody .response-col_status").text.startswith("200")
    assert (
        member.get("/user")["email"]
        in browser.find(f"{operation} .live-responses-table tbody .response-col_description").text
    )

    asked = browser.requests()
    assert f"{url}/api/user" in asked
    assert not [address for address in asked if not address.startswith(f"{url}/api/")]
    assert browser.errors() == []
