"""`ibutsu up`: the whole system on one machine, from the data directory to the table that says what runs where."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import Application
from ibutsu_server.embedded import checks, commands, environment, files, overview, ports, postgres, preparation, redis
from ibutsu_server.embedded.child import Child, describe
from ibutsu_server.embedded.errors import EmbeddedError, from_os_error
from ibutsu_server.embedded.logs import Log
from ibutsu_server.embedded.preparation import Options, Plan
from ibutsu_server.embedded.processes import Program, ordinary_environment
from ibutsu_server.embedded.supervisor import Supervisor
from ibutsu_server.store.local import LocalAccess, ensure_local_access

ADMIN_EMAIL = "admin@example.com"
LOCAL_FILE = "local.json"
"""In the data directory while the system runs; `ibutsu import` finds the system by it."""

SAMPLE = Path(__file__).with_name("sample.xml")

READY_SECONDS = 120.0
GIVEN_SECONDS = 20.0
"""How long a server that the environment gives may take to answer."""

UPGRADE_SECONDS = 3600.0
SAMPLE_SECONDS = 300.0

# What is stopped first has the lowest number.
_FRONT, _FLOWER, _WORKERS, _REDIS, _POSTGRES = range(5)

_SAMPLE_MARKER = "sample-imported"


def up(options: Options, environ: Mapping[str, str]) -> None:
    """Run the system until a signal ends it. Raises EmbeddedError with a sentence for what a person can put right.

    Until the first process runs, a signal raises KeyboardInterrupt.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    directory = files.private_directory(options.data_directory)
    try:
        with files.locked(directory / "lock") as lock:
            _run(options, environ, directory, lock)
    except files.LockedError as error:
        url = error.holder.get("url")
        where = f"at {url}" if url else "and is just starting or stopping"
        pid = error.holder.get("pid", "unknown")
        raise EmbeddedError(f"Ibutsu runs already on {directory}, {where} (pid {pid}).") from error
    except OSError as error:
        raise from_os_error(error, directory) from error


def _run(options: Options, environ: Mapping[str, str], directory: Path, lock: files.Lock) -> None:
    local_file = directory / LOCAL_FILE
    local_file.unlink(missing_ok=True)
    log = Log(Console(highlight=False), directory / "logs")
    try:
        plan = preparation.prepare(options, environ, directory, log)
        asyncio.run(_supervise(plan, log, lock))
    finally:
        local_file.unlink(missing_ok=True)
        log.close()


async def _supervise(plan: Plan, log: Log, lock: files.Lock) -> None:
    supervisor = Supervisor(log)
    log.on_broken_console = supervisor.request_stop
    supervisor.on_stop(lambda: (plan.directory / LOCAL_FILE).unlink(missing_ok=True))
    await supervisor.run(_System(plan, log, lock, supervisor).start)


