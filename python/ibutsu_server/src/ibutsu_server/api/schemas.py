"""The objects of the contract: `…In` is what a client sends, the others are what it gets."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema

Outcome = Literal["passed", "failed", "error", "skipped", "xpassed", "xfailed", "manual", "blocked"]
Status = Literal["pending", "running", "done", "error"]


def _text(value: object) -> object:
    if not isinstance(value, str | dt.datetime):
        raise ValueError("Input should be a time in ISO 8601, as a string")  # noqa: TRY004 - pydantic's form
    return value


def _utc(value: dt.datetime) -> dt.datetime:
    try:
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("Input should be a time in the years 1 to 9999") from error


Instant = Annotated[dt.datetime, BeforeValidator(_text), AfterValidator(_utc)]
Text = Annotated[str, Strict()]
Name = Annotated[str, Strict(), StringConstraints(min_length=1, max_length=255)]
Email = Annotated[str, Strict(), StringConstraints(max_length=255, pattern=r"^[^@\s]+@[^@\s]+$")]
Password = Annotated[str, Strict(), StringConstraints(min_length=1, max_length=1024)]
Flag = Annotated[bool, Strict()]
# The sum of all durations of a run must fit too.
Seconds = Annotated[float, Strict(), Field(ge=-1e12, le=1e12, allow_inf_nan=False)]


# A parameter of an address can be absent, but never null.
Absent = SkipJsonSchema[None]
Whole = Annotated[int, Strict(), Field(ge=-(2**31), le=2**31 - 1)]
Upload = Annotated[object, WithJsonSchema({"type": "string", "format": "binary"})]


class In(BaseModel):
    """What a client sends; unknown keys are ignored, and null counts as absent."""

    model_config = ConfigDict(extra="ignore")

    def given(self, *names: str) -> dict[str, Any]:
        """Return those of the named fields that were sent and are not null."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Out(BaseModel):
    """What a client gets, made from a row."""

    model_config = ConfigDict(from_attributes=True)


class Pagination(Out):
    """Which part of a list an answer holds."""

    page: int
    pageSize: int  # noqa: N815 - the contract's name
    totalItems: int  # noqa: N815
    totalPages: int  # noqa: N815


class Error(Out):
    """What went wrong, as a sentence."""

    detail: str


class Message(Out):
    """What was done, as a sentence."""

    message: str


class PageQuery(In):
    """Which part of a list is asked for."""

    page: int = Field(1, le=2**31 - 1, ge=-(2**31), description="The number of the page, from 1.")
    pageSize: int = Field(25, ge=1, le=2**31 - 1, description="Entries on a page.")  # noqa: N815


class FilterQuery(PageQuery):
    """Which part of a list with filters is asked for."""

    filter: list[str] = Field([], description="`<field><operator><value>`; all must hold.")


class ListQuery(FilterQuery):
    """Which part of a list of runs or results is asked for."""

    estimate: bool = Field(False, description="Whether `totalItems` may be approximate.")


class ArtifactQuery(PageQuery):
    """Whose artifacts are asked for."""

    resultId: uuid.UUID | Absent = None  # noqa: N815
    runId: uuid.UUID | Absent = None  # noqa: N815


class ProjectQuery(FilterQuery):
    """Which projects are asked for."""

    ownerId: uuid.UUID | Absent = None  # noqa: N815
    groupId: uuid.UUID | Absent = None  # noqa: N815


class DashboardQuery(FilterQuery):
    """Which dashboards are asked for."""

    project_id: uuid.UUID | Absent = None
    user_id: uuid.UUID | Absent = None


class BulkQuery(In):
    """Which runs are updated: the newest `pageSize` that the filters match."""

    filter: list[str] = Field([], description="`<field><operator><value>`; all must hold.")
    pageSize: int = Field(1, ge=1, le=2**31 - 1, description="Runs at most; more than 25 are refused.")  # noqa: N815


class WidgetTypeQuery(In):
    """Which widget types are asked for."""

    type: str | Absent = None


class WidgetQuery(In):
    """With what a widget is computed."""

    params: str = Field("{}", description="A JSON object with the parameters that the type names.")


class Health(Out):
    """Whether something works."""

    status: Literal["OK", "Error"]
    message: str


class HealthInfo(Out):
    """The addresses that people use."""

    frontend: str
    backend: str
    api_ui: str


class Login(In):
    """The body of `POST /login`."""

    email: Text
    password: Text


class LoginToken(Out):
    """What a login gives."""

    token: str
    name: str | None
    email: str


class LoginRefusal(Out):
    """Why a login is refused."""

    code: str
    message: str


class LoginSupport(Out):
    """How people can log in."""

    user: bool
    keycloak: bool
    google: bool
    github: bool
    facebook: bool
    gitlab: bool


