"""Rules of pods and of the objects around them: hardening, probes, scale, order. Each yields what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ibutsu_core import celery_utils
from ibutsu_core.settings import Application, CelerySettings
from ibutsu_server.embedded import commands
from manifest_tree import APPLICATIONS, DEPLOYMENTS, JOB, NAME, SERVERS, Tree, entry, is_ours

WAVE = "argocd.argoproj.io/sync-wave"
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}

# Paths that tell whether the process lives, and whether it works.
PROBES = {
    Application.BACKEND: ("/healthz", "/readyz"),
    Application.WORKER: ("/healthz", "/readyz"),
    Application.SCHEDULER: ("/healthz", "/readyz"),
    Application.FLOWER: (commands.FLOWER_HEALTH_PATH, commands.FLOWER_HEALTH_PATH),
}


def size(quantity: str) -> int:
    """Return the bytes of a quantity."""
    match = re.fullmatch(r"([0-9]+)(Ki|Mi|Gi|)", quantity)
    assert match, quantity
    return int(match[1]) * UNITS[match[2]]


def pods_are_restricted(tree: Tree) -> Iterator[str]:
    """ "Restricted" as Pod Security has it, and more: a read-only root, no token, no priority, no shared namespace."""
    for pod in tree.pods():
        context = pod.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
            yield f"{pod.name} may run as root."
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pod.name} has no seccomp profile."
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name} has a token of the cluster's API."
        for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "priorityClassName"):
            if name in pod.spec:
                yield f"{pod.name} has {name}."
        for volume in pod.spec.get("volumes", []):
            (kind,) = volume.keys() - {"name"}
            if kind not in ("emptyDir", "configMap"):
                yield f"{pod.name} has a volume of the kind {kind}."
            if kind == "emptyDir" and "sizeLimit" not in volume[kind]:
                yield f"{pod.name} may fill its node's disk by {volume['name']}."
        for container in pod.containers:
            own = container.get("securityContext", {})
            if own.keys() != {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"} or own != {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
            }:  # fmt: skip
                yield f"{pod.name}/{container['name']} may do more than it needs."
            if "/tmp" not in {mount["mountPath"] for mount in container.get("volumeMounts", [])} and is_ours(container):
                yield f"{pod.name}/{container['name']} has no /tmp."


def resources_are_given(tree: Tree) -> Iterator[str]:
    """Requests of both kinds, a limit of memory, and none of CPU, which would only slow."""
    for pod, container in tree.containers():
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        if requests.keys() != {"cpu", "memory"} or limits.keys() != {"memory"}:
            yield f"{pod.name}/{container['name']} does not request CPU and memory, and limit memory."
        elif size(requests["memory"]) > size(limits["memory"]):
            yield f"{pod.name}/{container['name']} requests more than its limit."


def probes_are_cheap_and_true(tree: Tree) -> Iterator[str]:
    """Applications answer by HTTP; nothing starts Python. Liveness asks for nothing that depends on a server."""
    for pod in tree.pods():
        if pod.kind == "Job":
            continue
        for container in pod.spec["containers"]:
            name = container["name"]
            found = {kind: container.get(f"{kind}Probe", {}) for kind in ("startup", "liveness", "readiness")}
            for kind, probe in found.items():
                command = probe.get("exec", {}).get("command", [""])
                if not probe or any(word in command[0] for word in ("celery", "python", "ibutsu", "sh")):
                    yield f"{name} has no cheap {kind} probe."
            if name in APPLICATIONS:
                alive, ready = PROBES[APPLICATIONS[name]]
                paths = [found[kind].get("httpGet", {}).get("path") for kind in ("startup", "liveness", "readiness")]
                ports = {str(probe.get("httpGet", {}).get("port")) for probe in found.values()}
                if paths != [alive, alive, ready] or ports != {container["ports"][-1]["name"]}:
                    yield f"{name} is asked at {paths}, ports {sorted(ports)}."
            elif "exec" in found["liveness"]:
                yield f"{name} is ended when a command fails, as it does while it recovers."
            if found["liveness"].get("periodSeconds", 10) * found["liveness"].get("failureThreshold", 3) < 60:
                yield f"{name} is ended after less than a minute of silence."


def ends_are_waited_for(tree: Tree) -> Iterator[str]:
    """A warm shutdown ends before the grace period does: no task lasts longer than its limit."""
    grace = tree.pod("ibutsu-worker").spec.get("terminationGracePeriodSeconds", 30)
    names = [each["name"] for each in tree.container("ibutsu-worker")["env"]]
    if "CELERY_TASK_TIME_LIMIT" not in names:
        yield "The worker's tasks have no limit below the grace period."
    elif grace <= int(entry(tree.container("ibutsu-worker"), "CELERY_TASK_TIME_LIMIT")["value"]):
        yield f"The worker is killed after {grace} s, within its longest task."
    for name, application in APPLICATIONS.items():
        longest = sum(seconds for _, seconds in commands.STOP[application])
        for pod in tree.pods():
            if name in {each["name"] for each in pod.spec["containers"]}:
                sleep = pod.spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})
                if pod.spec.get("terminationGracePeriodSeconds", 30) <= longest + sleep.get("seconds", 0):
                    yield f"{pod.name} is killed before {name} has ended."


def the_scheduler_is_one(tree: Tree) -> Iterator[str]:
    """One replica, never two while it is replaced, Flower beside it, and nothing that scales it."""
    deployment = tree.one("Deployment", "ibutsu-scheduler")
    if deployment["spec"].get("replicas") != 1 or deployment["spec"].get("strategy") != {"type": "Recreate"}:
        yield "There may be two schedulers."
    names = [each["name"] for each in tree.pod("ibutsu-scheduler").spec["containers"]]
    if names != ["ibutsu-scheduler", "ibutsu-flower"]:
        yield f"The scheduler's pod has the containers {names}."
    scaled = [each["spec"]["scaleTargetRef"]["name"] for each in tree.of("HorizontalPodAutoscaler", "ScaledObject")]
    if set(scaled) - {"ibutsu-worker"} or len(scaled) > 1:
        yield f"{scaled} are scaled."
    if bool(scaled) == ("replicas" in tree.one("Deployment", "ibutsu-worker")["spec"]):
        yield "Either the autoscaler or the Deployment has the number of workers."


def workers_scale_by_queue_and_work(tree: Tree) -> Iterator[str]:
    """KEDA looks at the very keys that Celery has in Redis, adds them, and leaves one worker."""
    for scaled in tree.of("ScaledObject"):
        app = celery_utils.create_broker_celery_app(
            settings=CelerySettings(broker_url="redis://none", result_backend="redis://none")
        )
        unacknowledged = app.connection_for_write().transport_cls
        keys = {trigger["metadata"]["listName"] for trigger in scaled["spec"]["triggers"]}
        if keys != {app.conf.task_default_queue, unacknowledged_key()} or unacknowledged != "redis":
            yield f"KEDA looks at {sorted(keys)}."
        names = [trigger["name"] for trigger in scaled["spec"]["triggers"]]
        if scaled["spec"]["advanced"]["scalingModifiers"]["formula"] != " + ".join(names):
            yield "KEDA does not add what waits and what runs."
        if scaled["spec"]["minReplicaCount"] < 1:
            yield "There may be no worker for a periodic task."
        address = f"redis.{scaled['metadata'].get('namespace', 'ibutsu')}.svc:6379"
        if {trigger["metadata"]["address"] for trigger in scaled["spec"]["triggers"]} != {address}:
            yield f"KEDA does not find Redis at {address}."
        secret = tree.one("TriggerAuthentication", "ibutsu-redis")["spec"]["secretTargetRef"][0]
        if (secret["name"], secret["key"]) != ("redis", "password"):
            yield "KEDA does not have the password of Redis."


def unacknowledged_key() -> str:
    """Return the key under which Celery's transport has what workers have not acknowledged."""
    from kombu.transport.redis import Channel

    key: str = Channel.unacked_key
    return key


