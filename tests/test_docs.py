"""The pages say what the code does: keys, commands, messages and links are checked against it."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from configs.errors import BadInputError
from scripts import document_config
from scripts.cases import cases_app
from scripts.cli import app
from scripts.extrapolate import extrapolate_app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CONFIGURATION = document_config.PAGE.read_text(encoding="utf-8")


def test_the_table_of_keys_is_the_schemas() -> None:
    mend = "run `python -m scripts.document_config`"
    assert document_config.updated(CONFIGURATION) == CONFIGURATION, mend


def test_every_key_has_one_description() -> None:
    """In the schema or in the list beside the generator, never in both."""
    keys = dict(document_config.described())
    assert {key for key, described in keys.items() if not described} == document_config.MEANINGS.keys()


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(BadInputError, match="once each"):
        document_config.updated("# no markers\n")


def _examples() -> list[tuple[str, str]]:
    return re.findall(r"^\$ replibench (.+)\n(error: .+)$", CONFIGURATION, flags=re.MULTILINE)


@pytest.mark.parametrize(("command", "message"), _examples())
def test_error_examples_are_real(command: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 2
    assert result.stderr.strip() == message


def test_there_are_error_examples() -> None:
    assert len(_examples()) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_exist(page: Path) -> None:
    groups = {"": app, "extrapolate": extrapolate_app, "cases": cases_app}
    known = {
        f"{group} {command.name or command.callback.__name__}".strip()
        for group, typer_app in groups.items()
        for command in typer_app.registered_commands
        if command.callback
    } | {"cases"}  # the one group that does something by itself
    for words in _commands(page.read_text(encoding="utf-8")):
        in_group = words[0] in groups and len(words) > 1 and words[1].isalpha()
        name = " ".join(words[:2]) if in_group else words[0]
        assert name in known, f"replibench {' '.join(words)}"


def _commands(text: str) -> list[list[str]]:
    """The words after `replibench`, in inline code and at the start of a line of a code block."""
    blocks = text.split("```")[1::2]
    prose = "".join(text.split("```")[::2])
    found = [span.removeprefix("replibench ") for span in re.findall(r"`(replibench [a-z][^`]*)`", prose)]
    for block in blocks:
        found += re.findall(r"^(?:\$ )?(?:\S*/)?replibench ([a-z].*)$", block, flags=re.MULTILINE)
    return [command.split() for command in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = {name for entry in navigation for name in entry.values()}
    assert named == {page.name for page in PAGES if page.parent.name == "docs"}


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{page.name}" for page in document_config.PAGE.parent.glob("*.md"))]
)
def test_no_placeholder_is_left(page: str) -> None:
    assert "@@" not in (document_config.PAGE.parent.parent / page).read_text(encoding="utf-8")