class Registration(In):
    """The body of `POST /login/register`."""

    email: Text
    password: Text


class Recovery(In):
    """The body of `POST /login/recover`."""

    email: Text


class PasswordReset(In):
    """The body of `POST /login/reset-password`."""

    activation_code: Text
    password: Text


class User(Out):
    """A user, without what is secret."""

    id: uuid.UUID
    email: str
    name: str | None
    is_superadmin: bool
    is_active: bool
    group_id: uuid.UUID | None


class UserIn(In):
    """What users may change of themselves."""

    name: Name | None = None
    email: Name | None = None


class AdminUserIn(In):
    """A user as an administrator sends it; all is optional in an update."""

    email: Email | None = None
    password: Password | None = None
    name: Name | None = None
    is_superadmin: Flag | None = None
    is_active: Flag | None = None
    group_id: uuid.UUID | None = None


class Group(Out):
    """A group of projects and users."""

    id: uuid.UUID
    name: str


class GroupIn(In):
    """A group as a client sends it."""

    id: uuid.UUID | None = None
    name: Name | None = None


class Token(Out):
    """An API token, with its bearer text."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    token: str
    expires: Instant


class TokenIn(In):
    """The body of `POST /user/token`."""

    name: Name
    expires: Instant | None = None


class Project(Out):
    """A project."""

    id: uuid.UUID
    name: str
    title: str | None
    owner_id: uuid.UUID | None
    group_id: uuid.UUID | None


class ProjectIn(In):
    """A project as a client sends it; all is optional in an update."""

    id: uuid.UUID | None = None
    name: Name | None = None
    title: Text | None = None
    group_id: uuid.UUID | None = None
    users: list[Email] | None = Field(
        None,
        max_length=1000,
        description="E-mail addresses of new members; one without an account joins when it gets one.",
    )


class AdminProjectIn(ProjectIn):
    """A project as an administrator sends it."""

    owner_id: uuid.UUID | None = None


class Run(Out):
    """A run of tests."""

    id: uuid.UUID
    created: Instant
    start_time: Instant | None
    duration: float | None
    source: str | None
    component: str | None
    env: str | None
    project_id: uuid.UUID | None
    summary: dict[str, Any] | None
    metadata: dict[str, Any] = Field(validation_alias="data")


class RunIn(In):
    """A run as a client sends it."""

    id: uuid.UUID | None = None
    created: Instant | None = None
    start_time: Instant | None = None
    duration: Seconds | None = None
    source: Text | None = None
    component: Text | None = None
    env: Text | None = None
    project_id: uuid.UUID | None = None
    summary: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class BulkUpdate(In):
    """The body of `POST /runs/bulk-update`."""

    metadata: dict[str, Any] | None = None


class Result(Out):
    """One test's result."""

    id: uuid.UUID
    test_id: str | None
    start_time: Instant | None
    duration: float | None
    result: Outcome | None
    component: str | None
    env: str | None
    source: str | None
    run_id: uuid.UUID | None
    project_id: uuid.UUID | None
    metadata: dict[str, Any] = Field(validation_alias="data")
    params: dict[str, Any] | None


class ResultIn(In):
    """A result as a client sends it."""

    id: uuid.UUID | None = None
    test_id: Text | None = None
    start_time: Instant | None = None
    duration: Seconds | None = None
    result: Outcome | None = None
    component: Text | None = None
    env: Text | None = None
    source: Text | None = None
    run_id: uuid.UUID | None = None
    project_id: uuid.UUID | None = None
    metadata: dict[str, Any] | None = None
    params: dict[str, Any] | None = None


class Artifact(Out):
    """A file of a run or of a result, without its bytes."""

    id: uuid.UUID
    result_id: uuid.UUID | None
    run_id: uuid.UUID | None
    filename: str
    additional_metadata: dict[str, Any]
    upload_date: Instant
    size: int


class ArtifactForm(In):
    """A file of a run or of a result: exactly one of `resultId` and `runId` is given."""

    file: Upload
    filename: str
    resultId: uuid.UUID | Absent = None  # noqa: N815
    runId: uuid.UUID | Absent = None  # noqa: N815
    additionalMetadata: str | Absent = Field(None, description="A JSON object.")  # noqa: N815


class ImportForm(In):
    """An upload. `project` is a name or an id."""

    importFile: Upload  # noqa: N815
    project: str | Absent = None
    metadata: str | Absent = Field(None, description="A JSON object, merged over that of the run and of each result.")
    source: str | Absent = None
    force: str | Absent = Field(None, description="Whether the same bytes are imported once more.")


class Progress(Out):
    """How far a running import is. Sizes are in bytes."""

    bytes_read: int
    bytes_total: int
    results: int


