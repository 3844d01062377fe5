"""The report as one self-contained HTML page, and as Markdown beside it."""

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from configs.files import write_text
from report.content import Listing, Page, Paragraph, Plot, Table
from report.markdown import render_markdown
from report.plots import DARK
from report.sections import build_page

TEMPLATES = Path(__file__).parent / "templates"
KINDS = {Paragraph: "paragraph", Table: "table", Plot: "plot", Listing: "listing"}


def write_report(run_dir: Path) -> Path:
    """Write `report.html` and `report.md` into `run_dir` from the records in it; return the page's path.

    The page needs no network and no other file. The same records give the same bytes. Raises BadInputError where
    `run_dir` is no run directory, holds no result, or holds a file that cannot be understood, and
    WorkFailedError where it cannot be written.
    """
    page = build_page(run_dir)
    target = run_dir / "report.html"
    write_text(target, render_html(page))
    write_text(run_dir / "report.md", render_markdown(page))
    return target


def render_html(page: Page) -> str:
    """The page as HTML. What comes from a record is escaped; plotly's script and the figures come in as they are."""
    plots = [block for section in page.sections for block in section.blocks if isinstance(block, Plot)]
    return _environment().get_template("report.html.j2").render(
        page=page,
        plotly_js=Markup(get_plotlyjs()) if plots else None,
        dark=script_json(json.dumps(DARK)),
        figure_json=lambda plot: script_json(plot.figure.to_json()),
    )  # fmt: skip


def script_json(text: str) -> Markup:
    """JSON that may stand inside a script element: no text in it can close the element or open a comment."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.tests["kind"] = lambda block, kind: KINDS[type(block)] == kind
    return environment
