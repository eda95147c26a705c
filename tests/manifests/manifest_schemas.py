"""Strict schemas, offline: of Kubernetes by its versions, from `kubernetes-validate`; of others' kinds written here."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

import jsonschema_rs

Schema = dict[str, Any]

VERSIONS = ("1.30.0", "1.33.0", "1.35.0", "1.37.0")
"""OpenShift 4.17 has 1.30; the action `sleep` is as old."""


def problems(manifest: dict[str, Any], version: str) -> list[str]:
    """Return what that version of Kubernetes refuses in the object; an unknown kind raises FileNotFoundError."""
    kind, api = manifest["kind"].lower(), manifest["apiVersion"]
    own = OTHERS.get((api, manifest["kind"]))
    validator = _validator(kind, api, version) if own is None else jsonschema_rs.validator_for(own)
    return [f"{'/'.join(map(str, each.instance_path))}: {each.message}" for each in validator.iter_errors(manifest)]


@functools.cache
def _validator(kind: str, api: str, version: str) -> Any:
    group, _, number = api.rpartition("/")
    name = "-".join(filter(None, (kind, group.partition(".")[0], number)))
    schema: Schema = json.loads(_text(f"v{version}-local-strict/{name}.json"))
    return jsonschema_rs.validator_for(schema | _definitions(version))


@functools.cache
def _definitions(version: str) -> Schema:
    return {"$defs": json.loads(_text(f"v{version}-local-strict/_definitions.json"))["$defs"]}


def _text(path: str) -> str:
    file = resources.files("kubernetes_validate").joinpath("kubernetes-json-schema", path)
    return file.read_text().replace('"/api/_definitions.json#/', '"#/')


TEXT: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(h|m|s|ms))+$"}
PATH: Schema = {"type": "string", "pattern": "^/"}


def one_of(*values: str) -> Schema:
    """Return the schema of an enumeration."""
    return {"enum": list(values)}


def some(items: Schema) -> Schema:
    """Return the schema of a list with an entry at least."""
    return {"type": "array", "items": items, "minItems": 1}


def fields(required: Iterable[str] = (), **properties: Schema) -> Schema:
    """Return the schema of an object with these fields and no other."""
    return {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False,
    }  # fmt: skip


def of_kind(api: str, kind: str, spec: Schema) -> dict[tuple[str, str], Schema]:
    """Return the schema of a whole object, by its version and kind."""
    metadata = fields(["name"], name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    names = ("apiVersion", "kind", "metadata", "spec")
    values = ({"const": api}, {"const": kind}, metadata, spec)
    return {(api, kind): fields(names, **dict(zip(names, values, strict=True)))}


SCALING = fields(
    stabilizationWindowSeconds=WHOLE | {"maximum": 3600},
    policies=some(fields(["type", "value", "periodSeconds"], type=one_of("Pods", "Percent"), value=WHOLE,
                         periodSeconds=WHOLE | {"minimum": 1, "maximum": 1800})),
)  # fmt: skip

# The fields that the manifests use; they were compared with the projects' own definitions.
OTHERS: dict[tuple[str, str], Schema] = {
    **of_kind("route.openshift.io/v1", "Route", fields(
        ["to"],
        host={"type": "string", "maxLength": 253},
        path=PATH,
        to=fields(["kind", "name"], kind=one_of("Service"), name=TEXT),
        port=fields(["targetPort"], targetPort={"type": ["string", "integer"]}),
        tls=fields(["termination"], termination=one_of("edge", "passthrough", "reencrypt"),
                   insecureEdgeTerminationPolicy=one_of("Allow", "None", "Redirect")),
    )),
    **of_kind("keda.sh/v1alpha1", "ScaledObject", fields(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=fields(["name"], name=TEXT),
        pollingInterval=WHOLE, cooldownPeriod=WHOLE, minReplicaCount=WHOLE, maxReplicaCount=WHOLE,
        advanced=fields(
            scalingModifiers=fields(["formula", "target"], formula=TEXT, target=TEXT,
                                    metricType=one_of("AverageValue", "Value")),
            horizontalPodAutoscalerConfig=fields(behavior=fields(scaleDown=SCALING)),
        ),
        triggers=some(fields(["type", "metadata"], type=TEXT, name=TEXT, metadata=TEXTS,
                             authenticationRef=fields(["name"], name=TEXT))),
    )),
    **of_kind("keda.sh/v1alpha1", "TriggerAuthentication", fields(
        ["secretTargetRef"],
        secretTargetRef=some(fields(["parameter", "name", "key"], parameter=TEXT, name=TEXT, key=TEXT)),
    )),
    **of_kind("monitoring.coreos.com/v1", "PodMonitor", fields(
        ["selector", "podMetricsEndpoints"],
        selector=fields(matchLabels=TEXTS),
        podTargetLabels=some(TEXT),
        podMetricsEndpoints=some(fields(["port"], port=TEXT, path=PATH, interval=DURATION)),
    )),
    **of_kind("monitoring.coreos.com/v1", "PrometheusRule", fields(
        ["groups"],
        groups=some(fields(["name", "rules"], name=TEXT, rules=some(
            fields(["alert", "expr"], alert=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS, **{"for": DURATION})
        ))),
    )),
    **of_kind("external-secrets.io/v1", "ExternalSecret", fields(
        ["secretStoreRef"],
        refreshInterval=DURATION,
        secretStoreRef=fields(["name"], kind=one_of("SecretStore", "ClusterSecretStore"), name=TEXT),
        target=fields(name=TEXT, creationPolicy=one_of("Owner", "Orphan", "Merge", "None")),
        dataFrom=some(fields(["extract"], extract=fields(["key"], key=TEXT))),
    )),
}  # fmt: skip
