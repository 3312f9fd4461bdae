import io
import pickle
import zipfile

import pytest

from bascule.core.errors import IngestError
from bascule.rag.detect import detect
from bascule.testing.documents import line, paragraph, pdf, raw_docx, run

MIXED = "Größe: naïve café – “quotes” €5 日本語 עברית"


def archive(**parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, text in parts.items():
            file.writestr(name.replace("__", "/"), text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (pdf([line("x")]), "wrong.txt", "pdf"),
        (b"\xef\xbb\xbf\n%PDF-1.4 ...", "x", "pdf"),
        (raw_docx(paragraph(run("x"))), "wrong.zip", "docx"),
        (b"<!DOCTYPE html><p>x", "x.pdf", "html"),
        (b"  <!-- a --><!-- b -->\n<html><body>x", "", "html"),
        (b"<p>one</p><p>two</p><p>three</p>", "", "html"),
        (b"<p>one</p>", "page.html", "html"),
        (b"no tags at all", "page.html", "txt"),
        (b"a,b,c\n1,2,3\n4,5,6\n", "", "csv"),
        (b"a\tb\n1\t2\n", "x.tsv", "csv"),
        (b"one, two, three\n", "letter.txt", "txt"),
        (b"prose without any columns\nof any kind\n", "x.csv", "txt"),
        (b"# Head\n\n- a\n- b\n", "", "md"),
        (b"plain", "x.md", "md"),
        (b"# Head\n\n- a\n", "x.txt", "txt"),
        (b"plain words", "", "txt"),
    ],
)
def test_content_decides_and_the_name_breaks_ties(data, name, kind):
    assert detect(data, name).kind == kind


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (archive(xl__workbook="x"), "Excel workbook in binary form"),
        (archive(content="x", **{"content.xml": "x"}), "OpenDocument"),
        (archive(readme="x"), "zip archive"),
        (b"PK\x03\x04 and then nothing", "damaged zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "encrypted or old"),
        (pickle.dumps({"a": [1, 2]}), "pickle"),
        (bytes(range(256)) * 10, "binary data"),
        (b"\x7fELF" + bytes(100), "program"),
        (b"{\\rtf1 x}", "Rich Text"),
    ],
)
def test_what_is_no_document_is_named_and_refused(data, what):
    with pytest.raises(IngestError, match="not a supported kind") as caught:
        detect(data, "letter.txt")
    assert what in str(caught.value)


@pytest.mark.parametrize("data", [b"", b" \n\n\t", b"\0\0\0"])
def test_an_empty_file_is_refused_as_empty(data):
    with pytest.raises(IngestError, match="empty"):
        detect(data, "x.txt")


def test_a_damaged_word_file_says_so_by_its_name():
    with pytest.raises(IngestError, match="damaged"):
        detect(raw_docx(paragraph(run("x")))[:200], "x.docx")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_unicode_is_read_with_and_without_marks(encoding):
    assert detect(MIXED.encode(encoding), "x.txt").data.decode() == MIXED


def test_windows_and_japanese_text_is_guessed_and_the_guess_reported():
    western = detect("Größe naïve café €5".encode("cp1252"), "x.txt")
    assert western.data.decode() == "Größe naïve café €5" and western.notes["encoding"] == "cp1252 (guessed)"
    japanese = detect("日本語テキストです。検索できますか。".encode("shift_jis"), "x.txt")
    assert japanese.data.decode().startswith("日本語テキスト") and japanese.notes["encoding"] == "shift_jis (guessed)"
    assert detect("été à l'hôtel".encode("cp1252"), "x.txt").data.decode() == "été à l'hôtel"


def test_a_pages_own_charset_is_used():
    page = '<html><meta charset="iso-8859-7"><p>Ελλάδα και η θάλασσα'.encode("iso-8859-7")
    assert "Ελλάδα" in detect(page, "x.html").data.decode()


def test_unreadable_bytes_lose_nothing_after_them():
    found = detect("größe é".encode() * 20 + b"\xff\xfe bad \xc3( THE-END", "x.txt")
    assert found.data.decode().endswith("THE-END") and found.notes["unreadable_bytes"] == 3
    assert detect(b"valid \xc3( \xe2\x28\xa1 THE-END", "x.txt").data.decode().endswith("THE-END")


def test_a_name_that_lies_is_reported():
    assert detect(b"<!doctype html><p>x", "x.pdf").mislabelled
    assert not detect(b"<!doctype html><p>x", "x.html").mislabelled
    assert not detect(b"<!doctype html><p>x", "x").mislabelled


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("한국어 문서입니다. abc 123", "iso2022_kr"),
        ("日本語テキストです。検索できますか。", "iso2022_jp_2"),
        ("中文 한국어 日本語 é", "iso2022_jp_2"),
        ("半角 ｱｲｳ", "iso2022_jp_ext"),
    ],
)
def test_text_in_seven_bits_with_escapes_is_text(text, encoding):
    found = detect(f"One line.\n{text}\n".encode(encoding), "x.txt")
    assert found.data.decode() == f"One line.\n{text}\n" and found.notes == {"encoding": encoding}


def test_escapes_of_a_terminal_choose_no_character_set():
    plain = b"\x1b[1mbold\x1b[0m and \x1b$ no set, \x1b(B neither"
    assert detect(plain, "x.txt").data == plain
    damaged = "日本語".encode("iso2022_jp")[:-4] + b"\x7f\x7f plain words"
    assert detect(damaged, "x.txt").kind == "txt"
