import pytest

from bascule.core.errors import IngestError
from bascule.plugins.parsers import csv, docx, html, md, pdf, txt
from bascule.testing import documents as make


def kinds(parsed):
    return [(block.kind, block.level, block.text) for block in parsed.blocks]


def text(parsed):
    return "\n".join(block.text for block in parsed.blocks)


def test_text_finds_underlined_headings_lists_and_code():
    source = b"Top\n===\n\nIntro:\n\n   code = 1\n\nPart\n----\n* one\n* two\n\nPlain\nlines\n"
    assert kinds(txt.parser.parse(source, "x")) == [
        ("heading", 1, "Top"),
        ("paragraph", 0, "Intro:"),
        ("code", 0, "code = 1"),
        ("heading", 2, "Part"),
        ("list", 0, "* one\n* two"),
        ("paragraph", 0, "Plain\nlines"),
    ]


def test_markdown_keeps_structure_and_drops_what_is_not_read():
    source = b"""---
title: "Returns"
---
# Head *one*

Para with `code` and [a link](http://example.test/x) ![SECRET](pic.png)
<span hidden>SECRET</span>

1. first
   - inner
2. second

| Item | Days |
|------|------|
| Book | 14   |

```py
x = 1
```

<!-- SECRET -->
<div style="display: none">

SECRET

</div>

after
"""
    parsed = md.parser.parse(source, "x")
    assert parsed.title == "Returns"
    assert kinds(parsed) == [
        ("heading", 1, "Head one"),
        ("paragraph", 0, "Para with code and a link"),
        ("list", 0, "1. first\n  - inner\n2. second"),
        ("table", 0, "Item | Days\nBook | 14"),
        ("code", 0, "x = 1"),
        ("paragraph", 0, "after"),
    ]
    assert parsed.blocks[3].rows == (("Item", "Days"), ("Book", "14"))
    assert (
        parsed.removed["hidden_text"] >= 2
        and parsed.removed["comments"] == 1
        and parsed.removed["image_descriptions"] == 1
    )


@pytest.mark.parametrize(
    "hidden",
    [
        '<div style="display:none">SECRET</div>',
        '<div style="visibility: hidden">SECRET</div>',
        '<p style="font-size:0">SECRET</p>',
        '<p style="font-size:1px">SECRET</p>',
        '<p style="opacity:0.0">SECRET</p>',
        '<p style="color:#fff;background:#FFF">SECRET</p>',
        '<p style="color: white">SECRET</p>',
        '<p style="position:absolute;left:-9999px">SECRET</p>',
        '<p style="text-indent:-9999px">SECRET</p>',
        '<p style="height:0;overflow:hidden">SECRET</p>',
        "<p hidden>SECRET</p>",
        '<p aria-hidden="true">SECRET</p>',
        "<template>SECRET</template>",
        "<noscript>SECRET</noscript>",
        "<!-- SECRET -->",
        "<script>SECRET</script>",
        "<style>.SECRET{}</style>",
        '<meta name="description" content="SECRET">',
        '<img alt="SECRET" src="http://example.test/x.png">',
        "<nav>SECRET</nav>",
        "<footer>SECRET</footer>",
        '<style>.gone{display:none}</style><p class="gone">SECRET</p>',
        '<div style="display:none"><div><p>deep SECRET</p></div></div>',
    ],
)
def test_html_leaves_out_and_counts_what_no_reader_sees(hidden):
    parsed = html.parser.parse(f"<html><body><p>Seen.</p>{hidden}<p>Also seen.</p></body></html>".encode(), "x")
    assert text(parsed) == "Seen.\nAlso seen."
    assert sum(parsed.removed.values()) >= 1


def test_html_keeps_what_a_reader_sees():
    source = """<!doctype html><title>A &amp; B</title><style>@media print{p{display:none}} a:hover{display:none}</style>
    <body style="opacity:0"><header><h1>Big <em>head</em></h1></header><p style="color:white;background:#003">white on blue</p>
    <ol><li>one<ul><li>in</li></ul></li><li>two</li></ol>
    <table><caption>Prices</caption><tr><th>A<th>B<tr><td>1<td><p>2</p></table><pre>x =\n  1</pre>
    <div>loose <b>bold</b>ly</div></body>"""
    parsed = html.parser.parse(source.encode(), "x")
    assert parsed.title == "A & B"
    assert kinds(parsed) == [
        ("heading", 1, "Big head"),
        ("paragraph", 0, "white on blue"),
        ("list", 0, "1. one\n  - in\n2. two"),
        ("paragraph", 0, "Prices"),
        ("table", 0, "A | B\n1 | 2"),
        ("code", 0, "x =\n  1"),
        ("paragraph", 0, "loose boldly"),
    ]


def test_html_survives_nesting_deeper_than_pythons_stack():
    parsed = html.parser.parse(b"<div>" * 3000 + b"deep" + b"</div>" * 3000, "x")
    assert text(parsed) == "deep"