def drains_are_not_blocked(tree: Tree) -> Iterator[str]:
    """A budget allows one pod to go, whatever the number of replicas, and a broken one always."""
    budgets = tree.of("PodDisruptionBudget")
    if {each["spec"]["selector"]["matchLabels"]["app"] for each in budgets} != {"ibutsu-backend", "ibutsu-worker"}:
        yield "Backend and worker have no budget, or others have one."
    for each in budgets:
        spec = each["spec"]
        if "minAvailable" in spec or spec.get("maxUnavailable") != 1:
            yield f"{each['metadata']['name']} may block a drain."
        if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{each['metadata']['name']} keeps broken pods on their node."


def replicas_are_spread(tree: Tree) -> Iterator[str]:
    """Over zones and nodes where that is possible; never refused where it is not."""
    for name in ("ibutsu-backend", "ibutsu-worker"):
        found = {
            (each["topologyKey"], each["whenUnsatisfiable"], each["labelSelector"]["matchLabels"]["app"])
            for each in tree.pod(name).spec.get("topologySpreadConstraints", [])
        }
        keys = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        if found != {(key, "ScheduleAnyway", name) for key in keys}:
            yield f"{name} is not spread."


def images_have_versions(tree: Tree) -> Iterator[str]:
    """A tag that is not `latest`; ours have the same, since they share the schema."""
    tags: set[str] = set()
    for _, container in tree.containers():
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            yield f"{container['image']} has no version."
        if is_ours(container):
            tags.add(tag)
    if len(tags) != 1:
        yield f"Our images have the versions {sorted(tags)}."


