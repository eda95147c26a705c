"""Rules of who reaches whom, by network policies, Ingresses and Routes. Each yields what is wrong."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from flower.urls import handlers

from ibutsu_core.settings import variables as variables_of
from ibutsu_server.embedded import commands
from manifest_tree import Pod, Tree

Rule = Mapping[str, Any]
NAMESPACE = "kubernetes.io/metadata.name"

# Who comes from outside, by the labels of their namespaces, and what they may reach: application and port.
OUTSIDE: Mapping[str, tuple[Mapping[str, str], set[tuple[str, int]]]] = {
    "another namespace": ({NAMESPACE: "other"}, set()),
    "the ingress controller": (
        {NAMESPACE: "ingress-nginx"}, {("ibutsu-backend", 8080), ("ibutsu-scheduler", 5555)}
    ),
    "OpenShift's router": (
        {NAMESPACE: "openshift-ingress", "policy-group.network.openshift.io/ingress": ""},
        {("ibutsu-backend", 8080), ("ibutsu-scheduler", 5555)},
    ),
    "Prometheus": (
        {NAMESPACE: "monitoring"},
        {("ibutsu-backend", 8081), ("ibutsu-worker", 8081), ("ibutsu-scheduler", 8081)},
    ),
    "KEDA": ({NAMESPACE: "keda"}, {("redis", 6379)}),
}  # fmt: skip

# Paths of Flower that nobody needs from outside: its probe, its metrics, and its API, which can act.
FLOWER_INSIDE = ("/metrics", "/healthcheck", "/api/workers", "/api/task/apply/any")
FLOWER_OUTSIDE = ("/workers", "/worker/any", "/tasks", "/tasks/datatable", "/task/any", "/broker", "/static/any.css")

# Paths of the API that nobody needs from outside.
API_INSIDE = ("/healthz", "/readyz", "/metrics", "/admin/")


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector matches."""
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In", each
        if labels.get(each["key"]) not in each["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def ports_admit(rule: Rule, port: int) -> bool:
    """Tell whether the rule is for that port."""
    return any(each["port"] == port for each in rule["ports"]) if "ports" in rule else True


def policies(tree: Tree, kind: str, labels: Mapping[str, str]) -> list[Rule]:
    """Return the rules for what comes in ("Ingress") or goes out ("Egress") of pods with these labels."""
    return [
        rule
        for policy in tree.of("NetworkPolicy")
        if kind in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get(kind.lower(), [])
    ]


def admits(peers: list[Rule], *, pod: Mapping[str, str] | None, namespace: Mapping[str, str] | None) -> bool:
    """Tell whether a pod of the same namespace (`namespace` None) or of another is among the peers."""
    for peer in peers:
        if "ipBlock" in peer:
            continue
        of_namespace = "namespaceSelector" not in peer if namespace is None else (
            "namespaceSelector" in peer and selects(peer["namespaceSelector"], namespace)
        )  # fmt: skip
        of_pod = "podSelector" not in peer or (pod is not None and selects(peer["podSelector"], pod))
        if of_namespace and of_pod:
            return True
    return False


def connects(tree: Tree, client: Pod, server: Pod, port: int) -> bool:
    """Tell whether the policies of both let the client's pod connect to the server's."""
    out = any(
        ports_admit(rule, port) and admits(rule["to"], pod=server.labels, namespace=None)
        for rule in policies(tree, "Egress", client.labels)
    )
    into = any(
        ports_admit(rule, port) and admits(rule["from"], pod=client.labels, namespace=None)
        for rule in policies(tree, "Ingress", server.labels)
    )
    return out and into


def ports_of(pod: Pod) -> set[int]:
    """Return the ports at which the pod's containers listen."""
    return {port["containerPort"] for container in pod.containers for port in container.get("ports", [])}


def all_is_denied_at_first(tree: Tree) -> Iterator[str]:
    """Each pod is selected by a policy of each kind, so that what no rule allows is denied."""
    specs = [policy["spec"] for policy in tree.of("NetworkPolicy")]
    both = [spec for spec in specs if {*spec["policyTypes"]} == {"Ingress", "Egress"}]
    denials = [spec["podSelector"] for spec in both if not spec.keys() & {"ingress", "egress"}]
    for pod in tree.pods():
        if not any(selects(selector, pod.labels) for selector in denials):
            yield f"{pod.name} is open."
    for policy in tree.of("NetworkPolicy"):
        if not any(selects(policy["spec"]["podSelector"], pod.labels) for pod in tree.pods()):
            yield f"The policy {policy['metadata']['name']} selects nothing."


def pods_reach_what_they_need(tree: Tree) -> Iterator[str]:
    """Who has the address of a server reaches it, and nobody anything else."""
    for client in tree.pods():
        names = {each["name"] for container in client.containers for each in container.get("env", [])}
        needed = {server for server, name in (("postgresql", "POSTGRESQL_HOST"), ("redis", "CELERY_BROKER_URL"))
                  if name in names}  # fmt: skip
        for server in tree.pods():
            if server.name != client.name:
                for port in ports_of(server):
                    if connects(tree, client, server, port) != (server.name in needed):
                        verb = "does not reach" if server.name in needed else "reaches"
                        yield f"{client.name} {verb} {server.name}:{port}."


def pods_resolve_names(tree: Tree) -> Iterator[str]:
    """DNS of Kubernetes and of OpenShift, by UDP and TCP."""
    for pod in tree.pods():
        for namespace, number in (("kube-system", 53), ("openshift-dns", 5353)):
            for protocol in ("UDP", "TCP"):
                if not any(
                    {"port": number, "protocol": protocol} in rule.get("ports", [])
                    and admits(rule["to"], pod=None, namespace={NAMESPACE: namespace})
                    for rule in policies(tree, "Egress", pod.labels)
                ):
                    yield f"{pod.name} does not reach port {number} of {namespace} by {protocol}."


def outsiders_reach_what_they_may(tree: Tree) -> Iterator[str]:
    """The way in leads to the API and Flower, metrics are for Prometheus, Redis is for KEDA; where each is used."""
    present = {
        "the ingress controller": bool(tree.of("Ingress")),
        "OpenShift's router": bool(tree.of("Route")),
        "Prometheus": bool(tree.of("PodMonitor")),
        "KEDA": bool(tree.of("ScaledObject")) and tree.has("StatefulSet", "redis"),
    }
    for who, (namespace, allowed) in OUTSIDE.items():
        expected = allowed if present.get(who) else set()
        found = {
            (pod.name, port)
            for pod in tree.pods()
            for port in ports_of(pod)
            for rule in policies(tree, "Ingress", pod.labels)
            if ports_admit(rule, port) and admits(rule["from"], pod=None, namespace=namespace)
        }
        if found != expected:
            yield f"From {who} these are reached: {sorted(found)}, and not {sorted(expected)}."


def nobody_leaves_the_cluster(tree: Tree) -> Iterator[str]:
    """Only for managed servers, and only to their ports."""
    servers = {"postgresql": 5432, "redis": 6379}
    elsewhere = {port for name, port in servers.items() if not tree.has("StatefulSet", name)}
    for pod in tree.pods():
        for rule in policies(tree, "Egress", pod.labels):
            blocks = [peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer]
            ports = {each["port"] for each in rule["ports"]}
            if blocks not in ([], ["169.254.20.10/32"]) and not ports <= elsewhere:
                yield f"{pod.name} reaches {blocks}, ports {sorted(ports)}."


def exposed(tree: Tree, service: str) -> list[tuple[str, str]]:
    """Return the paths that lead to the Service from outside, and how each is matched."""
    found = [
        (path["path"], path["pathType"])
        for ingress in tree.of("Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
        if path["backend"]["service"]["name"] == service
    ]
    found += [
        (route["spec"].get("path", "/"), "Prefix")
        for route in tree.of("Route")
        if route["spec"]["to"]["name"] == service
    ]
    return found


def leads(path: str, paths: list[tuple[str, str]]) -> bool:
    """Tell whether the path is among the exposed ones."""
    return any(
        path == each or (kind == "Prefix" and (each == "/" or path.startswith(f"{each.rstrip('/')}/")))
        for each, kind in paths
    )


@functools.cache
def api_paths() -> tuple[str, ...]:
    """Return the paths that the API answers, of an application of its own."""
    program = "import ibutsu_server; print(*(rule.rule for rule in ibutsu_server.backend_app.url_map.iter_rules()))"
    values = {each.name: each.example for each in variables_of(commands.Application.BACKEND) if each.required}
    environ = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ} | values
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    return tuple(done.stdout.split())


def flower_patterns() -> list[str]:
    """Return the paths that Flower answers, without that of its error page."""
    return [each.regex.pattern if hasattr(each, "regex") else each[0] for each in handlers[:-1]]


def outside_is_what_people_need(tree: Tree) -> Iterator[str]:
    """All of the API and its page, and Flower's pages; no health, no metrics, and nothing of Flower that acts."""
    paths = exposed(tree, "ibutsu-backend")
    for path in api_paths():
        if leads(path, paths) == path.startswith(API_INSIDE):
            yield f"{path} of the API is {'' if leads(path, paths) else 'not '}reachable from outside."
    paths = exposed(tree, "ibutsu-flower")
    for path in (*FLOWER_OUTSIDE, *FLOWER_INSIDE):
        if not any(re.fullmatch(pattern, path) for pattern in flower_patterns()):
            yield f"Flower does not know {path}."
        if leads(path, paths) != (path in FLOWER_OUTSIDE):
            yield f"{path} of Flower is {'' if leads(path, paths) else 'not '}reachable from outside."
    if {
        each["metadata"]["name"] for each in tree.of("Service") if each["spec"].get("type", "ClusterIP") != "ClusterIP"
    }:
        yield "A Service is reachable from outside by itself."


def ways_in_are_encrypted(tree: Tree) -> Iterator[str]:
    """TLS for every host, and the links that the API answers lead there."""
    hosts: dict[str, set[str]] = {"ibutsu-backend": set(), "ibutsu-flower": set()}
    for ingress in tree.of("Ingress"):
        encrypted = {
            host for each in ingress["spec"].get("tls", []) for host in each["hosts"] if each.get("secretName")
        }
        for rule in ingress["spec"]["rules"]:
            hosts[rule["http"]["paths"][0]["backend"]["service"]["name"]].add(rule["host"])
            if rule["host"] not in encrypted:
                yield f"{rule['host']} has no TLS."
    for route in tree.of("Route"):
        hosts[route["spec"]["to"]["name"]].add(route["spec"]["host"])
        if route["spec"].get("tls") != {"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"}:
            yield f"The Route {route['metadata']['name']} has no TLS."
    values = {each["name"]: each.get("value") for each in tree.container("ibutsu-backend")["env"]}
    if {values.get("IBUTSU_PUBLIC_URL")} != {f"https://{host}" for host in hosts["ibutsu-backend"]}:
        yield f"The API's links lead to {values.get('IBUTSU_PUBLIC_URL')}."
    if values.get("IBUTSU_TRUSTED_PROXIES") != "1":
        yield "All clients count as one for the limits of logins."
    if len(hosts["ibutsu-flower"]) != 1:
        yield "Flower has no host."


RULES = (
    all_is_denied_at_first, pods_reach_what_they_need, pods_resolve_names, outsiders_reach_what_they_may,
    nobody_leaves_the_cluster, outside_is_what_people_need, ways_in_are_encrypted,
)  # fmt: skip