def test_csv_finds_the_delimiter_and_the_header():
    parsed = csv.parser.parse(b'name;price\n"a;b";1,50\nc;2\n', "x")
    assert parsed.blocks[0].rows == (("name", "price"), ("a;b", "1,50"), ("c", "2"))


def test_csv_invents_no_header_for_rows_of_values():
    parsed = csv.parser.parse(b"1,2020-01-01\n2,2020-01-02\n", "x")
    assert parsed.blocks[0].rows[0] == ("", "")
    assert parsed.blocks[0].text == "1 | 2020-01-01\n2 | 2020-01-02"


def test_pdf_finds_headings_paragraphs_and_pages():
    first = "\n".join(
        [
            make.line("Returns", y=720, size=24),
            make.line("Books come back within thirty days of pur-", y=680),
            make.line("chase and toys within ten.", y=666),
            make.line("A second paragraph stands further down.", y=620),
        ]
    )
    parsed = pdf.parser.parse(
        make.pdf([first, make.line("Bold head", font="F2", y=700) + make.line("Page two text.", y=670)]), "x"
    )
    assert [(b.kind, b.page, b.text) for b in parsed.blocks] == [
        ("heading", 1, "Returns"),
        ("paragraph", 1, "Books come back within thirty days of purchase and toys within ten."),
        ("paragraph", 1, "A second paragraph stands further down."),
        ("heading", 2, "Bold head"),
        ("paragraph", 2, "Page two text."),
    ]


@pytest.mark.parametrize(
    "hidden",
    [
        make.line("SECRET", y=600, before="3 Tr"),
        make.line("SECRET", y=600, before="1 1 1 rg"),
        make.line("SECRET", y=600, size=0.5),
        make.line("SECRET", x=5000, y=5000),
    ],
)
def test_pdf_leaves_out_and_counts_what_no_reader_sees(hidden):
    parsed = pdf.parser.parse(make.pdf([make.line("Seen.") + f" q {hidden} Q"]), "x")
    assert text(parsed) == "Seen." and parsed.removed == {"hidden_text": 1}


def test_pdf_keeps_white_text_on_a_dark_ground():
    parsed = pdf.parser.parse(
        make.pdf(["0 0 0.4 rg 60 690 300 30 re f " + make.line("White on blue", before="1 1 1 rg")]), "x"
    )
    assert text(parsed) == "White on blue" and not parsed.removed


def test_encrypted_pdf_says_to_remove_the_password():
    encrypt = f"/Encrypt<</Filter/Standard/V 1/R 2/Length 40/P -44/O<{'41' * 32}>/U<{'42' * 32}>>>/ID[<00><00>]"
    with pytest.raises(IngestError, match="encrypted") as caught:
        pdf.parser.parse(make.pdf([make.line("x")], trailer=encrypt), "x")
    assert caught.value.reason == "encrypted"


def test_pdf_of_pictures_says_to_run_text_recognition():
    with pytest.raises(IngestError, match=r"bascule\[ocr\]"):
        pdf.parser.parse(make.pdf(["0 0 1 rg 10 10 100 100 re f"]), "x")


@pytest.mark.parametrize(
    "properties",
    ["<w:vanish/>", '<w:color w:val="FFFFFF"/>', '<w:sz w:val="2"/>'],
)
def test_docx_leaves_out_and_counts_what_no_reader_sees(properties):
    parsed = docx.parser.parse(
        make.raw_docx(make.paragraph(make.run("Seen.")) + make.paragraph(make.run("SECRET", properties))), "x"
    )
    assert text(parsed) == "Seen." and parsed.removed == {"hidden_text": 1}


def test_docx_keeps_white_text_in_a_dark_cell():
    cell = '<w:tc><w:tcPr><w:shd w:fill="1F3864"/></w:tcPr>{}</w:tc>'
    white = make.paragraph(make.run("Head", '<w:color w:val="FFFFFF"/>'))
    parsed = docx.parser.parse(make.raw_docx(f"<w:tbl><w:tr>{cell.format(white)}</w:tr></w:tbl>"), "x")
    assert parsed.blocks[0].rows == (("Head",),) and not parsed.removed


def test_docx_takes_tracked_insertions_and_leaves_deletions():
    body = f"<w:p><w:ins>{make.run('new')}</w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>"
    parsed = docx.parser.parse(make.raw_docx(body), "x")
    assert text(parsed) == "new" and parsed.removed == {"deleted_text": 1}


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE x [<!ENTITY xxe SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE q [<!ENTITY a "' + "A" * 1000 + '">]>',
    ],
)
def test_docx_with_entities_is_refused_unread(prolog):
    with pytest.raises(IngestError, match="document type"):
        docx.parser.parse(make.raw_docx("<w:p><w:r><w:t>x</w:t></w:r></w:p>", prolog=prolog), "x")


def test_docx_archive_bomb_is_refused_unread():
    bomb = make.raw_docx(make.paragraph(make.run("x")), parts={"word/media/image1.bin": b"\0" * 60_000_000})
    assert len(bomb) < 200_000
    with pytest.raises(IngestError, match="archive bomb"):
        docx.parser.parse(bomb, "x")
