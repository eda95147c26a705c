"""Calls every method of ibutsu-client, as a script of a user would, and prints a sentence for each that does not work.

Run by the interpreter of the environment that has the client: `python every_client_method.py URL EMAIL PASSWORD`, with
a superadmin's. A method that is called nowhere here is a problem too.
"""

from __future__ import annotations

import inspect
import sys
import time
import traceback
import typing
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import ibutsu_client.api
from ibutsu_client import ApiClient, ApiException, Configuration, models

REPORT = (
    b'<testsuite name="s"><testcase classname="a.b" name="one"/>'
    b'<testcase classname="a.b" name="two"><failure>no</failure></testcase></testsuite>'
)
PICTURE = b"\x89PNG\r\n\x1a\n\x00\xff"
WAIT_SECONDS = 60


class Client:
    """The client's methods by their names; each answer is checked to be of the type that the method promises."""

    def __init__(self, url: str) -> None:
        self.configuration = Configuration(host=f"{url}/api")
        client = ApiClient(self.configuration)
        self.apis = {name: api(client) for name, api in inspect.getmembers(ibutsu_client.api, inspect.isclass)}
        self.called: set[tuple[str, str]] = set()
        # What the others need.
        self.project: Any = None
        self.run: Any = None
        self.result: Any = None

    def methods(self) -> Iterator[tuple[str, str]]:
        """Yield the class and the name of every method that asks the server; each has two more forms."""
        for name, api in self.apis.items():
            for method, _ in inspect.getmembers(api, inspect.ismethod):
                if hasattr(api, f"{method}_with_http_info"):
                    yield name, method

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """Return a function that calls the method and returns its answer."""
        (name,) = (name for name, api in self.apis.items() if hasattr(api, f"{method}_with_http_info"))
        api = self.apis[name]
        promised = inspect.signature(getattr(api, method)).return_annotation

        def call(**arguments: Any) -> Any:
            self.called.add((name, method))
            answer = getattr(api, f"{method}_with_http_info")(**arguments)
            if promised not in (None, type(None)):
                # It promises bytearray, and answers with bytes.
                kind = bytes if promised is bytearray else typing.get_origin(promised) or promised
                assert isinstance(answer.data, kind), f"{method} answered {answer.status_code} with {answer.data!r}"
            return answer.data

        return call

    def refused(self, method: str, status: int, **arguments: Any) -> None:
        """Check that the server refuses what it does not have, in a way that the client understands."""
        try:
            answer = getattr(self, method)(**arguments)
        except ApiException as error:
            assert error.status == status, f"{method} was refused with {error.status} {error.body}"
        else:
            raise AssertionError(f"{method} was to be refused with {status}, and answered {answer!r}")


def logging_in(client: Client, email: str, password: str) -> None:
    assert client.support().user is True
    token = client.login(credentials=models.Credentials(email=email, password=password))
    client.configuration.access_token = token.token
    client.refused("login", 401, credentials=models.Credentials(email=email, password="wrong"))
    # There is no OAuth provider, and no mail is sent.
    client.refused("config", 404, provider="github")
    client.refused("auth", 404, provider="github")
    client.refused("activate", 404, activation_code="x")
    client.refused("register", 403, account_registration=models.AccountRegistration(email="a@b.example", password="x"))
    client.refused("recover", 403, account_recovery=models.AccountRecovery(email="a@b.example"))
    client.refused("reset_password", 400, account_reset=models.AccountReset(activation_code="x", password="y"))


def health(client: Client) -> None:
    assert client.get_health().status == "OK"
    assert client.get_database_health().status == "OK"
    info = client.get_health_info()
    assert info.frontend and info.backend and info.api_ui


def groups_and_projects(client: Client) -> None:
    group = client.add_group(group=models.Group(name=_name()))
    assert client.get_group(id=group.id) == group
    assert client.update_group(id=group.id, group=models.Group(name="renamed")).name == "renamed"
    assert group.id in [one.id for one in client.get_group_list(page=1, page_size=500).groups]

    project = client.add_project(project=models.Project(name=_name(), title="First", group_id=group.id))
    client.project = project
    assert client.get_project(id=str(project.id)) == project
    assert client.update_project(id=project.id, project=models.Project(title="Second")).title == "Second"
    for chosen in ({"filter": [f"name={project.name}"]}, {"owner_id": str(project.owner_id), "page_size": 500},
                   {"group_id": str(group.id)}):  # fmt: skip
        assert project.id in [one.id for one in client.get_project_list(**chosen).projects], chosen
    assert client.get_filter_params(id=str(project.id)) == []