class _System:
    """The processes of the system, and what is done once they run."""

    def __init__(self, plan: Plan, log: Log, lock: files.Lock, supervisor: Supervisor) -> None:
        self._plan = plan
        self._log = log
        self._lock = lock
        self._supervisor = supervisor
        self._children: dict[str, Child] = {}
        self._places: dict[str, str] = {}

    async def start(self) -> None:
        """Start everything in order, each when what it needs is ready, and show the table."""
        await self._start_servers()
        await self._upgrade()
        access = ensure_local_access(self._plan.database, email=ADMIN_EMAIL, password=self._plan.admin_password)
        self._log.hide([access.token, *self._plan.secrets()])
        await self._start_applications()
        self._announce(access)
        if self._plan.options.sample:
            await self._import_sample(access)
        self._show(access)

    async def _start_servers(self) -> None:
        plan, supervisor = self._plan, self._supervisor
        cluster, store = plan.cluster, plan.store
        if cluster:
            self._children["postgres"] = supervisor.start(
                cluster.program, stage=_POSTGRES, before_restart=lambda: postgres.end_orphan(cluster.data)
            )
        if store:
            self._children["redis"] = supervisor.start(
                store.program, stage=_REDIS, before_restart=lambda: redis.end_orphan(store.program.directory)
            )
        database_ready, redis_ready = checks.postgres_ready(plan.database), checks.redis_ready(plan.celery.broker_url)
        for own, given, check in (("postgres", "PostgreSQL", database_ready), ("redis", "Redis", redis_ready)):
            seconds = READY_SECONDS if own in self._children else GIVEN_SECONDS
            await supervisor.ready(self._children.get(own, f"The given {given}"), check, seconds=seconds)

    async def _upgrade(self) -> None:
        program = self._program("schema", _python("ibutsu_server.embedded.upgrade"), Application.BACKEND)
        child = await self._supervisor.complete(program, seconds=UPGRADE_SECONDS)
        if child.exit_code:
            raise EmbeddedError("\n    ".join(("The schema could not be brought up to date:", *child.tail)))

    async def _start_applications(self) -> None:
        plan, supervisor = self._plan, self._supervisor
        address = f"{ports.LOOPBACK}:{plan.api_port}"
        api = self._start("api", Application.BACKEND, commands.backend(address), _FRONT)
        scheduler = self._start("scheduler", Application.SCHEDULER, commands.COMMANDS[Application.SCHEDULER], _FRONT)
        flower = self._start("flower", Application.FLOWER, commands.flower(ports.LOOPBACK, plan.flower_port), _FLOWER)
        workers = {}
        if plan.options.workers == 1:
            workers["celery"] = self._start("worker", Application.WORKER, commands.worker(), _WORKERS)
        else:
            for number in range(1, plan.options.workers + 1):
                name = f"worker{number}"
                workers[name] = self._start(name, Application.WORKER, commands.worker(f"{name}@%h"), _WORKERS)
        await supervisor.ready(
            api, checks.page_ready(plan.api_url + commands.HEALTH_PATH, lambda: api.pid), seconds=READY_SECONDS
        )
        celery = create_broker_celery_app("ibutsu_up", settings=plan.celery)
        try:
            for node, worker in workers.items():
                await supervisor.ready(worker, checks.worker_ready(celery, node), seconds=READY_SECONDS)
        finally:
            celery.close()
        flower_ready = checks.page_ready(plan.flower_url + commands.FLOWER_HEALTH_PATH, lambda: flower.pid)
        await supervisor.ready(flower, flower_ready, seconds=READY_SECONDS)
        scheduler_ready = checks.page_ready(self._places["scheduler"] + commands.READY_PATH, lambda: scheduler.pid)
        await supervisor.ready(scheduler, scheduler_ready, seconds=READY_SECONDS)

    def _start(self, name: str, application: Application, command: tuple[str, ...], stage: int) -> Child:
        program = self._program(name, commands.here(command), application)
        if application in (Application.WORKER, Application.SCHEDULER):
            address = f"{ports.LOOPBACK}:{ports.free_port()}"
            self._places[name] = f"http://{address}"
            program = dataclasses.replace(
                program, environment={**program.environment, "IBUTSU_HEALTH_ADDRESS": address}
            )
        self._children[name] = self._supervisor.start(program, stage=stage)
        return self._children[name]

    def _program(self, name: str, argv: tuple[str, ...], application: Application) -> Program:
        return Program(
            name=name,
            argv=argv,
            environment=environment.of(application, self._plan.values),
            directory=self._plan.work,
            stop=commands.STOP[application],
        )

    def _announce(self, access: LocalAccess) -> None:
        plan = self._plan
        urls = {"url": plan.api_url, "flower_url": plan.flower_url}
        local = {**urls, "token": access.token, "project": access.project, "pid": os.getpid()}
        local["database"] = dataclasses.asdict(plan.database)
        files.write_json(plan.directory / LOCAL_FILE, local)
        self._lock.describe({"pid": os.getpid(), "url": plan.api_url})

    async def _import_sample(self, access: LocalAccess) -> None:
        marker = self._plan.directory / _SAMPLE_MARKER
        if marker.exists():
            return
        self._log.say("Importing a sample report, so that there is something to look at; this is done once.")
        reach = {"IBUTSU_URL": self._plan.api_url, "IBUTSU_TOKEN": access.token, "COLUMNS": str(self._log.width)}
        program = Program(
            name="sample",
            argv=(*_python("ibutsu_server.cli"), "import", str(SAMPLE), "--project", access.project),
            environment=ordinary_environment() | {"PYTHONUNBUFFERED": "1"} | reach,
            directory=self._plan.work,
        )
        try:
            child = await self._supervisor.complete(program, seconds=SAMPLE_SECONDS)
        except EmbeddedError as error:
            self._log.say(f"The sample report could not be imported: {error}")
            return
        if child.exit_code:
            self._log.say(f"The sample report could not be imported ({describe(child.exit_code)}).")
        else:
            marker.touch()

    def _show(self, access: LocalAccess) -> None:
        plan = self._plan
        places = {
            "postgres": f"{plan.database.host}:{plan.database.port}",
            "redis": overview.address(plan.celery.broker_url),
            "api": plan.api_url,
            "flower": plan.flower_url,
            **self._places,
        }
        names = [*dict.fromkeys(("postgres", "redis", *self._children))]
        parts = []
        for name in names:
            child = self._children.get(name)
            place = places.get(name, "")
            parts.append(
                overview.Part(name=name, place=place if child else f"{place} (given)", pid=child.pid if child else None)
            )
        entries = {
            "API": plan.api_url,
            "Flower": plan.flower_url,
            "Flower login": plan.values.get("FLOWER_BASIC_AUTH", "(given)").replace(":", " / ", 1),
            "Login": f"{ADMIN_EMAIL} / {plan.admin_password}",
            "Project": access.project,
            "Token": access.token,
        }
        if plan.cluster:
            entries["Database"] = overview.psql_command(plan.cluster.binaries, plan.database)
        if plan.store:
            entries["Redis"] = overview.redis_command(ports.LOOPBACK, plan.store.port, plan.store.password)
        entries["Data"] = f"{plan.directory} (logs in {plan.directory / 'logs'})"
        entries["Stop"] = "Ctrl-C"
        self._log.show(overview.table(parts))
        for line in overview.lines(entries):
            self._log.show(line)


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", module)
