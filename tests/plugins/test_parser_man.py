"""Manual pages: what a reader of a terminal sees of them, as blocks."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument
from bascule.plugins.parsers.man import parser
from bascule.rag.detect import detect
from bascule.rag.unpack import MAX_BYTES


def page(text: str) -> ParsedDocument:
    return parser.parse(text.encode(), "x.1")


def texts(text: str) -> list[str]:
    return [block.text for block in page(text).blocks]


def test_sections_paragraphs_and_tagged_lists() -> None:
    parsed = page(
        '.\\" written by hand\n.TH TAR 1 2026\n.SH NAME\ntar \\- an archiver\n.SH "Some OPTIONS"\n.SS\nShort ones\n'
        'First words\nof one paragraph.\n.PP\nAnother.\n.TP 8\n.BI \\-f " file"\nUse \\fBfile\\fR.\n.IP \\(bu 2\nA point.\n'
    )
    assert parsed.title == "TAR(1)"
    assert parsed.removed == {"comments": 1}
    assert [(b.kind, b.level, b.text) for b in parsed.blocks] == [
        ("heading", 1, "NAME"),
        ("paragraph", 0, "tar - an archiver"),
        ("heading", 1, "Some OPTIONS"),
        ("heading", 2, "Short ones"),
        ("paragraph", 0, "First words of one paragraph."),
        ("paragraph", 0, "Another."),
        ("list", 0, "-f file\nUse file."),
        ("list", 0, "• A point."),
    ]


def test_examples_keep_their_lines_and_indents() -> None:
    blocks = page(".TH A 1\n.SH EXAMPLES\nTry:\n.nf\n  tar \\-c \\e\n\n    x\n.fi\nDone.\n").blocks
    assert [(b.kind, b.text) for b in blocks[1:]] == [
        ("paragraph", "Try:"),
        ("code", "  tar -c \\\n\n    x"),
        ("paragraph", "Done."),
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\fBbold\fP \f(CWcode\fR \f[I]it\f[]", "bold code it"),
        (r"a\-b \(em c \[u00E9]t\['e] 5\ m", "a-b — c été 5 m"),
        (r"\*(L" + '"quoted\\*(R"', "“quoted“".replace("“quoted“", "“quoted”")),
        (r"\s-1small\s0 \v'2'up\h'|3n'", "small up"),
        (r"\m[red]red\m[] \n(xx\nx\n[reg]end", "red end"),
        (r"\&.hidden dot", ".hidden dot"),
        (r"words \" and a comment", "words"),
        (r"C:\\dir \e", "C:\\dir \\"),
        ("broken \\", "broken "),
        (r"\[nosuch]\(qq\*(zz.", "."),
    ],
)
def test_escapes_become_what_they_show(written: str, read: str) -> None:
    assert texts(f".TH A 1\n.SH B\n{written}\n")[1:] == [read.strip()]


def test_definitions_and_what_is_meant_for_paper_are_left_out() -> None:
    text = (
        ".de Sp\n.if t .sp .5v\nSECRET\n..\n.ig\nSECRET\n..\n"
        ".ie n \\{\\\nterminal\n.\\}\n.el \\{\\\nSECRET\n.\\}\n.if t SECRET\n.if n seen\n"
    )
    parsed = page(f".TH A 1\n.SH B\n{text}")
    found = " ".join(block.text for block in parsed.blocks)
    assert "SECRET" not in found and "terminal" in found and "seen" in found
    assert parsed.removed["macro_definitions"] == 2


def test_a_table_of_tbl_keeps_its_rows() -> None:
    blocks = page(
        ".TH A 1\n.SH B\n.TS\ntab(;) box;\nl l.\nName;\\fBUse\\fR\n_\nls;T{\nlist\nfiles\nT}\n.TE\nAfter.\n"
    ).blocks
    assert blocks[1] == Block(
        kind="table", text="Name | Use\nls | list files", rows=(("Name", "Use"), ("ls", "list files"))
    )
    assert blocks[2].text == "After."


def test_mdoc_is_read_as_it_is_shown() -> None:
    parsed = page(
        ".Dd May 1, 2026\n.Dt CAT 1\n.Os\n.Sh NAME\n.Nm cat\n.Nd concatenate files\n.Sh SYNOPSIS\n.Nm\n"
        ".Op Fl benst\n.Op Ar\n"
        ".Sh DESCRIPTION\nThe\n.Nm\nutility reads\n.Ar file ,\nas\n.Xr head 1\ndoes.\n.Bl -tag -width x\n.It Fl b\n"
        "Number\n.Dq non-blank\n"
        "lines.\n.El\n.Dl cat a b\n"
    )
    assert parsed.title == "cat(1)"
    assert [(b.kind, b.text) for b in parsed.blocks] == [
        ("heading", "NAME"),
        ("paragraph", "cat — concatenate files"),
        ("heading", "SYNOPSIS"),
        ("paragraph", "cat [-benst] [file ...]"),
        ("heading", "DESCRIPTION"),
        ("paragraph", "The cat utility reads file, as head(1) does."),
        ("list", "-b\nNumber “non-blank” lines."),
        ("code", "cat a b"),
    ]


def test_a_page_that_only_points_to_another_says_to_which() -> None:
    with pytest.raises(IngestError, match=r"points to man7/b\.7"):
        page(".so man7/b.7\n")


@pytest.mark.parametrize("name", ["ls.1.gz", "perlre.3pm", "noname", "x.txt"])
def test_content_tells_a_manual_page_packed_or_not(name: str) -> None:
    text = b'.\\" comment\n.\n.TH LS 1\n.SH NAME\nls \\- list\n'
    data = gzip.compress(text) if name.endswith(".gz") else text
    found = detect(data, name)
    assert (found.kind, found.data) == ("man", text)
    assert (found.notes.get("packed") == "gzip") == name.endswith(".gz")


def test_a_text_that_mentions_roff_is_none() -> None:
    assert detect(b"Some words.\n.TH is a request of roff.\n", "a.txt").kind == "txt"


def test_a_packed_file_is_read_as_what_is_in_it() -> None:
    assert detect(gzip.compress(b"a,b\n1,2\n"), "table.csv.gz").kind == "csv"
    both = gzip.compress(b"one\n") + gzip.compress(b"two\n") + b"\0" * 10
    assert detect(both, "log.gz").data == b"one\ntwo\n"


def test_packed_bombs_and_damage_are_refused_with_a_reason() -> None:
    bomb = gzip.compress(b"\0" * (MAX_BYTES + 1))
    good = gzip.compress(b"words " * 1000)
    tar = gzip.compress(b"a" * 257 + b"ustar" + b"\0" * 300)
    for data, reason in (
        (bomb, "too_large"),
        (good[:-9], "damaged"),
        (good[:40] + b"xxxx" + good[44:], "damaged"),
        (gzip.compress(good), "unsupported"),
        (tar, "unsupported"),
        (gzip.compress(b""), "empty"),
    ):
        with pytest.raises(IngestError) as raised:
            detect(data, "x.gz")
        assert raised.value.reason == reason


@pytest.mark.skipif(shutil.which("man") is None, reason="no manual pages on this machine")
def test_pages_of_this_machine_read_like_man_shows_them() -> None:
    """The words of a page as `man` formats it, beside ours: nearly all must be there, and none of its markup."""
    pages = sorted(Path("/usr/share/man/man1").glob("*.1.gz"))[:400:40]
    compared = 0
    for path in pages:
        try:
            ours = parser.parse(detect(path.read_bytes(), path.name).data, path.name)
        except IngestError:
            continue
        command = ["man", "-l", "--no-hyphenation", "--no-justification", str(path)]
        environment = {
            "MANWIDTH": "1000",
            "LC_ALL": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "MAN_KEEP_FORMATTING": "",
            "TERM": "dumb",
        }
        shown = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
        if shown.returncode != 0 or len(shown.stdout.split()) < 50:
            continue
        found = set(" ".join(block.text for block in ours.blocks).split())
        wanted = [word for word in shown.stdout.split() if word.isalpha()][5:-5]
        share = sum(word in found for word in wanted) / max(len(wanted), 1)
        assert share > 0.95, (path.name, share, [word for word in wanted if word not in found][:10])
        compared += 1
    if not compared:
        pytest.skip("man cannot format pages here")
