"""For each rule trees that break it: the rule, a rendering, and what is done to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import manifest_environment as environment
import manifest_network as network
import manifest_pods as pods
from manifest_tree import SERVERS, Tree, entry

Damage = Callable[[Tree], object]
Cases = dict[Any, list[Damage | tuple[str, Damage]]]
"""By rule: damages to Kubernetes' rendering, or to another that is named."""


def of(tree: Tree, name: str) -> dict[str, Any]:
    """Return a container by its name, without `ibutsu-`."""
    return tree.container(name if name in SERVERS else f"ibutsu-{name}")


def spec(tree: Tree, name: str) -> dict[str, Any]:
    """Return a pod's specification by its workload's name, without `ibutsu-`."""
    return tree.pod(name if name in SERVERS else f"ibutsu-{name}").spec


def without(container: dict[str, Any], name: str) -> None:
    """Take a variable away."""
    container["env"].remove(entry(container, name))


def value(container: dict[str, Any], name: str, text: str) -> None:
    """Give a variable another value, or a new one one."""
    if any(each["name"] == name for each in container["env"]):
        without(container, name)
    container["env"].append({"name": name, "value": text})


def first(container: dict[str, Any], name: str) -> None:
    """Put a variable before all others."""
    each = entry(container, name)
    container["env"].remove(each)
    container["env"].insert(0, each)


def remove(tree: Tree, kind: str, name: str) -> None:
    """Take an object away."""
    tree.objects.remove(tree.one(kind, name))


def reference(container: dict[str, Any], name: str) -> dict[str, Any]:
    """Return from which Secret a variable comes."""
    found: dict[str, Any] = entry(container, name)["valueFrom"]["secretKeyRef"]
    return found


def autoscaler(tree: Tree) -> dict[str, Any]:
    """Return the specification of what scales workers."""
    (found,) = tree.of("ScaledObject", "HorizontalPodAutoscaler")
    spec: dict[str, Any] = found["spec"]
    return spec


def policy(tree: Tree, name: str) -> dict[str, Any]:
    """Return a network policy's specification."""
    found: dict[str, Any] = tree.one("NetworkPolicy", name)["spec"]
    return found


def paths(tree: Tree, name: str) -> list[dict[str, Any]]:
    """Return an Ingress's paths."""
    found: list[dict[str, Any]] = tree.one("Ingress", name)["spec"]["rules"][0]["http"]["paths"]
    return found


def grant(container: dict[str, Any], **changes: Any) -> None:
    """Change a container's security context."""
    container["securityContext"].update(changes)


def open_to_migrations(tree: Tree) -> None:
    """Let the Job's pod reach Redis, which it does not need."""
    policy(tree, "redis")["ingress"].append({"from": [{"podSelector": {}}]})
    policy(tree, "ibutsu-migrations")["egress"].append({"to": [{"podSelector": {}}]})


def redis_line(tree: Tree, old: str, new: str) -> None:
    """Change Redis' configuration."""
    data = tree.one("ConfigMap", "redis")["data"]
    assert old in data["redis.conf"]
    data["redis.conf"] = data["redis.conf"].replace(old, new)


