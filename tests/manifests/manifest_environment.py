"""Rules of what containers find in their environment, read from `ibutsu_core.settings`. Each yields what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from ibutsu_core.settings import VARIABLES, Application, SettingsError, load, load_database, variables
from ibutsu_server.embedded import commands
from manifest_tree import APPLICATIONS, JOB, SERVERS, Tree, entry, environment, is_ours

DATABASE = tuple(variable for variable in VARIABLES if variable.name.startswith("POSTGRESQL_"))
REDIS_URLS = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")

# Where each secret belongs: the Secret and the key.
SOURCES = {
    "POSTGRESQL_USER": ("postgresql", "database-user"),
    "POSTGRESQL_PASSWORD": ("postgresql", "database-password"),
    "POSTGRESQL_DATABASE": ("postgresql", "database-name"),
    "REDIS_PASSWORD": ("redis", "password"),
    "FLOWER_BASIC_AUTH": ("flower", "basic-auth"),
}
KEYS = {**{name: {key for secret, key in SOURCES.values() if secret == name} for name, _ in SOURCES.values()}}
KEYS["postgresql"].add("superuser-password")

# Every character that has a meaning in a URL, a shell, a configuration file or to the kubelet.
PASSWORD = "p@s/s:w?o#r&d %41%zz\"'\\`$(REDIS_PASSWORD)$$;=+,[]{}é -"
SECRETS = {
    "postgresql": {"database-user": f"u{PASSWORD}", "database-password": PASSWORD, "database-name": f"d{PASSWORD}"},
    "redis": {"password": PASSWORD},
    "flower": {"basic-auth": "ibutsu:p@ss/word"},
}


def applications(tree: Tree) -> Iterator[tuple[Application, dict[str, Any]]]:
    """Yield the containers that run our applications."""
    for _, container in tree.containers():
        if container["name"] in APPLICATIONS:
            yield APPLICATIONS[container["name"]], container


def database_commands(tree: Tree) -> Iterator[dict[str, Any]]:
    """Yield the containers of our images that run a command of `ibutsu db`."""
    for _, container in tree.containers():
        if is_ours(container) and container["name"] not in APPLICATIONS:
            yield container


def variables_are_those_of_the_application(tree: Tree) -> Iterator[str]:
    """Each container has what its application requires, nothing that it does not read, and nothing twice."""
    found = list(applications(tree))
    if sorted(application for application, _ in found) != sorted(Application):
        yield "Not every application has one container."
    asked = [(container, variables(application)) for application, container in found]
    for container, known in [*asked, *((container, DATABASE) for container in database_commands(tree))]:
        name, names = container["name"], [each["name"] for each in container.get("env", [])]
        if "envFrom" in container:
            yield f"{name} takes whole objects into its environment."
        for variable in known:
            if variable.required and variable.name not in names:
                yield f"{name} lacks {variable.name}."
        for each in names:
            if each not in {variable.name for variable in known}:
                yield f"{name} has {each}, which it does not read."
            if names.count(each) > 1:
                yield f"{name} has {each} twice."


def settings_load_with_any_password(tree: Tree) -> Iterator[str]:
    """The application accepts the environment that the kubelet makes, and finds the very passwords in it."""
    for application, container in applications(tree):
        try:
            settings = load(application, environment(container, SECRETS))
        except SettingsError as error:
            yield str(error)
            continue
        for url in (settings.celery.broker_url, settings.celery.result_backend):
            if unquote(urlsplit(url).password or "") != PASSWORD:
                yield f"{container['name']} reads another password of Redis than the Secret has."
        if settings.database and settings.database.password != PASSWORD:
            yield f"{container['name']} reads another password of PostgreSQL than the Secret has."
    for container in database_commands(tree):
        try:
            load_database(environment(container, SECRETS))
        except SettingsError as error:
            yield f"{container['name']}: {error}"


def all_have_the_same_servers(tree: Tree) -> Iterator[str]:
    """The broker's URL, the result backend's and the database's address are the same everywhere."""
    containers = [container for _, container in applications(tree)] + list(database_commands(tree))
    for name in (*REDIS_URLS, "POSTGRESQL_HOST", "POSTGRESQL_PORT"):
        values = {str(each) for container in containers for each in container["env"] if each["name"] == name}
        if len(values) != 1:
            yield f"{name} is not the same everywhere: {sorted(values)}."


def addresses_resolve(tree: Tree) -> Iterator[str]:
    """Where PostgreSQL or Redis run in the cluster, the addresses are those of their Services."""
    environ = environment(tree.container("ibutsu-worker"), SECRETS)
    settings = load(Application.WORKER, environ)
    found = {
        "postgresql": (settings.database and settings.database.host, settings.database and settings.database.port),
        "redis": (urlsplit(settings.celery.broker_url).hostname, urlsplit(settings.celery.broker_url).port),
    }
    for name in SERVERS:
        if tree.has("StatefulSet", name):
            port = tree.one("Service", name)["spec"]["ports"][0]["port"]
            if found[name] != (name, port):
                yield f"{name} is looked for at {found[name]}."


def secrets_come_from_secrets(tree: Tree) -> Iterator[str]:
    """A secret is a reference to the Secret where it belongs; a URL with one is put together from it."""
    secret = {variable.name for variable in VARIABLES if variable.secret}
    for pod, container in tree.containers():
        for each in container.get("env", []):
            name = each["name"]
            place = f"{name} of {pod.name}/{container['name']}"
            if name in REDIS_URLS:
                if ":$(REDIS_PASSWORD)@" not in each.get("value", ""):
                    yield f"{place} is not put together from REDIS_PASSWORD."
            elif name in secret or "PASSWORD" in name or "AUTH" in name:
                reference = each.get("valueFrom", {}).get("secretKeyRef")
                if reference is None:
                    yield f"{place} is no reference to a Secret."
                elif SOURCES.get(name, (reference["name"], reference["key"])) != (reference["name"], reference["key"]):
                    yield f"{place} comes from {reference}."
                elif reference["key"] not in KEYS.get(reference["name"], ()):
                    yield f"{place} comes from {reference}, which nothing makes."


