"""The commands that mend, as data: for Kubernetes, and for a machine where the processes are started by hand."""

from __future__ import annotations

import dataclasses
import enum
import shlex


@dataclasses.dataclass(frozen=True, slots=True)
class Mend:
    """The same in both places. What is in braces is filled in."""

    kubernetes: str
    local: str


class Mends(enum.Enum):
    """All that a finding may advise."""

    ENVIRONMENT = Mend("kubectl set env deployment/ibutsu-worker {name}=VALUE", "export {name}=VALUE")
    START_REDIS = Mend("kubectl rollout restart statefulset/redis", "ibutsu up")
    START_POSTGRESQL = Mend("kubectl rollout restart statefulset/postgresql", "ibutsu up")
    REDIS_NAME = Mend("kubectl get service redis", "getent hosts {host}")
    POSTGRESQL_NAME = Mend("kubectl get service postgresql", "getent hosts {host}")
    REDIS_PASSWORD = Mend(
        "kubectl rollout restart deployment ibutsu-worker ibutsu-scheduler ibutsu-backend",
        "export {variable}=redis://:PASSWORD@{host}:{port}/0",
    )
    POSTGRESQL_PASSWORD = Mend(
        "kubectl rollout restart deployment ibutsu-worker ibutsu-scheduler ibutsu-backend",
        "psql --host={host} --port={port} --username=USER --dbname=DATABASE --command='SELECT 1'",
    )
    CREATE_DATABASE = Mend(
        "kubectl exec statefulset/postgresql -- psql --list",
        "createdb --host={host} --port={port} --username=USER DATABASE && ibutsu db upgrade",
    )
    CONNECTIONS = Mend(
        "kubectl exec statefulset/postgresql -- psql --command="
        "'SELECT application_name, client_addr, count(*) FROM pg_stat_activity GROUP BY 1, 2'",
        "psql --host={host} --port={port} --username=USER --dbname=DATABASE --command="
        "'SELECT application_name, client_addr, count(*) FROM pg_stat_activity GROUP BY 1, 2'",
    )
    POSTGRESQL_DISK = Mend("kubectl exec statefulset/postgresql -- df -h", "df -h")
    POSTGRESQL_PRIMARY = Mend("kubectl get service postgresql -o wide",
                              "export POSTGRESQL_HOST=HOST-OF-THE-PRIMARY")  # fmt: skip
    END_SESSION = Mend(
        "kubectl exec statefulset/postgresql -- psql --command='SELECT pg_terminate_backend({pid})'",
        "psql --host={host} --port={port} --username=USER --dbname=DATABASE "
        "--command='SELECT pg_terminate_backend({pid})'",
    )
    UPGRADE_SCHEMA = Mend("kubectl exec deployment/ibutsu-backend -- ibutsu db upgrade", "ibutsu db upgrade")
    UPGRADE_IBUTSU = Mend("kubectl get deployment -o wide", "make up")
    SET_REDIS = Mend(
        "kubectl exec statefulset/redis -- redis-cli CONFIG SET {name} {value}",
        "redis-cli -h {host} -p {port} --askpass CONFIG SET {name} {value}",
    )
    INFO_REDIS = Mend(
        "kubectl exec statefulset/redis -- redis-cli INFO {name}",
        "redis-cli -h {host} -p {port} --askpass INFO {name}",
    )
    REDIS_DISK = Mend("kubectl exec statefulset/redis -- df -h", "df -h")
    EXPIRE_SOONER = Mend(
        "kubectl set env deployment/ibutsu-worker CELERY_RESULT_EXPIRES=3600", "export CELERY_RESULT_EXPIRES=3600"
    )
    START_WORKER = Mend(
        "kubectl rollout restart deployment/ibutsu-worker", "celery --app ibutsu_server:worker_app worker"
    )
    MORE_WORKERS = Mend("kubectl scale deployment/ibutsu-worker --replicas={number}", "ibutsu up --workers {number}")
    START_SCHEDULER = Mend(
        "kubectl rollout restart deployment/ibutsu-scheduler", "celery --app ibutsu_server:scheduler_app beat"
    )
    ONE_SCHEDULER = Mend(
        "kubectl scale deployment/ibutsu-scheduler --replicas=1", "ps -ef | grep ibutsu_server:scheduler_app"
    )
    SAME_BROKER = Mend(
        "kubectl set env --list deployment/ibutsu-worker deployment/ibutsu-scheduler deployment/ibutsu-backend",
        "ps -ef | grep ibutsu_server:",
    )
    START_FLOWER = Mend(
        "kubectl logs deployment/ibutsu-scheduler -c ibutsu-flower", "celery --app ibutsu_server:flower_app flower"
    )
    LOCK_FLOWER = Mend(
        "kubectl set env deployment/ibutsu-scheduler -c ibutsu-flower FLOWER_BASIC_AUTH=USERNAME:PASSWORD",
        "export FLOWER_BASIC_AUTH=USERNAME:PASSWORD",
    )
    START_API = Mend("kubectl rollout restart deployment/ibutsu-backend", "ibutsu up")
    SHOW_IMPORTS = Mend("ibutsu imports list --status error", "ibutsu imports list --status error")
    SHOW_LEDGER = Mend("ibutsu maintenance --entry {entry}", "ibutsu maintenance --entry {entry}")
    CLOCK = Mend("kubectl get nodes", "timedatectl set-ntp true")


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """Gives commands for one place: the Redis or PostgreSQL at `host` and `port`."""

    kubernetes: bool
    host: str = "HOST"
    port: int = 0

    def command(self, mend: Mends, **values: object) -> str:
        """Return the command, filled in."""
        template = mend.value.kubernetes if self.kubernetes else mend.value.local
        quoted = {name: shlex.quote(str(value)) for name, value in values.items()}
        return template.format(host=shlex.quote(self.host), port=self.port, **quoted)