class ImportMetadata(Out):
    """What web clients and scripts read of an import. `message` is a sentence for the user, so is each note."""

    run_id: list[uuid.UUID]
    project_id: uuid.UUID | None
    message: str | None = None
    notes: list[str] = []
    progress: Progress | None = None


class Import(Out):
    """An upload and what became of it; `error` says why it, or its last attempt, failed. `size` is in bytes."""

    id: uuid.UUID
    status: Status
    filename: str
    format: str
    run_id: uuid.UUID | None
    project_id: uuid.UUID | None
    source: str | None
    size: int
    attempts: int
    error: str | None
    created: Instant
    finished: Instant | None
    metadata: ImportMetadata


class Maintenance(Out):
    """A slot of a periodic task, or such a task sent without one, and what it did. `error` says why it failed.

    A slot is `skipped` where its entry was new, and `waiting` where it is to be tried again.
    """

    id: uuid.UUID
    entry: str | None
    task: str
    slot: Instant | None
    status: Literal["skipped", "waiting", "running", "done", "error"]
    sent: Instant | None
    started: Instant | None
    finished: Instant | None
    worker: str | None
    attempts: int
    counts: dict[str, int | float] | None
    bytes: int | None
    error: str | None


class Dashboard(Out):
    """A page of widgets, of a project or, without one, of a user."""

    id: uuid.UUID
    title: str | None
    description: str | None
    filters: str | None
    project_id: uuid.UUID | None
    user_id: uuid.UUID | None


class DashboardIn(In):
    """A dashboard as a client sends it; who makes it is its user."""

    id: uuid.UUID | None = None
    title: Text | None = None
    description: Text | None = None
    filters: Text | None = None
    project_id: uuid.UUID | None = None


class WidgetConfig(Out):
    """A widget with its parameters, of a project or, without one, of a user. The lightest comes first."""

    id: uuid.UUID
    type: str | None
    widget: str | None
    project_id: uuid.UUID | None
    weight: int
    params: dict[str, Any]
    title: str | None


class WidgetConfigIn(In):
    """A widget's configuration as a client sends it; `widget` is the id of a widget type."""

    id: uuid.UUID | None = None
    type: Literal["widget", "view"] | None = None
    widget: Text | None = None
    project_id: uuid.UUID | None = None
    weight: Whole | None = None
    params: dict[str, Any] | None = None
    title: Text | None = None


class WidgetParam(Out):
    """A parameter of a widget type."""

    name: str
    description: str
    type: str


class WidgetType(Out):
    """What a widget can be."""

    id: str
    title: str
    description: str
    type: Literal["widget", "view"]
    params: list[WidgetParam]


class WidgetTypes(Out):
    """The widget types, all on one page."""

    types: list[WidgetType]
    pagination: Pagination


class TaskStarted(Out):
    """That a page is made by a task, and where to ask for it."""

    task_id: uuid.UUID
    message: str
    query_endpoint: str


class TaskState(Out):
    """How far a task is."""

    state: str
    message: str


class TaskFailure(TaskState):
    """That a task failed, and why."""

    error: list[str]


class TaskRuns(TaskState):
    """The page of runs that a task made."""

    runs: list[Run]
    pagination: Pagination


class TaskResults(TaskState):
    """The page of results that a task made."""

    results: list[Result]
    pagination: Pagination


class RunTask(In):
    """The body of `POST /admin/run-task`."""

    token: str | None = None
    task: str | None = None
    params: dict[str, Any] | None = None


class Runs(Out):
    """A page of runs."""

    runs: list[Run]
    pagination: Pagination


class Results(Out):
    """A page of results."""

    results: list[Result]
    pagination: Pagination


class Artifacts(Out):
    """A page of artifacts."""

    artifacts: list[Artifact]
    pagination: Pagination


class Imports(Out):
    """A page of imports."""

    imports: list[Import]
    pagination: Pagination


class MaintenanceList(Out):
    """A page of the ledger of maintenance."""

    maintenance: list[Maintenance]
    pagination: Pagination


class Projects(Out):
    """A page of projects."""

    projects: list[Project]
    pagination: Pagination


class Groups(Out):
    """A page of groups."""

    groups: list[Group]
    pagination: Pagination


class Users(Out):
    """A page of users."""

    users: list[User]
    pagination: Pagination


class Tokens(Out):
    """A page of tokens."""

    tokens: list[Token]
    pagination: Pagination


class Dashboards(Out):
    """A page of dashboards."""

    dashboards: list[Dashboard]
    pagination: Pagination


class WidgetConfigs(Out):
    """A page of widget configurations."""

    widgets: list[WidgetConfig]
    pagination: Pagination