def secrets_exist(tree: Tree) -> Iterator[str]:
    """Each Secret is in the tree with its keys, or External Secrets makes it."""
    secrets = tree.secrets()
    for name, keys in KEYS.items():
        if tree.has("ExternalSecret", name):
            if name in secrets:
                yield f"The Secret {name} is made twice."
        elif not keys <= secrets.get(name, {}).keys():
            yield f"The Secret {name} lacks {sorted(keys - secrets.get(name, {}).keys())}."


def references_are_defined_before(tree: Tree) -> Iterator[str]:
    """`$(NAME)` is defined in the same container, and earlier; else the kubelet leaves it as it is."""
    for pod, container in tree.containers():
        defined: set[str] = set()
        for each in container.get("env", []):
            if lacking := set(re.findall(r"\$\(([^()]+)\)", each.get("value", ""))) - defined:
                yield f"{each['name']} of {pod.name}/{container['name']} needs {sorted(lacking)} before it."
            defined.add(each["name"])
        for argument in [*container.get("command", []), *container.get("args", [])]:
            if lacking := set(re.findall(r"\$\(([^()]+)\)", argument)) - defined:
                yield f"The arguments of {pod.name}/{container['name']} need {sorted(lacking)}."


def flower_sees_no_database(tree: Tree) -> Iterator[str]:
    """By no way: not in its variables, and not by a volume with the Secret. Service links: `no_service_links`."""
    pod = tree.pod("ibutsu-scheduler")
    container = tree.container("ibutsu-flower")
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    for each in container["env"]:
        if "POSTGRES" in each["name"] or "postgresql" in str(each):
            yield f"Flower sees {each['name']}."
    for volume in pod.spec.get("volumes", []):
        if volume["name"] in mounted and "emptyDir" not in volume:
            yield f"Flower sees the volume {volume['name']}."
    if pod.spec.get("shareProcessNamespace"):
        yield "Flower sees the scheduler's processes, and so their environment."
    if "envFrom" in container:
        yield "Flower takes whole objects into its environment."


def no_service_links(tree: Tree) -> Iterator[str]:
    """No Service called `postgresql` sets POSTGRESQL_PORT=tcp://… in a container; the port is set where the host is."""
    for pod, container in tree.containers():
        if pod.spec.get("enableServiceLinks", True):
            yield f"{pod.name} has the variables of Services."
        names = [each["name"] for each in container.get("env", [])]
        if "POSTGRESQL_HOST" in names and not re.fullmatch(
            "[0-9]+", str(entry(container, "POSTGRESQL_PORT").get("value")) if "POSTGRESQL_PORT" in names else ""
        ):
            yield f"{pod.name}/{container['name']} does not set POSTGRESQL_PORT to a number."


def processes_wait_for_the_schema(tree: Tree) -> Iterator[str]:
    """Backend, worker and scheduler start when the schema is what they expect; the Job makes it so."""
    for name in ("ibutsu-backend", "ibutsu-worker", "ibutsu-scheduler"):
        first = tree.pod(name).spec.get("initContainers", [])
        if [(each["image"].partition(":")[0].rpartition("/")[2], each.get("command")) for each in first] != [
            ("ibutsu-backend", ["ibutsu", "db", "wait"])
        ]:
            yield f"{name} does not wait for the schema."
    if tree.container(JOB)["command"][:3] != ["ibutsu", "db", "upgrade"]:
        yield "The Job does not migrate."


def images_run_their_own_commands(tree: Tree) -> Iterator[str]:
    """What a container runs is in its image, and Flower keeps to the bounds that the settings have."""
    for application, container in applications(tree):
        if "command" in container or "args" in container:
            yield f"{container['name']} does not run what its image is for."
        if application is Application.FLOWER:
            names = {each["name"] for each in container["env"]} - {"FLOWER_BASIC_AUTH"}
            if changed := sorted(name for name in names if "FLOWER" in name):
                yield f"Flower is not as locked, read-only and bounded as by default: {changed}."


def ports_are_those_of_the_commands(tree: Tree) -> Iterator[str]:
    """Containers declare the ports at which their processes listen, and nothing else."""
    expected = {"ibutsu-backend": [commands.API_PORT], "ibutsu-flower": [commands.FLOWER_PORT]}
    for name in ("ibutsu-backend", "ibutsu-worker", "ibutsu-scheduler"):
        address = next((each for each in tree.container(name)["env"] if each["name"] == "IBUTSU_HEALTH_ADDRESS"), None)
        if address is None or not re.fullmatch(":[0-9]+", address["value"]):
            yield f"{name} answers no probe."
        else:
            expected.setdefault(name, []).append(int(address["value"][1:]))
    for name, ports in expected.items():
        if [each["containerPort"] for each in tree.container(name).get("ports", [])] != ports:
            yield f"{name} does not declare the ports {ports} alone."


RULES = (
    variables_are_those_of_the_application, settings_load_with_any_password, all_have_the_same_servers,
    addresses_resolve, secrets_come_from_secrets, secrets_exist, references_are_defined_before, flower_sees_no_database,
    no_service_links, processes_wait_for_the_schema, images_run_their_own_commands, ports_are_those_of_the_commands,
)  # fmt: skip
