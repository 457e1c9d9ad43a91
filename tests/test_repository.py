"""What GitHub and citing readers take from the repository: CI, forms, CITATION.cff, the changelog."""

import re
import tomllib

import pytest
import yaml
from conftest import PROJECT
from test_readme import targets

GITHUB = PROJECT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
PARTS = {"markdown", "input", "textarea", "dropdown", "checkboxes"}


def steps(path) -> list[tuple[str, dict]]:
    """(job, step) of a workflow."""
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [(name, step) for name, job in jobs.items() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_make_targets_that_exist_and_pinned_actions(path):
    for _, step in steps(path):
        assert ("run" in step) != ("uses" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), "GitHub's own, by major version"
        for target, design in re.findall(r"make ([a-z][\w-]*)(?: DESIGN=(\S+))?", step.get("run", "")):
            assert target in targets()
            assert not design or (PROJECT / design).exists()
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())


def test_ci_tests_runs_the_demo_builds_the_site_and_draws_from_the_kept_tables():
    run = [step["run"] for job, step in steps(GITHUB / "workflows" / "ci.yml") if job == "linux" and "run" in step]
    assert [command for command in run if command.startswith("make")] == [
        "make env",
        "make test",
        "make demo",
        "make site",
        "make figures DESIGN=params/study.yaml",
    ]


def test_only_main_is_published():
    jobs = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())["jobs"]
    uploads = [step for step in jobs["linux"]["steps"] if "upload-pages-artifact" in step.get("uses", "")]
    assert len(uploads) == 1
    for published in (jobs["pages"], *uploads):
        assert "github.ref == 'refs/heads/main'" in published["if"]
        assert "github.event_name != 'pull_request'" in published["if"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["pages"]
    assert jobs["pages"]["needs"] == "linux"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_are_as_github_wants_them(path):
    form = yaml.safe_load(path.read_text())
    assert form.keys() >= {"name", "description", "body"}
    assert {part["type"] for part in form["body"]} <= PARTS
    named = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(named) == len(set(named))
    assert all(part["attributes"]["label"] for part in form["body"] if part["type"] != "markdown")


def test_the_citation_is_valid_and_of_this_version():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation.keys() >= {"message", "title", "authors", "abstract"}
    assert (str(citation["version"]), citation["license"]) == (project["version"], project["license"])
    for work in (citation, *citation["references"]):
        assert work["title"]
        assert work["type"] in ("software", "article")
        assert all(author.keys() in ({"name"}, {"family-names"}) for author in work["authors"])
    dois = [work["doi"] for work in citation["references"]]
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", doi) for doi in dois)
    assert dois[0] in (PROJECT / "README.md").read_text(), "the study"
    cells = {doi for doi in re.findall(r"doi\.org/(\S+?)\)", (PROJECT / "data" / "README.md").read_text())}
    assert cells & set(dois) >= {"10.1038/nbt.4042", "10.1038/ncomms14049", "10.1016/j.cels.2016.08.011"}


def test_the_changelog_has_this_version():
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\] – (.+)$", (PROJECT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0][0] == version
    assert re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", headings[0][1])
    released = "date-released" in (PROJECT / "CITATION.cff").read_text()
    assert released == (headings[0][1] != "unreleased")
