"""What the documentation says of the settings is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from ibutsu_core.settings import VARIABLES, Variable
from ibutsu_server.ops.measures import MEASURES, Measure

ROOT = Path(__file__).parent.parent


def row(variable: Variable) -> str:
    """Return the variable's row in the table of docs/configuration.md."""
    secret = " (secret)" if variable.secret else ""
    applications = "all" if len(variable.applications) == 4 else ", ".join(sorted(variable.applications))
    default = variable.default or ("none" if variable.optional else "**required**")
    return f"| `{variable.name}`{secret} | {applications} | {default} | {variable.meaning} |"


def test_the_table_of_variables_is_that_of_the_settings() -> None:
    lines = (ROOT / "docs/configuration.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| `")]
    assert table == [row(variable) for variable in VARIABLES]


def row_of(measure: Measure) -> str:
    """Return the metric's row in the table of docs/metrics.md."""
    labels = ", ".join(f"`{label}`" for label in measure.labels) or "-"
    return f"| `{measure.name}` | {measure.kind} | {labels} | {', '.join(measure.applications)} | {measure.meaning} |"


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    lines = (ROOT / "docs/metrics.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| `")] == [row_of(measure) for measure in MEASURES]


def test_each_sample_of_a_report_has_its_writer_in_the_table() -> None:
    lines = (ROOT / "docs/report-formats.md").read_text().splitlines()
    table = lines[lines.index("| writer | how its reports are read | samples |") + 2 :]
    samples = [sample for line in table for sample in re.findall("`([^`]+)`", line.split("|")[-2])]
    dialects = ROOT / "tests/server/reports/dialects"
    assert sorted(samples) == sorted(path.stem for path in dialects.iterdir())
    writers = [line.split("|")[1].strip().lower() for line in table]
    assert writers == sorted(writers)


def test_the_readme_names_what_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in (
        "docs/configuration.md",
        "docs/report-formats.md",
        "CHANGELOG.md",
        "LICENSE",
        "python/ibutsu_core",
        "requirements",
    ):
        assert path in readme
        assert (ROOT / path).exists()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("up", "test"):
        assert f"make {target}" in readme
        assert f"\n{target}:" in makefile