ENVIRONMENT: Cases = {
    environment.variables_are_those_of_the_application: [
        lambda t: without(of(t, "worker"), "POSTGRESQL_HOST"),
        ("openshift", lambda t: value(of(t, "scheduler"), "IBUTSU_PUBLIC_URL", "https://x")),
        lambda t: of(t, "backend").update(envFrom=[{"secretRef": {"name": "redis"}}]),
        lambda t: of(t, "migrations")["env"].append({"name": "CELERY_BROKER_URL", "value": "redis://redis"}),
    ],
    environment.settings_load_with_any_password: [
        lambda t: without(of(t, "worker"), "REDIS_PASSWORD"),
        lambda t: value(of(t, "worker"), "CELERY_TASK_TIME_LIMIT", "1h"),
    ],
    environment.all_have_the_same_servers: [
        ("openshift", lambda t: value(of(t, "flower"), "CELERY_BROKER_URL", "redis://:$(REDIS_PASSWORD)@redis:6379/1")),
    ],
    environment.addresses_resolve: [
        lambda t: t.one("Service", "redis")["spec"]["ports"][0].update(port=6380),
    ],
    environment.secrets_come_from_secrets: [
        lambda t: value(of(t, "worker"), "POSTGRESQL_PASSWORD", "secret"),
        lambda t: value(of(t, "postgresql"), "POSTGRES_PASSWORD", "secret"),
        lambda t: value(of(t, "flower"), "CELERY_BROKER_URL", "redis://:secret@redis:6379/0"),
        ("openshift", lambda t: reference(of(t, "flower"), "FLOWER_BASIC_AUTH").update(name="redis")),
    ],
    environment.secrets_exist: [
        lambda t: remove(t, "Secret", "flower"),
        lambda t: t.one("Secret", "postgresql")["data"].pop("database-name"),
        ("openshift+external-secrets", lambda t: remove(t, "ExternalSecret", "redis")),
    ],
    environment.references_are_defined_before: [
        lambda t: first(of(t, "worker"), "CELERY_BROKER_URL"),
        lambda t: without(of(t, "redis"), "REDIS_PASSWORD"),
    ],
    environment.flower_sees_no_database: [
        lambda t: value(of(t, "flower"), "POSTGRESQL_HOST", "postgresql"),
        lambda t: of(t, "flower").update(envFrom=[{"secretRef": {"name": "flower"}}]),
        lambda t: spec(t, "scheduler")["volumes"].append({"name": "tmp", "secret": {"secretName": "postgresql"}}),
        lambda t: spec(t, "scheduler").update(shareProcessNamespace=True),
    ],
    environment.no_service_links: [
        lambda t: spec(t, "scheduler").pop("enableServiceLinks"),
        lambda t: without(of(t, "scheduler"), "POSTGRESQL_PORT"),
    ],
    environment.processes_wait_for_the_schema: [
        lambda t: spec(t, "worker").pop("initContainers"),
        lambda t: of(t, "migrations").update(command=["ibutsu", "db", "current"]),
    ],
    environment.images_run_their_own_commands: [
        lambda t: of(t, "worker").update(command=["celery"]),
        lambda t: of(t, "flower").update(args=["--read_only=false"]),
        lambda t: value(of(t, "flower"), "FLOWER_READ_ONLY", "false"),
    ],
    environment.ports_are_those_of_the_commands: [
        lambda t: without(of(t, "worker"), "IBUTSU_HEALTH_ADDRESS"),
        lambda t: without(of(t, "backend"), "IBUTSU_HEALTH_ADDRESS"),
        lambda t: of(t, "flower")["ports"][0].update(containerPort=5556),
    ],
}

