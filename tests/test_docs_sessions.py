"""docs/sessions.md tells of every column and every setting, and its examples are Python."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from napari_nst.cli.main import build_parser
from napari_nst.session.run import COLUMNS, SessionProgress, SessionResult
from napari_nst.settings.session import SessionSettings

PAGE = Path(__file__).parents[1] / "docs" / "sessions.md"

if not PAGE.is_file():
    pytest.skip("docs/ is not here: these tests run in a checkout", allow_module_level=True)

TEXT = PAGE.read_text(encoding="utf-8")
CODE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [code for language, code in CODE.findall(TEXT) if language == "python"]


def section(title):
    """The text below a heading, up to the next one of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", TEXT, re.MULTILINE)
    assert found, title
    rest = CODE.sub("", TEXT[found.end() :])  # a comment in a script looks like a heading
    return re.split(rf"^#{{1,{len(found[1])}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def named_first(title):
    """The names in the first column of the table of a section."""
    rows = re.findall(r"^\|([^|]*)\|", section(title), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_every_column_is_explained_once():
    assert sorted(named_first("session.csv")) == sorted(COLUMNS)


def test_every_setting_is_listed_once_with_its_default():
    assert sorted(named_first("All settings")) == sorted(spec.name for spec in SessionSettings.specs())
    for row in re.findall(r"^\| `.*", section("All settings"), re.MULTILINE):
        names, default, _ = (cell.strip() for cell in row.strip("|").split("|", 2))
        settings = [SessionSettings.spec(name) for name in re.findall(r"`([^`]+)`", names)]
        for spec, told in zip(settings, default.split(", "), strict=True):
            if spec.default is True:
                assert told == "on", spec.name
            elif spec.default != "":  # an empty text is told by what it means
                assert told == str(spec.default), spec.name


@pytest.mark.parametrize("kind", [SessionResult, SessionProgress])
def test_every_field_of_what_is_given_back_is_named(kind):
    for field in dataclasses.fields(kind):
        assert f"`{field.name}`" in section("In Python"), field.name


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_are_python_and_import_what_there_is(code):
    tree = ast.parse(code)
    compile(tree, str(PAGE), "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_nst"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), alias.name


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


def test_every_option_in_the_text_exists():
    commands = next(action for action in build_parser()._actions if action.dest == "command")
    options = {
        flag for command in commands.choices.values() for action in command._actions for flag in action.option_strings
    }
    dask = {"--port", "--nthreads", "--nworkers", "--memory-limit", "--name", "--lifetime", "--lifetime-stagger"}
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT))
    assert told <= options | dask, told - options - dask


def test_links_within_the_page_lead_somewhere():
    headings = re.findall(r"^#+ (.*)", CODE.sub("", TEXT), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors
    for image in re.findall(r"\]\((images/[^)]*)\)", TEXT):
        assert (PAGE.parent / image).is_file(), image
