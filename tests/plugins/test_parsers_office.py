"""Workbooks and presentations: what is shown is read, what is hidden is counted."""

import pytest

from bascule.core.errors import IngestError
from bascule.plugins.parsers import pptx, xlsx
from bascule.rag.detect import detect
from bascule.testing.office import deck, grid, packed, shape, workbook


def text(parsed):
    return "\n".join(block.text for block in parsed.blocks)


def cell(reference, value, kind="n", style=0):
    return f'<c r="{reference}" t="{kind}" s="{style}"><v>{value}</v></c>'


STYLES = (
    '<numFmts><numFmt numFmtId="164" formatCode="dd/mm/yyyy\\ hh:mm"/>'
    '<numFmt numFmtId="165" formatCode="[$-409]#,##0.00\\ &quot;days&quot;"/>'
    '</numFmts><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/>'
    '<xf numFmtId="164"/><xf numFmtId="10"/><xf numFmtId="165"/><xf numFmtId="20"/></cellXfs>'
)


def test_values_read_as_the_sheet_shows_them():
    row = "".join(
        [
            cell("A2", 0, "s"), cell("B2", 45000, style=1), cell("C2", 45000.75, style=2), cell("D2", 0.125, style=3),
            cell("E2", 0.30000000000000004), cell("F2", 1, "b"), cell("G2", "#REF!", "e"), cell("H2", "a  b", "str"),
            cell("I2", 3, style=4), cell("J2", 0.5, style=5),
        ]
    )  # fmt: skip
    heads = "".join(cell(f"{c}1", 1, "s") for c in "ABCDEFGHIJ")
    data = workbook(
        {"One": f'<sheetData><row r="1">{heads}</row><row r="2">{row}</row></sheetData>'},
        strings=["Books", "Head"],
        styles=STYLES,
    )
    (block,) = xlsx.parser.parse(data, "x").blocks
    assert block.rows[1] == (
        "Books",
        "2023-03-15",
        "2023-03-15 18:00:00",
        "12.5%",
        "0.3",
        "yes",
        "",
        "a b",
        "3",
        "12:00:00",
    )


def test_tables_apart_stay_apart_and_sheets_get_their_names():
    rows = [
        ["Item", "Days"],
        ["Books", "14"],
        ["", ""],
        ["A note of one cell"],
        ["", ""],
        ["", "City", "Zip"],
        ["", "Rome", "00100"],
    ]
    parsed = xlsx.parser.parse(workbook({"Goods": grid(rows), "Empty": grid([]), "More": grid([["x", "y"]])}), "x")
    assert [(b.kind, b.text, b.page) for b in parsed.blocks] == [
        ("heading", "Goods", 1),
        ("table", "Item | Days\nBooks | 14", 1),
        ("paragraph", "A note of one cell", 1),
        ("table", "City | Zip\nRome | 00100", 1),
        ("heading", "More", 3),
        ("table", "x | y", 3),
    ]


def test_what_a_workbook_hides_stays_out_and_is_counted():
    sheet = '<cols><col min="2" max="3" hidden="1"/></cols>' + grid(
        [["Item", "SECRET"], ["Books", "SECRET"], ["SECRET"]]
    ).replace('<row r="3">', '<row r="3" hidden="1">')
    parsed = xlsx.parser.parse(workbook({"One": sheet, "Two": grid([["SECRET"]])}, hidden=["Two"]), "x")
    assert text(parsed) == "Item\nBooks"
    assert parsed.removed == {"hidden_sheets": 1, "hidden_rows": 1, "hidden_cells": 2}


def test_a_sheet_that_claims_billions_of_cells_is_read_by_those_it_has():
    last = '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>end</t></is></c></row>'
    sheet = f'<dimension ref="A1:XFD1048576"/><sheetData>{last}</sheetData>'
    assert text(xlsx.parser.parse(workbook({"One": sheet}), "x")) == "end"
    beyond = sheet.replace("1048576", "99999999")
    with pytest.raises(IngestError, match="damaged"):
        xlsx.parser.parse(workbook({"One": beyond}), "x")


def test_slides_are_pages_with_their_title_first():
    def body(text, level=0):
        return f"<p:txBody><a:p><a:pPr lvl='{level}'/><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody>"

    rows = "".join(
        f"<a:tr><a:tc>{body(item)}</a:tc><a:tc>{body(days)}</a:tc></a:tr>"
        for item, days in (("Item", "Days"), ("Books", "14"))
    )
    table = f"<p:graphicFrame><a:tbl><a:tblPr firstRow='1'/>{rows}</a:tbl></p:graphicFrame>"
    points = f"<p:sp>{body('one')}{body('two', 1)}</p:sp>"
    first = points + shape("Welcome", place="ctrTitle") + shape("7", place="sldNum")
    slides = [first, f"<p:grpSp>{shape('inner')}</p:grpSp>{table}"]
    parsed = pptx.parser.parse(deck(slides, notes={2: "Say it."}), "x")
    assert parsed.title == "Welcome"
    assert [(b.kind, b.text, b.page) for b in parsed.blocks] == [
        ("heading", "Welcome", 1),
        ("list", "- one\n  - two", 1),
        ("paragraph", "inner", 2),
        ("table", "Item | Days\nBooks | 14", 2),
        ("paragraph", "Notes: Say it.", 2),
    ]


WHITE = "<a:solidFill><a:srgbClr val='FFFFFF'/></a:solidFill>"


@pytest.mark.parametrize(
    "hidden",
    [
        shape("SECRET", name="hidden='1'"),
        shape("SECRET", properties="sz='100'"),
        shape("SECRET", more=WHITE),
        shape("SECRET", more="<a:solidFill><a:srgbClr val='000000'><a:alpha val='0'/></a:srgbClr></a:solidFill>"),
        shape("SECRET", at="<a:xfrm><a:off x='-5000000' y='0'/><a:ext cx='4000000' cy='100000'/></a:xfrm>"),
        shape("SECRET", at="<a:xfrm><a:off x='0' y='6900000'/><a:ext cx='4000000' cy='100000'/></a:xfrm>"),
    ],
    ids=["hidden", "tiny", "white", "transparent", "left of the slide", "below the slide"],
)
def test_what_a_slide_hides_stays_out_and_is_counted(hidden):
    parsed = pptx.parser.parse(deck([shape("seen") + hidden]), "x")
    assert text(parsed) == "seen" and parsed.removed == {"hidden_text": 1}


def test_white_text_on_a_ground_of_its_own_and_hidden_slides():
    filled = shape("on blue", more=WHITE, at="<a:solidFill><a:srgbClr val='0000FF'/></a:solidFill>")
    parsed = pptx.parser.parse(deck([filled, shape("SECRET")], hidden=[2]), "x")
    assert text(parsed) == "on blue" and parsed.removed == {"hidden_slides": 1}


def test_office_files_are_told_by_their_parts_and_damage_is_said_in_their_words():
    assert detect(workbook({"a": grid([["x"]])}), "x.zip").kind == "xlsx"
    assert detect(deck([shape("x")]), "").kind == "pptx"
    for name, word in (("a.xlsx", "Excel"), ("a.pptx", "PowerPoint")):
        with pytest.raises(IngestError, match=f"{word} file is damaged"):
            detect(deck([shape("x")])[:100], name)
    with pytest.raises(IngestError, match="not well-formed"):
        xlsx.parser.parse(packed({"xl/workbook.xml": "<workbook"}), "x")