def labels_select_what_they_should(tree: Tree) -> Iterator[str]:
    """The specification's label `app` and the recommended ones are on all pods, and selectors match them."""
    for pod in tree.pods():
        expected = {"app": pod.name, NAME: pod.name, "app.kubernetes.io/part-of": "ibutsu"}
        if not expected.items() <= pod.labels.items() or "app.kubernetes.io/component" not in pod.labels:
            yield f"{pod.name} has the labels {pod.labels}."
        selector = pod.owner["spec"].get("selector")
        if pod.kind != "Job" and selector != {"matchLabels": {"app": pod.name}}:
            yield f"{pod.name} selects {selector}."
    for each in tree.objects:
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "ibutsu":
            yield f"{each['kind']} {each['metadata']['name']} is not known as a part of Ibutsu."
    for service in tree.of("Service"):
        ports = {
            port["name"]: port["containerPort"]
            for pod in tree.pods() if service["spec"]["selector"].items() <= pod.labels.items()
            for container in pod.containers for port in container.get("ports", [])
        }  # fmt: skip
        for port in service["spec"]["ports"]:
            if ports.get(port["targetPort"]) != port["port"]:
                yield f"The Service {service['metadata']['name']} leads nowhere."


def parts_come_in_order(tree: Tree) -> Iterator[str]:
    """Servers, migrations, backend, worker, scheduler; what they need before all of them."""
    waves: dict[str, int] = {}
    for each in tree.objects:
        wave = int(each["metadata"].get("annotations", {}).get(WAVE, "0"))
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            waves[each["metadata"]["name"]] = wave
        elif wave > 0:
            yield f"{each['kind']} {each['metadata']['name']} comes too late."
    order = [name for name in (SERVERS[0], JOB, *DEPLOYMENTS) if name in waves]
    found = [waves[name] for name in order]
    if found != sorted(set(found)) or found[0] < 1 or waves.get("redis", 1) != waves.get("postgresql", 1):
        yield f"The parts come in the order {waves}."
    annotations = tree.one("Job", JOB)["metadata"].get("annotations", {})
    if annotations.get("argocd.argoproj.io/hook-delete-policy") != "BeforeHookCreation":
        yield "Argo CD cannot run another migration."
    if annotations.get("kustomize.toolkit.fluxcd.io/force") != "enabled":
        yield "Flux cannot run another migration."
    if not tree.one("Job", JOB)["spec"].get("ttlSecondsAfterFinished", 0):
        yield "The next upgrade finds the Job of this one."


def servers_keep_what_they_have(tree: Tree) -> Iterator[str]:
    """Both have claims; Redis refuses when it is full, and its file is written."""
    for name in SERVERS:
        if tree.has("StatefulSet", name):
            claims = tree.one("StatefulSet", name)["spec"].get("volumeClaimTemplates", [])
            mounted = {mount["name"] for mount in tree.container(name)["volumeMounts"]}
            if [each["metadata"]["name"] for each in claims] != ["data"] or "data" not in mounted:
                yield f"{name} loses its data with its pod."
    if tree.has("StatefulSet", "redis"):
        text = tree.one("ConfigMap", "redis")["data"]["redis.conf"]
        options = dict(line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#"))
        if options["appendonly"] != "yes" or options["maxmemory-policy"] != "noeviction":
            yield "Redis forgets messages."
        if not int(options["maxmemory"].removesuffix("mb")) << 20 <= size(memory_limit(tree)) / 2:
            yield "Redis has no memory to write its file anew."
        if tree.container("redis").get("args", [])[-2:] != ["--requirepass", "$(REDIS_PASSWORD)"]:
            yield "Redis has no password."


def memory_limit(tree: Tree) -> str:
    """Return what Redis may use."""
    limit: Any = tree.container("redis")["resources"]["limits"]["memory"]
    return str(limit)


def openshift_chooses_the_users(tree: Tree) -> Iterator[str]:
    """Where there are Routes, no user or group is fixed, and nothing is of OpenShift's past."""
    if not tree.of("Route"):
        for namespace in tree.of("Namespace"):
            labels = namespace["metadata"]["labels"]
            if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
                yield "The namespace accepts other pods than restricted ones."
        if any("runAsUser" not in pod.spec["securityContext"] for pod in tree.pods()):
            yield "Kubernetes cannot tell that an image's user is not root."
        return
    for pod in tree.pods():
        for context in (pod.spec["securityContext"], *(each["securityContext"] for each in pod.containers)):
            if found := {"runAsUser", "runAsGroup", "fsGroup"} & context.keys():
                yield f"{pod.name} fixes {sorted(found)}, which restricted-v2 refuses."
    if tree.of("DeploymentConfig", "Namespace", "ImageStream"):
        yield "There is something that a project's user may not make, or that is gone from OpenShift."


RULES = (
    pods_are_restricted, resources_are_given, probes_are_cheap_and_true, ends_are_waited_for, the_scheduler_is_one,
    workers_scale_by_queue_and_work, drains_are_not_blocked, replicas_are_spread, images_have_versions,
    labels_select_what_they_should, parts_come_in_order, servers_keep_what_they_have, openshift_chooses_the_users,
)  # fmt: skip
