"""Blocks of a report drawn on a terminal: they read well at 80 columns, without colour, and in ASCII if need be."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from report.bars import ASCII, UNICODE, bar, scale
from report.content import Cell, Column, Paragraph, Table, Tone

STYLES: dict[Tone, str] = {"plain": "", "good": "green", "bad": "red", "unsure": "yellow", "muted": "dim"}
# For headings that are too long where it is narrow.
SHORT_HEADS = {
    "original %": "orig.%",
    "replica %": "repl.%",
    "difference pp": "diff.",
    "seed sd pp": "seed sd",
    "literal": "lit.",
    "if independent %": "indep. %",
}
LEAST_NAME: Final = 16  # a longer name may be folded, rather than something else left out
LEAST_COLUMN: Final = 6  # of names, where numbers need the room
LEAST_BAR, GOOD_BAR, MOST_BAR = 11, 21, 33
ASCII_SPELLING: Final = str.maketrans(
    {"−": "-", "–": "-", "…": "...", "±": "+/-", "≤": "<=", "≥": ">=", "×": "x", "“": '"', "”": '"', "→": "->"}
)  # fmt: skip


def draw(*blocks: Table | Paragraph) -> RenderableType:
    """Tables and paragraphs one under the other, fitted to the terminal when they are printed."""
    return _Drawn(blocks)


@dataclass(frozen=True)
class _Drawn:
    blocks: tuple[Table | Paragraph, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        pen = _Pen(options.ascii_only)
        for block in self.blocks:
            if isinstance(block, Table):
                table, bar_width = fitted(block, options.max_width)
                # Better on two lines than cut short, which would be another number.
                yield pen.table(table, bar_width, folded=_room(table, options.max_width, LEAST_COLUMN) < 0)
            else:
                yield pen.text(block.text, f"{'bold ' if block.strong else ''}{STYLES[block.tone]}")


@dataclass(frozen=True)
class _Pen:
    ascii_only: bool

    def text(self, text: str, style: str = "") -> Text:
        """Text, never a string: rich would read [brackets] in a name as markup."""
        if self.ascii_only:
            text = text.translate(ASCII_SPELLING).encode("ascii", "replace").decode()
        return Text(text, style=style.strip())

    def table(self, table: Table, bar_width: int, folded: bool) -> RenderableType:
        """A table under its caption. Numbers and statuses keep to one line unless `folded`; nothing is cut."""
        drawn = RichTable(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
        for at, column in enumerate(table.columns):
            drawn.add_column(
                self.text(column.head if column.scale is None else scale(column.scale, bar_width)),
                justify="right" if column.numeric else "left",
                no_wrap=_stays_whole(column) and not folded,
                overflow="fold",
                min_width=None if at else 6,
            )
        for cells in table.rows:
            pairs = zip(cells, table.columns, strict=True)
            drawn.add_row(*(self._cell(cell, column, bar_width) for cell, column in pairs))
        return Group(self.text(table.caption, "italic"), Padding(drawn, (0, 0, 1, 0)))

    def _cell(self, cell: Cell, column: Column, bar_width: int) -> Text:
        if cell.bar is None or column.scale is None:
            return self.text(cell.text, STYLES[cell.tone])
        drawn = bar(cell.bar, column.scale, bar_width, ASCII if self.ascii_only else UNICODE)
        return Text(drawn, style=STYLES[cell.tone])


def fitted(table: Table, width: int) -> tuple[Table, int]:
    """The table with as much left out as it must be to fit, and the width of its bars.

    Headings in full go first, for a bar that can be read well and names that need not fold.
    """
    barred = any(column.scale is not None for column in table.columns)
    found = table
    if _room(table, width) < barred * (GOOD_BAR - LEAST_BAR):
        narrower = list(_ever_narrower(table))
        found = next((each for each in narrower if _room(each, width, LEAST_NAME) >= 0), narrower[-1])
    bar_width = min(max(LEAST_BAR + _room(found, width), LEAST_BAR), MOST_BAR)
    return found, bar_width - (bar_width + 1) % 2


def _ever_narrower(table: Table) -> Iterator[Table]:
    """The table with shorter headings, then without what is spare (which its caption says), then without bars."""
    narrower = _with_short_heads(table)
    yield narrower
    for most in sorted({column.spare for column in table.columns} - {0}):
        left_out = [column.head for column in table.columns if 0 < column.spare <= most]
        caption = f"{table.caption} Left out to fit: {', '.join(left_out)}."
        narrower = _with_short_heads(replace(table.without_spare(most), caption=caption))
        yield narrower
    yield narrower.without_bars()


def _with_short_heads(table: Table) -> Table:
    columns = (replace(column, head=SHORT_HEADS.get(column.head, column.head)) for column in table.columns)
    return replace(table, columns=tuple(columns))


def _room(table: Table, width: int, longest_name: int | None = None) -> int:
    """How many characters are left beside the table, its bars as short as they may be; names count so much at most."""
    taken = len(table.columns) - 1
    for at, column in enumerate(table.columns):
        if column.scale is not None:
            taken += LEAST_BAR
            continue
        natural = max([cell_len(column.head), *(cell_len(cells[at].text) for cells in table.rows)])
        taken += natural if longest_name is None or _stays_whole(column) else min(natural, longest_name)
    return width - taken


def _stays_whole(column: Column) -> bool:
    return column.numeric or column.whole or column.scale is not None
