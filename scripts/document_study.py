"""Write the table of the study's claims into docs/study.md between its two markers.

python -m scripts.document_study
"""

from pathlib import Path

from configs.files import write_text
from extrapolate.claims import Tables
from extrapolate.study import study
from report.markdown import render_blocks
from report.study_tables import study_table
from scripts.documents import between

PAGE = Path(__file__).resolve().parent.parent / "docs" / "study.md"
BEGIN, END = "<!-- claims: begin (python -m scripts.document_study) -->", "<!-- claims: end -->"


def updated(page: str) -> str:
    """`page` with the table between its markers. Raises BadInputError when the markers are not there, once each."""
    return between(page, PAGE.name, BEGIN, END, render_blocks((study_table(study(Tables())),)).strip())


if __name__ == "__main__":
    write_text(PAGE, updated(PAGE.read_text(encoding="utf-8")))
