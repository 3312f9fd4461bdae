"""Tables of PDF files, found by rules and by places."""

import itertools

import pytest

from bascule.plugins.parsers import pdf
from bascule.testing import documents as make

PRICES = [
    ("Part", "Stock", "Price"),
    ("Bolt M4", "120", "0.20"),
    ("Nut, hexagonal", "80", "0.11"),
    ("Washer", "", "0.05"),
]


def cells(rows, xs, top=700, leading=20):
    """The cells' texts, one line each, as a content stream."""
    placed = ((text, xs[c], top - r * leading) for r, row in enumerate(rows) for c, text in enumerate(row) if text)
    return "".join(make.line(text, x=int(x), y=int(y)) for text, x, y in placed)


def grid(xs, ys):
    """Rules along every edge, each its own path."""
    return "".join([f"{x} {ys[0]} m {x} {ys[-1]} l S " for x in xs] + [f"{xs[0]} {y} m {xs[-1]} {y} l S " for y in ys])


def boxes(xs, ys):
    """The same cells as rectangles of a single path."""
    edges = itertools.pairwise(ys)
    parts = [f"{a} {low} {b - a} {high - low} re " for high, low in edges for a, b in itertools.pairwise(xs)]
    return "".join(parts) + "S "


def parsed(*pages):
    return pdf.parser.parse(make.pdf(list(pages)), "x")


def tables(*pages):
    return [block for block in parsed(*pages).blocks if block.rows]


@pytest.mark.parametrize("draw", [grid, boxes])
def test_a_ruled_table_keeps_its_header_and_its_cells(draw):
    xs, ys = (68, 190, 260, 330), (715, 695, 675, 655, 635)
    page = (
        make.line("Our prices.", y=740)
        + " "
        + draw(xs, ys)
        + cells(PRICES, [72, 195, 265])
        + make.line("Ex works.", y=600)
    )
    blocks = parsed(page).blocks
    assert [block.kind for block in blocks] == ["paragraph", "table", "paragraph"]
    assert blocks[1].rows == tuple(PRICES)
    assert blocks[1].page == 1
    assert blocks[2].text == "Ex works."


def test_a_cell_of_several_lines_is_one_cell_where_rules_say_so():
    rows = [("Plan", "Holds"), ("Gold", "Support by phone"), ("", "and by e-mail"), ("Free", "Nothing")]
    page = grid((68, 150, 330), (715, 695, 655, 635)) + cells(rows, [72, 155])
    assert tables(page)[0].rows == (("Plan", "Holds"), ("Gold", "Support by phone and by e-mail"), ("Free", "Nothing"))


def test_a_header_over_two_columns_is_told_once():
    rows = [("Sales", "", "Year"), ("10", "20", "2023"), ("11", "25", "2024")]
    ys = (715, 695, 675, 655)
    rules = "68 655 m 68 715 l S 130 655 m 130 695 l S 190 655 m 190 715 l S 260 655 m 260 715 l S "
    rules += "".join(f"68 {y} m 260 {y} l S " for y in ys)
    assert tables(rules + cells(rows, [110, 140, 200]))[0].rows == tuple(rows)


def test_columns_with_space_between_them_are_a_table():
    page = make.line("Our prices.", y=740) + cells(PRICES, [72, 200, 280]) + make.line("Ex works.", y=580)
    assert tables(page)[0].rows == tuple(PRICES)
    assert [block.kind for block in parsed(page).blocks] == ["paragraph", "table", "paragraph"]


def test_a_table_that_goes_on_over_the_page_keeps_its_header():
    xs, ys = (68, 190, 260, 330), (715, 695, 675)
    more = [("Rivet", "9", "0.30"), ("Screw", "7", "0.40")]
    first, second = grid(xs, ys) + cells(PRICES[:2], [72, 195, 265]), grid(xs, ys) + cells(more, [72, 195, 265])
    found = tables(first, second)
    assert [block.page for block in found] == [1, 2]
    assert found[1].rows == (PRICES[0], *more)
    assert found[1].text.startswith("Part | Stock | Price\nRivet | 9")


@pytest.mark.parametrize(
    "rows",
    [
        [("The first column of this page is prose", "and so is all of the second one")] * 5,
        [("1.", "wash your hands"), ("2.", "dry them"), ("3.", "go on"), ("4.", "wash again")],
        [("Name:", "Ann"), ("Street:", "High Street"), ("Town:", "Leeds"), ("Land:", "England")],
    ],
    ids=["columns", "list", "form"],
)
def test_columns_of_prose_lists_and_forms_are_no_tables(rows):
    assert not tables(cells(rows, [72, 330]))


def test_no_word_is_lost_beside_a_frame_that_cuts_through_a_line():
    page = grid((68, 120, 190), (715, 695, 675)) + cells([("a", "b and far beyond the frame"), ("c", "d")], [72, 125])
    text = "\n".join(block.text for block in parsed(page).blocks)
    assert all(
        word in text.replace("|", " ").split() for word in ["a", "b", "and", "far", "beyond", "the", "frame", "c", "d"]
    )


def test_a_page_of_many_thousand_rules_is_a_drawing_and_read_in_time():
    rules = "".join(f"{10 + n % 60} {10 + n // 60} m {10 + n % 60} {700 - n // 60} l S " for n in range(6000))
    assert not tables(rules + cells(PRICES, [72, 85, 100]))


def test_white_text_is_no_cell():
    hidden = make.line("secret", x=195, y=640, before="1 1 1 rg")
    page = grid((68, 190, 260, 330), (715, 695, 675, 655, 635)) + cells(PRICES, [72, 195, 265]) + f" q {hidden} Q"
    result = parsed(page)
    assert "secret" not in str(result.blocks)
    assert result.removed == {"hidden_text": 1}