def runs_and_results(client: Client) -> None:
    data = {"project": client.project.name, "jenkins": {"build_number": 7}, "nothing": None}
    run = client.add_run(run=models.Run(id=uuid.uuid4(), source="script", metadata=data))
    client.run = run
    assert run.metadata == data
    assert client.get_run(id=run.id) == run
    update = models.Run(component="core", metadata={"jenkins": {"job_name": "j"}})
    changed = client.update_run(id=run.id, run=update)
    assert (changed.component, changed.source) == ("core", "script")
    assert changed.metadata["jenkins"] == {"build_number": 7, "job_name": "j"}
    mine = [f"project_id={client.project.id}", "metadata.jenkins.build_number=7"]
    assert client.get_run_list(filter=mine, estimate=True, page=1, page_size=10).runs == [changed]
    updated = client.bulk_update(filter=mine, page_size=5, update_run=models.UpdateRun(metadata={"seen": True}))
    assert [one.metadata["seen"] for one in updated.runs] == [True]

    given = models.Result(
        id=uuid.uuid4(), run_id=run.id, test_id="test_a[1.5]", result="failed", duration=1.5, params={"n": "1"},
        start_time="2026-02-03T04:05:06.789012+02:00", metadata={"project": str(client.project.id), "tags": ["x"]},
    )  # fmt: skip
    result = client.add_result(result=given)
    client.result = result
    assert client.get_result(id=result.id) == result
    assert client.get_result_list(filter=[f"run_id={run.id}", "result=failed"], page_size=10).results == [result]
    update = models.Result(result="passed", metadata={"classification": "flaky"})
    changed = client.update_result(id=result.id, result=update)
    assert (changed.result, changed.metadata) == ("passed", result.metadata | {"classification": "flaky"})
    assert client.get_run(id=run.id).summary["passes"] == 1
    assert "metadata.tags" in client.get_filter_params(id=str(client.project.id))


def large_pages(client: Client) -> None:
    """A page of more than 500 is made by a task, and its answer has the same content."""
    mine = [f"project_id={client.project.id}"]
    for method, kind in (("get_run_list", "runs"), ("get_result_list", "results")):
        asked = getattr(client.apis["RunApi" if kind == "runs" else "ResultApi"], method)(filter=mine, page_size=501)
        made = _until(lambda asked=asked: client.get_task(id=asked["task_id"]), lambda task: task["state"] == "SUCCESS")
        direct = getattr(client, method)(filter=mine)
        model = models.Run if kind == "runs" else models.Result
        assert [model.from_dict(one) for one in made[kind]] == getattr(direct, kind)


def artifacts(client: Client) -> None:
    name = 'a "screen" shot; ü.png'
    mine = client.upload_artifact(
        filename=name, file=PICTURE, result_id=client.result.id, additional_metadata={"of": "it"}
    )
    of_run = client.upload_artifact(filename="run.log", file=b"text", run_id=client.run.id)
    assert (mine.filename, mine.additional_metadata, mine.run_id) == (name, {"of": "it"}, None)
    assert client.get_artifact(id=mine.id) == mine
    assert client.get_artifact_list(result_id=client.result.id).artifacts == [mine]
    assert client.get_artifact_list(run_id=client.run.id, page=1, page_size=5).artifacts == [of_run]
    assert client.download_artifact(id=mine.id) == client.view_artifact(id=mine.id) == PICTURE
    client.delete_artifact(id=mine.id)
    client.refused("get_artifact", 404, id=mine.id)


def imports(client: Client) -> None:
    row = client.add_import(
        import_file=("report.xml", REPORT), project=client.project.name, source="ci", metadata={"branch": "main"}
    )
    row = _until(lambda: client.get_import(id=row.id), lambda row: row.status not in ("pending", "running"))
    assert (row.status, row.format, row.filename) == ("done", "junit", "report.xml")
    run = client.get_run(id=row.run_id)
    assert (run.summary["tests"], run.summary["failures"], run.source) == (2, 1, "ci")
    assert run.metadata["branch"] == "main"


