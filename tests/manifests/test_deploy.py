"""`manifests/deploy` applies the parts in the specification's order, and stops where one does not come up.

There is no cluster here: a program in kubectl's place notes what it is asked, and answers as kubectl does.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from manifest_tree import Tree, kustomize

Deploy = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]

# What kubectl finds of each selector, and which command fails.
PROGRAM = """#!/bin/sh
printf '%s\\n' "$*" >> {log}
case "$*" in
    kustomize*) shift; exec {kustomize} "$@" ;;
    *"{fails}"*) exit 1 ;;
    apply*postgresql*) echo service/redis; echo statefulset.apps/postgresql; echo statefulset.apps/redis ;;
    apply*app=ibutsu-migrations*) echo job.batch/ibutsu-migrations ;;
    apply*app=*) echo "deployment.apps/${{3#--selector=app=}}" ;;
esac
"""


@pytest.fixture
def deploy(manifests: Path, tmp_path: Path) -> Deploy:
    """Deploy an overlay, with a command that `fails`; return the outcome, and what kubectl was asked."""

    def run(overlay: str, fails: str = "no such command") -> tuple[subprocess.CompletedProcess[str], list[str]]:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        program = tmp_path / "kubectl"
        program.write_text(PROGRAM.format(log=log, fails=fails, kustomize=shlex.join(kustomize() or [])))
        program.chmod(0o755)
        done = subprocess.run(
            [manifests / "deploy", manifests / "overlays" / overlay],
            env={"PATH": os.environ["PATH"], "KUBECTL": str(program), "TMPDIR": str(tmp_path)},
            capture_output=True, text=True,
        )  # fmt: skip
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp.")] == []
        return done, log.read_text().splitlines()

    return run


def test_each_part_is_waited_for_before_the_next(deploy: Deploy, trees: dict[str, Tree]) -> None:
    done, asked = deploy("kubernetes")
    assert done.returncode == 0, done.stderr
    rollouts = [line for line in asked if "rollout" in line or " wait " in line]
    assert rollouts == [
        "--namespace=ibutsu rollout status statefulset.apps/postgresql --timeout=600s",
        "--namespace=ibutsu rollout status statefulset.apps/redis --timeout=600s",
        "--namespace=ibutsu wait --for=condition=complete job/ibutsu-migrations --timeout=600s",
        "--namespace=ibutsu rollout status deployment.apps/ibutsu-backend --timeout=600s",
        "--namespace=ibutsu rollout status deployment.apps/ibutsu-worker --timeout=600s",
        "--namespace=ibutsu rollout status deployment.apps/ibutsu-scheduler --timeout=600s",
    ]
    applied = [line for line in asked if line.startswith("apply")]
    selectors = [line.partition("--selector=")[2].removesuffix(" --output=name") for line in applied]
    for each in trees["kubernetes"].objects:
        app = each["metadata"].get("labels", {}).get("app")
        matching = [selector for selector in selectors if (app in selector if app else selector == "!app")]
        assert len(matching) == 1, f"{each['kind']} {each['metadata']['name']} is applied by {matching}."


def test_what_does_not_come_up_ends_it(deploy: Deploy) -> None:
    for fails, last in (
        ("rollout status statefulset.apps/redis", "rollout status statefulset.apps/redis"),
        ("wait --for=condition=complete", "logs job/ibutsu-migrations"),
        ("rollout status deployment.apps/ibutsu-backend", "rollout status deployment.apps/ibutsu-backend"),
    ):
        done, asked = deploy("openshift", fails)
        assert done.returncode != 0
        assert asked[-1].startswith(last)
        assert not any("app=ibutsu-scheduler" in line for line in asked)


def test_the_last_migration_goes_before_the_next(deploy: Deploy) -> None:
    _, asked = deploy("openshift")
    (gone,) = (i for i, line in enumerate(asked) if line.startswith("delete job ibutsu-migrations"))
    (made,) = (i for i, line in enumerate(asked) if line.startswith("apply") and "ibutsu-migrations" in line)
    assert gone < made
