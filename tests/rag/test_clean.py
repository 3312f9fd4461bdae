from collections import Counter

import pytest

from bascule.core.parsing import Block
from bascule.rag.clean import clean, clean_line, clean_text

FAMILY = "👨\u200d👩\u200d👧"


def cleaned(text):
    removed, repaired = Counter(), Counter()
    return clean_text(text, removed, repaired), dict(removed), dict(repaired)


def para(text, page=None, kind="paragraph", level=0):
    return Block(kind=kind, text=text, page=page, level=level)


@pytest.mark.parametrize(
    ("text", "plain", "reason"),
    [
        ("ig\u200bno\u00adre", "ignore", "zero_width"),
        ("\ufeffhello", "hello", "zero_width"),
        ("a\u180eb", "ab", "zero_width"),
        ("sk-\u2060proj", "sk-proj", "zero_width"),
        ("\u202eerusne\u202c", "erusne", "bidi_controls"),
        ("x\U000e0072\U000e0065", "x", "tag_characters"),
        ("x\U000e0173\U000e0165", "x", "tag_characters"),
        ("a\x00b\x07", "ab", "control_characters"),
        ("a\ud800b", "ab", "control_characters"),
        ("i" + "\u0335" * 50, "i" + "\u0335" * 3, "stacked_marks"),
    ],
)
def test_the_invisible_goes_and_is_counted(text, plain, reason):
    found, removed, _ = cleaned(text)
    assert found == plain and removed[reason] >= 1


@pytest.mark.parametrize("text", [FAMILY, "می\u200cخواهم", "❤\ufe0f", "שלום עולם", "ภาษาไทย", "STRASSE straße"])
def test_joiners_that_belong_to_a_script_or_an_emoji_stay(text):
    assert cleaned(text) == (text, {}, {})


def test_composed_forms_line_ends_and_spaces_become_one():
    assert cleaned("e\u0301")[0] == "é"
    assert cleaned("a\u2028b\u2029c\x85d\r\ne\rf")[0] == "a\nb\nc\nd\ne\nf"
    assert cleaned("a\u00a0\u00a0b   c  \n\n\n\nd")[0] == "a b c\n\nd"


def test_code_keeps_its_columns():
    assert clean_text("if x:\n    y    = 1", Counter(), Counter(), code=True) == "if x:\n    y    = 1"
    assert clean_text("    indented", Counter(), Counter()) == "    indented"


@pytest.mark.parametrize(
    ("broken", "right"),
    [("cafÃ©", "café"), ("itâ€™s â€œsoâ€\x9d", "it’s “so”"), ("â‚¬5", "€5"), ("ÐŸÑ€Ð¸", "При"), ("GrÃ¶ÃŸe", "Größe")],
)
def test_text_read_in_the_wrong_encoding_is_mended_and_counted(broken, right):
    found, _, repaired = cleaned(broken)
    assert found == right and repaired["mojibake"] >= 1


@pytest.mark.parametrize("text", ["SÃO PAULO", "à « mot »", "Ângela", "naïve café – “x”"])
def test_right_text_is_not_mended(text):
    assert cleaned(text)[0] == text


def test_what_most_pages_repeat_goes_with_its_numbers():
    blocks = []
    for page in range(1, 6):
        blocks += [
            para("ACME confidential", page),
            para(f"Text of page {page} which differs {page * 7}", page),
            para("body", page),
        ]
        blocks += [para("more body " + "xyzab"[page - 1], page), para(f"Page {page} of 5", page)]
    result = clean(blocks)
    texts = [block.text for block in result.blocks]
    assert "ACME confidential" not in texts and not any(t.startswith("Page ") for t in texts)
    assert result.removed["page_headers_and_footers"] >= 10


def test_a_paragraph_said_twice_stays_once_under_one_heading_and_twice_under_two():
    same = "The warranty covers every part of the machine for two years after purchase."
    head = [para("A", kind="heading", level=1), para(same), para(same), para("B", kind="heading", level=1), para(same)]
    result = clean(head)
    assert [block.text for block in result.blocks] == ["A", same, "B", same]
    assert result.removed == {"duplicate_blocks": 1}


def test_short_lines_and_code_may_repeat():
    blocks = [para("ok"), para("ok"), para("x = 1\n" * 20, kind="code"), para("x = 1\n" * 20, kind="code")]
    assert len(clean(blocks).blocks) == 4


def test_tables_are_cleaned_cell_by_cell():
    table = Block(kind="table", text="a | b", rows=(("a\u200b", "b"), ("1\n2", "  x ")))
    result = clean([table]).blocks[0]
    assert result.rows == (("a", "b"), ("1 2", "x")) and result.text == "a | b\n1 2 | x"


def test_a_title_is_one_clean_line():
    assert clean_line("A\n title\u200b  here") == "A title here"