def users_and_tokens(client: Client) -> None:
    me = client.get_current_user()
    assert me.is_superadmin is True
    # The client has no way to give this request its body.
    client.refused("update_current_user", 400)
    for expires in (None, "2030-01-02T03:04:05+00:00"):
        token = client.add_token(create_token=models.CreateToken(name="mine", expires=expires))
        assert client.get_token(id=str(token.id)) == token
        assert token.id in [one.id for one in client.get_token_list(page=1, page_size=500).tokens]
        client.delete_token(id=str(token.id))
        client.refused("get_token", 404, id=str(token.id))


def administration(client: Client) -> None:
    user = client.admin_add_user(user=models.User(email=f"{_name()}@example.com", name="Zoë", is_active=True))
    assert user.is_superadmin is False
    assert client.admin_get_user(id=str(user.id)) == user
    changed = client.admin_update_user(id=str(user.id), user=models.User(email=user.email, name="New"))
    assert (changed.name, changed.is_active) == ("New", True)
    found = client.admin_get_user_list(filter=[f"email={user.email}"], page=1, page_size=5).users
    assert [one.id for one in found] == [user.id]
    client.admin_delete_user(id=str(user.id))
    client.refused("admin_get_user", 404, id=str(user.id))

    project = client.admin_add_project(project=models.Project(name=_name(), title="First"))
    assert client.admin_get_project(id=str(project.id)) == project
    changed = client.admin_update_project(id=str(project.id), project=models.Project(title="Second"))
    assert (changed.name, changed.title) == (project.name, "Second")
    found = client.admin_get_project_list(filter=[f"name={project.name}"], page=1, page_size=5).projects
    assert found == [changed]
    client.admin_delete_project(id=str(project.id))
    client.refused("admin_get_project", 404, id=str(project.id))


def dashboards_and_widgets(client: Client) -> None:
    dashboard = client.add_dashboard(dashboard=models.Dashboard(title="d", project_id=client.project.id, filters="x=1"))
    assert client.get_dashboard(id=dashboard.id) == dashboard
    changed = client.update_dashboard(id=dashboard.id, dashboard=models.Dashboard(description="text"))
    assert (changed.title, changed.description) == ("d", "text")
    mine = client.get_dashboard_list(project_id=str(client.project.id), user_id=str(dashboard.user_id or ""))
    assert mine.dashboards == [changed]
    client.delete_dashboard(id=dashboard.id)
    client.refused("get_dashboard", 404, id=dashboard.id)

    types = client.get_widget_types(type="widget").types
    assert {one.type for one in types} == {"widget"}
    assert len(client.get_widget_types().types) > len(types)
    given = models.WidgetConfig(
        type="widget",
        widget="result-summary",
        title="w",
        weight=3,
        project_id=client.project.id,
        params={"source": "ci"},
    )
    config = client.add_widget_config(widget_config=given)
    assert client.get_widget_config(id=config.id) == config
    changed = client.update_widget_config(id=config.id, widget_config=models.WidgetConfig(weight=4))
    assert (changed.weight, changed.title) == (4, "w")
    listed = client.get_widget_config_list(filter=[f"project_id={client.project.id}"], page=1, page_size=5)
    assert listed.widgets == [changed]
    # The client takes nothing but a UUID here, so it asks by the configuration.
    project = {"project": str(client.project.id)}
    shown = client.get_widget(id=config.id, params=project)
    every = client.get_widget(id=config.id, params=project | {"source": None})
    assert (shown["passed"], shown["failed"]) == (1, 1)
    assert (every["passed"], every["failed"]) == (2, 1)
    client.delete_widget_config(id=config.id)
    client.refused("get_widget_config", 404, id=config.id)


PARTS: tuple[Callable[[Client], None], ...] = (
    health, groups_and_projects, runs_and_results, large_pages, artifacts, imports, users_and_tokens, administration,
    dashboards_and_widgets,
)  # fmt: skip


def main(url: str, email: str, password: str) -> int:
    client = Client(url)
    logging_in(client, email, password)
    problems = 0
    for part in PARTS:
        try:
            part(client)
        except Exception:  # noqa: BLE001 - each part is to be tried, whatever becomes of another
            problems += 1
            print(f"{part.__name__}: {traceback.format_exc()}")
    for name, method in set(client.methods()) - client.called:
        problems += 1
        print(f"{name}.{method} of this ibutsu-client is called nowhere in {__file__}; call it there.")
    print(f"{len(client.called)} methods called, {problems} problems")
    return 1 if problems else 0


def _name() -> str:
    return f"made-by-client-{uuid.uuid4().hex}"


def _until(ask: Callable[[], Any], is_right: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_right(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
    return answer


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
