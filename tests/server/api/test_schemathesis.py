"""Schemathesis asks every operation what the document allows, and what it does not."""

from __future__ import annotations

import uuid
from typing import Any

import flask
import hypothesis
import pytest
import schemathesis
from hypothesis import strategies
from schemathesis.specs.openapi import checks

from ibutsu_server.api import openapi


def negative_data_rejection(context: Any, response: Any, case: schemathesis.Case) -> bool | None:
    """Schemathesis' own check, but that unknown parameters of an address are ignored."""
    try:
        return checks.negative_data_rejection(context, response, case)
    except checks.AcceptedNegativeData as error:
        if "query: violates `additionalProperties`" in error.message:
            return None
        raise


CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture
def known(boss: Any) -> dict[str, str]:
    """Ids of things that exist, by the names of paths' parameters."""
    run = boss.run(metadata={"tags": ["a"], "jenkins": {"job_name": "j", "build_number": 1}})
    result = boss.result(run, metadata={"nested": {"key": [1, None]}})
    project_id = run["project_id"]
    return {
        "project_id": project_id,
        "run_id": run["id"],
        "result_id": result["id"],
        "group_id": boss.post("/group", {"name": "g"}).get_json()["id"],
        "dashboard_id": boss.post("/dashboard", {"project_id": project_id}).get_json()["id"],
        "config_id": boss.post("/widget-config", {"widget": "result-summary"}).get_json()["id"],
        "user_id": boss.post("/admin/user", {"email": f"{uuid.uuid4().hex}@example.com"}).get_json()["id"],
        "widget": "run-aggregator",
    }


@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
@pytest.mark.parametrize("examples", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_no_request_makes_a_500_or_an_answer_that_is_not_documented(
    app: flask.Flask, boss: Any, known: dict[str, str], *, mode: schemathesis.GenerationMode, examples: int
) -> None:
    """Each operation gets so many requests of the mode."""
    schema = schemathesis.openapi.from_wsgi(openapi.DOCUMENT, app)
    headers = {"Authorization": f"Bearer {boss.token}"}
    asked: set[str] = set()

    def ask(operation: schemathesis.APIOperation[Any]) -> None:
        @hypothesis.settings(
            max_examples=examples, database=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode), exists=strategies.booleans())
        def one(case: schemathesis.Case, exists: bool) -> None:
            asserted = CHECKS
            if exists and case.path_parameters:
                # The id, or the token below, may have been all that was wrong with the request.
                asserted = [check for check in CHECKS if check is not negative_data_rejection]
                case.path_parameters = case.path_parameters | {
                    name: known[name] for name in case.path_parameters if name in known
                }
            response = case.call(headers=headers)
            case.validate_response(response, checks=asserted)
            asked.add(operation.label)

        one()

    for found in schema.get_all_operations():
        operation = found.ok()
        try:
            ask(operation)
        except hypothesis.errors.Unsatisfiable:
            # An operation without parameters and body has nothing that could be wrong.
            assert mode is schemathesis.GenerationMode.NEGATIVE
    described = {f"{method} {path}" for method, path, _, _ in openapi.described(app)}
    if mode is schemathesis.GenerationMode.POSITIVE:
        assert asked == described
