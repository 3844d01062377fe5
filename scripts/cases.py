"""The commands `cases`, `cases show` and `cases add`: the case studies, and the user's own runs beside them."""

import datetime
import difflib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.errors import BadInputError
from scripts.commands import reporting_errors

if TYPE_CHECKING:
    from configs.cases import Case, Mechanism
    from extrapolate.case_study import CaseStudy

cases_app = typer.Typer(
    invoke_without_command=True,
    help="The case studies of the diffusion of GPT-3-like models, and your own runs beside them.\n\n"
    "Example: replibench cases --gpt3-like --mechanism incremental-research --since 2021-08-01",
)


class CasesFormat(StrEnum):
    """What stdout gets."""

    table = "table"
    csv = "csv"
    json = "json"


File = Annotated[Path, typer.Option("--file", help="your own cases, beside those of the study")]
OutputFormat = Annotated[CasesFormat, typer.Option("--format", help="table for people, csv and json for machines")]
OWN = Path("cases.yaml")


@cases_app.callback()
def listing(
    context: typer.Context,
    gpt3_like: Annotated[bool, typer.Option("--gpt3-like", help="only those that pass the GPT-3-like test")] = False,
    mechanism: Annotated[
        str | None, typer.Option("--mechanism", help="how the developer came by it, or others by its weights")
    ] = None,
    developer: Annotated[str | None, typer.Option("--developer", help="a part of the developer's name")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="YYYY-MM-DD", help="published then or later")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="YYYY-MM-DD", help="published then or before")] = None,
    file: File = OWN,
    fmt: OutputFormat = CasesFormat.table,
) -> None:
    """List the cases that pass every filter; `show` prints one whole, `add` appends a run of yours."""
    if context.invoked_subcommand is not None:
        if any((gpt3_like, mechanism, developer, since, until, file != OWN, fmt is not CasesFormat.table)):
            raise typer.BadParameter(f"put the flags after {context.invoked_subcommand}; filters are for the list")
        return
    with reporting_errors():
        _print(select(file, gpt3_like, mechanism, developer, since, until), fmt)


@cases_app.command()
def show(
    name: Annotated[str, typer.Argument(help="a case, such as opt-175b")],
    file: File = OWN,
    fmt: OutputFormat = CasesFormat.table,
) -> None:
    """Print one case whole: every cell with its source, the GPT-3-like test, ours beside what was published.

    Example: replibench cases show opt-175b
    """
    with reporting_errors():
        study = find(name, file)
        if fmt is not CasesFormat.table:
            _print([study], fmt)
            return
        from report.cases_table import whole
        from report.drawing import draw
        from scripts.console import Screen

        Screen().show(draw(*whole(study)))


@cases_app.command()
def add(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the directory of a finished run, such as runs/smoke")],
    name: Annotated[str | None, typer.Option("--name", help="of the case [default: the directory's]")] = None,
    developer: Annotated[str | None, typer.Option("--developer", help="who trained it")] = None,
    file: File = OWN,
) -> None:
    """Append a finished run of yours to your own file of cases, which `replibench cases` lists beside the study's.

    Example: replibench cases add runs/smoke --developer "our group"
    """
    with reporting_errors():
        from configs.cases import add_case
        from scripts.case_of_run import case_of_run

        case = case_of_run(run, developer)
        chosen = name if name is not None else run.resolve().name
        if not chosen.strip():
            raise BadInputError("--name: is empty; give the case a name")
        add_case(file, chosen, case)
        typer.echo(f"{chosen}: added to {file}", err=True)


def select(
    file: Path,
    gpt3_like: bool = False,
    mechanism: str | None = None,
    developer: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> "list[CaseStudy]":
    """The cases of the study and of `file` that pass every filter. Raises BadInputError naming the flag."""
    from extrapolate.case_study import study

    word = None if mechanism is None else _mechanism(mechanism)
    earliest, latest = _date("--since", since), _date("--until", until)
    if earliest and latest and earliest > latest:
        raise BadInputError(f"--until: {latest} is before --since {earliest}")
    found = [
        study(name, case)
        for name, case in _all(file).items()
        if (word is None or word in _mechanisms(case))
        and (developer is None or _developed_by(case, developer))
        and ((earliest is None and latest is None) or _dated(case, earliest, latest))
    ]
    return [each for each in found if each.gpt3_like.verdict == "pass"] if gpt3_like else found


def find(name: str, file: Path) -> "CaseStudy":
    """The case of that name. Raises BadInputError with the nearest names for one that is not there."""
    from extrapolate.case_study import study

    known = _all(file)
    if name not in known:
        begun = [each for each in known if name and each.startswith(name.lower())]
        near = begun or difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else f" (choices: {', '.join(known)})"
        raise BadInputError(f"unknown case {name!r}{hint}")
    return study(name, known[name])


def _all(file: Path) -> "dict[str, Case]":
    from configs.cases import case_studies, users_cases

    if file != OWN and not file.exists():
        raise BadInputError(f"--file {file}: no such file; `replibench cases add` makes it")
    studied, own = case_studies(), users_cases(file)
    twice = next((name for name in own if name in studied), None)
    if twice is not None:
        raise BadInputError(f"{file}: {twice} is the name of a case study; give yours another")
    return {**studied, **own}


def _mechanism(text: str) -> "Mechanism":
    from configs.cases import MECHANISMS

    word = text.strip().lower().replace("-", " ").replace("_", " ")
    if word not in MECHANISMS:
        choices = ", ".join(each.replace(" ", "-") for each in MECHANISMS)
        raise BadInputError(f"--mechanism: {text!r} is none; choices: {choices}")
    return word


def _mechanisms(case: "Case") -> "set[Mechanism]":
    return {fact.value for fact in (case.release.mechanism, case.release.onward) if fact is not None}


def _developed_by(case: "Case", developer: str) -> bool:
    who = case.project.developer
    return who is not None and developer.lower() in f"{who.value} {who.note or ''}".lower()


def _dated(case: "Case", earliest: datetime.date | None, latest: datetime.date | None) -> bool:
    when = case.date_fact()
    return when is not None and (earliest or datetime.date.min) <= when.value <= (latest or datetime.date.max)


def _date(flag: str, text: str | None) -> datetime.date | None:
    try:
        return None if text is None else datetime.date.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{flag}: {text!r} is not a date; give one such as 2021-12-31") from None


def _print(studies: "list[CaseStudy]", fmt: CasesFormat) -> None:
    if fmt is CasesFormat.json:
        from extrapolate.case_study import CaseList

        typer.echo(CaseList(cases=tuple(studies)).model_dump_json(indent=2, by_alias=True))
    elif fmt is CasesFormat.csv:
        from report.cases_csv import cases_csv

        typer.echo(cases_csv(studies), nl=False)
    else:
        from report.cases_table import listing as table
        from report.drawing import draw
        from scripts.console import Screen

        Screen().show(draw(table(studies)))
