"""The OpenAPI document, made of what the views say of themselves, and the page that shows it."""

from __future__ import annotations

import functools
import http
import inspect
import re
from collections.abc import Iterator
from typing import Any

import flask
import pydantic
from flask_swagger_ui import get_swaggerui_blueprint
from pydantic.json_schema import JsonSchemaMode
from werkzeug.routing import Rule

import ibutsu_server
from ibutsu_core.limits import ApiLimits
from ibutsu_server.api import operations, schemas
from ibutsu_server.api.operations import Operation, Raw

DOCUMENT = "/api/openapi.json"
PAGE = "/api/ui"

# The page loads nothing from elsewhere; its own script and styles are partly inline.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; font-src 'self'; frame-ancestors 'none'"
)
_REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"


def register(app: flask.Flask) -> None:
    """Add the document and its page to `app`, after all that they describe."""
    made = functools.cache(lambda: flask.json.dumps(document(app)))
    app.add_url_rule(
        DOCUMENT,
        "openapi_document",
        lambda: flask.Response(made(), mimetype=_JSON, headers={"Cache-Control": "no-cache"}),
    )
    page = get_swaggerui_blueprint(PAGE, DOCUMENT, config={"app_name": "Ibutsu API", "validatorUrl": "none"})
    page.after_request(_guarded)
    app.register_blueprint(page)


def described(app: flask.Flask) -> Iterator[tuple[str, str, str, Operation]]:
    """Yield the method, path, endpoint and description of each operation; a path's parameters are in braces."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        found = operations.of(app.view_functions[rule.endpoint])
        if found is not None:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, _path(rule), rule.endpoint, found


def document(app: flask.Flask) -> dict[str, Any]:
    """Return the OpenAPI document of all that `app` describes."""
    listed = list(described(app))
    limits: ApiLimits = app.extensions["ibutsu_settings"].api_limits
    schema_of, components = _schemas([found for _, _, _, found in listed])
    paths: dict[str, dict[str, Any]] = {}
    for method, path, endpoint, found in listed:
        view = app.view_functions[endpoint]
        summary, _, description = (inspect.getdoc(view) or "").partition("\n")
        described_ = {
            "operationId": endpoint.rpartition(".")[2],
            "tags": [view.__module__.rpartition(".")[2]],
            "summary": summary,
            "parameters": [*_path_parameters(path), *_query_parameters(found, limits)],
            "responses": _responses(found, schema_of),
            "security": [{"token": []}] if found.needs_token else [],
        }
        if description.strip():
            described_["description"] = description.strip()
        if found.body is not None:
            described_["requestBody"] = {
                "required": True,
                "content": {_JSON: {"schema": schema_of[found.body, "validation"]}},
            }
        if found.form is not None:
            content = {"multipart/form-data": {"schema": schema_of[found.form, "validation"]}}
            described_["requestBody"] = {"required": True, "content": content}
        paths.setdefault(path, {})[method.lower()] = described_
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ibutsu",
            "version": ibutsu_server.__version__,
            "description": "Collects the results of test runs.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _schemas(found: list[Operation]) -> tuple[dict[tuple[Any, JsonSchemaMode], Any], dict[str, Any]]:
    """Return the schema of each type that the operations name, and the components that they refer to."""
    wanted: dict[tuple[Any, JsonSchemaMode], pydantic.TypeAdapter[Any]] = {}
    for one in found:
        types: list[tuple[Any, JsonSchemaMode]] = [(kind, "validation") for kind in (one.body, one.form) if kind]
        types += [(kind, "serialization") for kind in one.answers.values() if kind and not isinstance(kind, Raw)]
        wanted.update({pair: pydantic.TypeAdapter(pair[0]) for pair in types})
    wanted[schemas.Error, "serialization"] = pydantic.TypeAdapter(schemas.Error)
    inputs = [(pair, pair[1], adapter) for pair, adapter in wanted.items()]
    made, definitions = pydantic.TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE)
    return {pair: made[pair, pair[1]] for pair in wanted}, definitions.get("$defs", {})


def _responses(found: Operation, schema_of: dict[tuple[Any, JsonSchemaMode], Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in found.answers.items():
        responses[str(status)] = {"description": http.HTTPStatus(status).phrase}
        if isinstance(kind, Raw):
            responses[str(status)]["content"] = {kind.media_type: {"schema": {"type": "string"}}}
        elif kind is not None:
            responses[str(status)]["content"] = {_JSON: {"schema": schema_of[kind, "serialization"]}}
    error = {_JSON: {"schema": schema_of[schemas.Error, "serialization"]}}
    for status in sorted(found.errors):
        responses[str(status)] = {"description": http.HTTPStatus(status).phrase, "content": error}
    return responses


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        schema = {"type": "string", "format": "uuid"} if name.endswith("_id") else {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(found: Operation, limits: ApiLimits) -> Iterator[dict[str, Any]]:
    if found.query is None:
        return
    schema = found.query.model_json_schema()
    for name, one in schema["properties"].items():
        shape = {key: value for key, value in one.items() if key not in ("title", "description")}
        if shape.get("default", "") is None:
            del shape["default"]
        if name == "filter":
            shape |= {"maxItems": limits.filters, "items": shape["items"] | {"maxLength": limits.filter_length}}
        if name == "pageSize" and issubclass(found.query, schemas.PageQuery):
            shape["maximum"] = limits.page_size
        parameter = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": shape}
        if "description" in one:
            parameter["description"] = one["description"]
        yield parameter


def _guarded(response: flask.Response) -> flask.Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
