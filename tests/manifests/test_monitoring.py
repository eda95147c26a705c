"""Alert rules and dashboard name what is measured, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ibutsu_server.ops.measures import MEASURES
from manifest_tree import ROOT, Tree

SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
METRICS = {f"{each.name}{suffix}": each for each in MEASURES for suffix in SUFFIXES[each.kind]}
OF_PROMETHEUS = {"namespace", "pod", "le"}


def rules_of(tree: Tree) -> list[dict[str, Any]]:
    """Return the alert rules."""
    return [rule for group in tree.one("PrometheusRule", "ibutsu")["spec"]["groups"] for rule in group["rules"]]


def expressions(tree: Tree) -> Iterator[str]:
    """Yield every expression of alerts and dashboard."""
    for rule in rules_of(tree):
        yield rule["expr"]
    dashboard = json.loads(tree.one("ConfigMap", "ibutsu-dashboard")["data"]["ibutsu.json"])
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]


def problems(expression: str) -> Iterator[str]:
    """Yield the metrics and labels that nothing has."""
    for name, selector in re.findall(r"\b(ibutsu_\w+)(?:\{([^}]*)\})?", expression):
        measure = METRICS.get(name)
        if measure is None:
            yield f"{name} is not measured."
            continue
        for label in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', selector):
            if label not in {*measure.labels, *OF_PROMETHEUS}:
                yield f"{name} has no label {label}."
    measures = [METRICS[name] for name in re.findall(r"\bibutsu_\w+", expression) if name in METRICS]
    known = OF_PROMETHEUS.union(*(measure.labels for measure in measures))
    for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        for label in filter(None, map(str.strip, group.split(","))):
            if label not in known:
                yield f"{label} is no label in {expression}."


def test_alerts_and_dashboard_name_what_is_measured(trees: dict[str, Tree]) -> None:
    found = list(expressions(trees["kubernetes+monitoring"]))
    assert len(found) > 20
    assert [problem for expression in found for problem in problems(expression)] == []


@pytest.mark.parametrize(
    "expression",
    ["ibutsu_no_such_metric > 1", 'ibutsu_tasks_total{result="lost"}', "sum by (queue) (ibutsu_tasks_total)",
     "ibutsu_task_duration_seconds > 1"],
)  # fmt: skip
def test_what_is_not_measured_is_found(expression: str) -> None:
    assert list(problems(expression))


def test_the_alert_of_memory_knows_the_limit_of_redis(trees: dict[str, Tree]) -> None:
    tree = trees["kubernetes+monitoring"]
    (limit,) = re.findall(r"^maxmemory ([0-9]+)mb$", tree.one("ConfigMap", "redis")["data"]["redis.conf"], re.MULTILINE)
    (rule,) = (each for each in rules_of(tree) if each["alert"] == "IbutsuBrokerMemory")
    assert rule["expr"].endswith(f"> 0.8 * {int(limit) << 20}")


def test_every_alert_has_a_chapter_that_says_what_to_do(trees: dict[str, Tree]) -> None:
    chapters = re.findall(r"^#+ (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    for rule in rules_of(trees["kubernetes+monitoring"]):
        (chapter,) = re.findall(r'See "([^"]+)" in docs/operations.md', rule["annotations"]["description"])
        assert chapter in chapters


ALWAYS = {
    'ibutsu_build_info{namespace="n", component="backend"}': "1x250",
    'ibutsu_build_info{namespace="n", component="scheduler"}': "1x250",
    'ibutsu_build_info{namespace="n", component="worker"}': "1x250",
    'ibutsu_queue_oldest_age_seconds{namespace="n", queue="ibutsu"}': "5x250",
    'ibutsu_imports_total{namespace="n", format="junit", outcome="done"}': "0+1x250",
    'ibutsu_imports_total{namespace="n", format="unknown", outcome="error"}': "0x250",
    'ibutsu_tasks_total{namespace="n", task="t", outcome="lost"}': "0x250",
    'ibutsu_broker_memory_bytes{namespace="n"}': "1000000x250",
    'ibutsu_broker_up{namespace="n"}': "1x250",
    'ibutsu_database_up{namespace="n"}': "1x250",
    'ibutsu_schema_version{namespace="n"}': "4x250",
    'ibutsu_schema_expected_version{namespace="n"}': "4x250",
    'ibutsu_periodic_last_success_timestamp_seconds{namespace="n", entry="prune-old-runs"}': "0+300x250",
    'ibutsu_periodic_interval_seconds{namespace="n", entry="prune-old-runs"}': "3600x250",
    'ibutsu_http_requests_total{namespace="n", method="GET", route="/api/run", status="200"}': "0+60x250",
    'ibutsu_http_requests_total{namespace="n", method="GET", route="/api/run", status="500"}': "0x250",
}
"""What is measured while all is well: 250 values, one each five minutes."""

FAULTS = {
    "IbutsuTasksWait": ("oldest_age", "0+60x250"),
    "IbutsuNoWorker": ('"worker"', "1x10 _x240"),
    "IbutsuNoScheduler": ('"scheduler"', "1x10 _x240"),
    "IbutsuPeriodicTaskLate": ("last_success", "0x250"),
    "IbutsuPeriodicTaskNeverRan": ("last_success", "_x250"),
    "IbutsuImportsFail": ('"error"', "0+1x250"),
    "IbutsuWorkersLost": ('"lost"', "0x164 1x86"),
    "IbutsuBrokerMemory": ("memory_bytes", "300000000x250"),
    "IbutsuBrokerDown": ("broker_up", "0x250"),
    "IbutsuDatabaseDown": ("database_up", "0x250"),
    "IbutsuSchemaOld": ("schema_version", "3x250"),
    "IbutsuRequestsFail": ('"500"', "0+6x250"),
}
"""For each alert a series that goes wrong, by a part of its name, and how."""

SLOW = "IbutsuPeriodicTaskNeverRan"
"""It looks back a week, so there a value comes each hour."""


def scenario(fault: str | None) -> dict[str, Any]:
    """Return promtool's test of that fault, or of none."""
    series = dict(ALWAYS)
    if fault is not None:
        part, values = FAULTS[fault]
        (name,) = (each for each in series if part in each)
        series[name] = values
    expected = [{"labels": f'{{alertname="{fault}", namespace="n"}}', "value": 1}] if fault else []
    firing = {
        "expr": "max by (alertname, namespace) (ALERTS{alertstate='firing'})",
        "eval_time": "199h" if fault == SLOW else "14h",
        "exp_samples": expected,
    }
    return {
        "name": fault or "all is well",
        "interval": "1h" if fault == SLOW else "5m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [firing],
    }


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="There is no promtool to try the alerts with.")
def test_each_alert_fires_for_its_fault_alone(trees: dict[str, Tree], tmp_path: Path) -> None:
    tree = trees["kubernetes+monitoring"]
    alerts = [rule["alert"] for rule in rules_of(tree)]
    assert {*alerts} == FAULTS.keys()
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(tree.one("PrometheusRule", "ibutsu")["spec"]))
    scenarios = [scenario(None), *map(scenario, FAULTS)]
    (tmp_path / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "5m", "tests": scenarios})
    )
    done = subprocess.run(["promtool", "test", "rules", "tests.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