PODS: Cases = {
    pods.pods_are_restricted: [
        lambda t: spec(t, "redis")["securityContext"].pop("runAsNonRoot"),
        ("openshift", lambda t: spec(t, "worker")["securityContext"].pop("seccompProfile")),
        lambda t: grant(of(t, "flower"), readOnlyRootFilesystem=False),
        lambda t: grant(spec(t, "worker")["initContainers"][0], privileged=True),
        lambda t: spec(t, "backend").pop("automountServiceAccountToken"),
        lambda t: spec(t, "worker").update(priorityClassName="high"),
        lambda t: spec(t, "worker")["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        lambda t: spec(t, "worker")["volumes"][0].update(emptyDir={}),
        lambda t: of(t, "flower").pop("volumeMounts"),
    ],
    pods.resources_are_given: [
        lambda t: of(t, "redis")["resources"].pop("limits"),
        lambda t: of(t, "worker")["resources"]["limits"].update(cpu="1"),
        lambda t: of(t, "worker")["resources"]["requests"].update(memory="1Gi"),
    ],
    pods.probes_are_cheap_and_true: [
        lambda t: of(t, "worker").update(livenessProbe={"exec": {"command": ["celery", "inspect", "ping"]}}),
        lambda t: of(t, "worker")["livenessProbe"]["httpGet"].update(path="/readyz"),
        lambda t: of(t, "backend")["livenessProbe"]["httpGet"].update(port="http"),
        lambda t: of(t, "flower").pop("readinessProbe"),
        lambda t: of(t, "postgresql").update(livenessProbe={"exec": {"command": ["pg_isready"]}}),
        lambda t: of(t, "backend")["livenessProbe"].update(periodSeconds=5),
    ],
    pods.ends_are_waited_for: [
        lambda t: spec(t, "worker").pop("terminationGracePeriodSeconds"),
        lambda t: without(of(t, "worker"), "CELERY_TASK_TIME_LIMIT"),
        lambda t: spec(t, "backend").update(terminationGracePeriodSeconds=10),
    ],
    pods.the_scheduler_is_one: [
        lambda t: t.one("Deployment", "ibutsu-scheduler")["spec"].update(replicas=2),
        ("openshift", lambda t: t.one("Deployment", "ibutsu-scheduler")["spec"].pop("strategy")),
        lambda t: spec(t, "scheduler")["containers"].pop(),
        ("kubernetes+hpa", lambda t: autoscaler(t)["scaleTargetRef"].update(name="ibutsu-scheduler")),
        ("kubernetes+keda", lambda t: t.one("Deployment", "ibutsu-worker")["spec"].update(replicas=1)),
    ],
    pods.workers_scale_by_queue_and_work: [
        ("kubernetes+keda", lambda t: autoscaler(t)["triggers"][0]["metadata"].update(listName="celery")),
        ("openshift+keda", lambda t: autoscaler(t).update(minReplicaCount=0)),
        ("kubernetes+keda", lambda t: autoscaler(t)["advanced"]["scalingModifiers"].update(formula="waiting")),
        ("kubernetes+keda", lambda t: t.of("ScaledObject")[0]["metadata"].update(namespace="other")),
    ],
    pods.drains_are_not_blocked: [
        lambda t: t.one("PodDisruptionBudget", "ibutsu-worker")["spec"].update(minAvailable=1),
        lambda t: remove(t, "PodDisruptionBudget", "ibutsu-backend"),
    ],
    pods.replicas_are_spread: [
        lambda t: spec(t, "worker")["topologySpreadConstraints"][0].update(whenUnsatisfiable="DoNotSchedule"),
    ],
    pods.images_have_versions: [
        lambda t: of(t, "redis").update(image="docker.io/library/redis"),
        lambda t: of(t, "flower").update(image="ibutsu-flower:0.2.0"),
    ],
    pods.labels_select_what_they_should: [
        lambda t: t.pod("ibutsu-worker").labels.pop("app"),
        lambda t: t.one("Service", "ibutsu-flower")["spec"]["ports"][0].update(targetPort="health"),
        lambda t: t.one("Secret", "redis")["metadata"].pop("labels"),
    ],
    pods.parts_come_in_order: [
        lambda t: t.one("Deployment", "ibutsu-worker")["metadata"]["annotations"].update({pods.WAVE: "5"}),
        lambda t: t.one("Secret", "redis")["metadata"].update(annotations={pods.WAVE: "2"}),
        lambda t: t.one("Job", "ibutsu-migrations")["spec"].pop("ttlSecondsAfterFinished"),
    ],
    pods.servers_keep_what_they_have: [
        lambda t: t.one("StatefulSet", "redis")["spec"].pop("volumeClaimTemplates"),
        lambda t: redis_line(t, "noeviction", "allkeys-lru"),
        lambda t: redis_line(t, "maxmemory 320mb", "maxmemory 600mb"),
        lambda t: of(t, "redis")["args"].pop(),
    ],
    pods.openshift_chooses_the_users: [
        ("openshift", lambda t: spec(t, "redis")["securityContext"].update(fsGroup=999)),
        lambda t: spec(t, "redis")["securityContext"].pop("runAsUser"),
        ("openshift", lambda t: t.one("Deployment", "ibutsu-worker").update(kind="DeploymentConfig")),
    ],
}

NETWORK: Cases = {
    network.all_is_denied_at_first: [
        lambda t: remove(t, "NetworkPolicy", "ibutsu-default-deny"),
        lambda t: policy(t, "redis")["podSelector"].update(matchLabels={"app": "valkey"}),
    ],
    network.pods_reach_what_they_need: [
        lambda t: remove(t, "NetworkPolicy", "ibutsu-migrations"),
        ("openshift", open_to_migrations),
    ],
    network.pods_resolve_names: [
        ("openshift", lambda t: policy(t, "ibutsu-dns")["egress"][0]["ports"].pop()),
    ],
    network.outsiders_reach_what_they_may: [
        lambda t: policy(t, "ibutsu-from-ingress")["ingress"][0].pop("ports"),
        lambda t: policy(t, "redis")["ingress"][0]["from"].append({"namespaceSelector": {}}),
        ("openshift", lambda t: remove(t, "NetworkPolicy", "ibutsu-from-ingress")),
        ("kubernetes+keda", lambda t: remove(t, "NetworkPolicy", "ibutsu-from-keda")),
    ],
    network.nobody_leaves_the_cluster: [
        lambda t: policy(t, "ibutsu-worker")["egress"][0]["to"].append({"ipBlock": {"cidr": "0.0.0.0/0"}}),
    ],
    network.outside_is_what_people_need: [
        lambda t: paths(t, "ibutsu-backend")[0].update(path="/"),
        lambda t: paths(t, "ibutsu-flower")[0].update(pathType="Prefix"),
        ("openshift", lambda t: t.one("Route", "ibutsu-project")["spec"].update(path="/projects")),
        ("openshift", lambda t: t.one("Route", "ibutsu-flower-tasks")["spec"].pop("path")),
        lambda t: t.one("Service", "ibutsu-flower")["spec"].update(type="NodePort"),
    ],
    network.ways_in_are_encrypted: [
        lambda t: t.one("Ingress", "ibutsu-flower")["spec"].pop("tls"),
        ("openshift", lambda t: t.one("Route", "ibutsu-api")["spec"]["tls"].pop("insecureEdgeTerminationPolicy")),
        ("openshift", lambda t: value(of(t, "backend"), "IBUTSU_PUBLIC_URL", "https://elsewhere.example.com")),
    ],
}

BROKEN = [
    (rule, *(case if isinstance(case, tuple) else ("kubernetes", case)))
    for rule, cases in (ENVIRONMENT | PODS | NETWORK).items()
    for case in cases
]
