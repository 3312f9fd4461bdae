"""JSON, XML, e-mail, e-books and site exports: what a reader would see, and nothing else."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from bascule.core.errors import IngestError
from bascule.plugins.parsers import eml, epub, json, wxr, xml
from bascule.rag.detect import detect
from bascule.testing.office import ebook, export, post


def kinds(parsed):
    return [(block.kind, block.level, block.text) for block in parsed.blocks]


def text(parsed):
    return "\n".join(block.text for block in parsed.blocks)


def test_json_records_become_a_table_and_nested_parts_stand_under_headings():
    source = b"""{"name": "Shop", "open": true, "none": null, "address": {"street": "Long Road 1", "geo": {"lat": 1.5}},
        "tags": ["a", "b"], "goods": [{"item": "books", "days": 14}, {"item": "toys", "price": "3 EUR"}]}"""
    parsed = json.parser.parse(source, "x")
    assert parsed.title == "Shop"
    assert kinds(parsed) == [
        ("paragraph", 0, "name: Shop\nopen: yes"),
        ("heading", 1, "address"),
        ("paragraph", 0, "street: Long Road 1"),
        ("heading", 2, "geo"),
        ("paragraph", 0, "lat: 1.5"),
        ("paragraph", 0, "tags: a, b"),
        ("heading", 1, "goods"),
        ("table", 0, "item | days | price\nbooks | 14 | \ntoys |  | 3 EUR"),
    ]


def test_json_lines_become_one_table_and_differing_records_keep_their_names():
    lines = b'{"item": "books", "days": 14}\n{"item": "toys", "days": 30}\n'
    assert json.parser.parse(lines, "x").blocks[0].rows == (("item", "days"), ("books", "14"), ("toys", "30"))
    mixed = b'[{"title": "Ann", "address": {"town": "Rome"}}, {"title": "Bob", "address": {"town": "Oslo"}}]'
    assert [b.text for b in json.parser.parse(mixed, "x").blocks if b.kind == "heading"] == [
        "Ann",
        "address",
        "Bob",
        "address",
    ]


def test_json_nested_beyond_reason_is_refused():
    with pytest.raises(IngestError):
        json.parser.parse(b"[" * 100_000 + b"]" * 100_000, "x")
    with pytest.raises(IngestError, match="deep"):
        json.parser.parse(b'{"a":' * 100 + b"[1]" + b"}" * 100, "x")


def test_xml_running_text_fields_and_records_are_told_apart():
    source = b"""<?xml version="1.0"?><!-- SECRET --><book><title>Guide</title><para>Press <key>Enter</key> twice.</para>
      <meta><lang>en</lang><year>2020</year></meta><list><e><k>a</k><v>1</v></e><e><k>b</k><v>2</v></e></list></book>"""
    assert kinds(xml.parser.parse(source, "x")) == [
        ("heading", 1, "Guide"),
        ("paragraph", 0, "Press Enter twice."),
        ("paragraph", 0, "lang: en\nyear: 2020"),
        ("table", 0, "k | v\na | 1\nb | 2"),
    ]


def test_xml_that_keeps_its_data_in_attributes_is_a_table_too():
    source = b'<list><e code="de" name="German"/><e code="fr" name="French"/></list>'
    assert xml.parser.parse(source, "x").blocks[0].rows == (("code", "name"), ("de", "German"), ("fr", "French"))
    assert text(xml.parser.parse(b'<a class="noise">said<b id="1"/></a>', "x")) == "said"


@pytest.mark.parametrize("parser", [xml.parser, wxr.parser], ids=["xml", "wxr"])
@pytest.mark.parametrize(
    "entity", ['<!ENTITY x SYSTEM "file:///etc/passwd">', '<!ENTITY x "boom">', '<!ENTITY % x SYSTEM "http://h/">']
)
def test_xml_that_declares_entities_is_not_opened(parser, entity):
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(IngestError) as caught:
            parser.parse(f"<!DOCTYPE a [{entity}]><a><channel>&x;</channel></a>".encode(encoding), "x")
        assert caught.value.reason == "hostile"


def mail(**parts):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "Ann Ärm <ann@example.test>",
        "bob@example.test",
        parts["subject"],
    )
    message["Date"] = "Mon, 05 Jan 2026 10:00:00 +0100"
    message.set_content(parts["plain"])
    if "html" in parts:
        message.add_alternative(parts["html"], subtype="html")
    if "file" in parts:
        message.add_attachment(parts["file"], maintype="application", subtype="pdf", filename="a.pdf")
    return bytes(message)


def test_a_mail_keeps_its_structure_and_counts_what_is_not_opened():
    data = mail(
        subject="Größe",
        plain="flat",
        html="<h2>Head</h2><p>Text</p><p style='display:none'>SECRET</p>",
        file=b"%PDF-1.4 SECRET",
    )
    parsed = eml.parser.parse(data, "x")
    assert parsed.title == "Größe"
    assert kinds(parsed)[2:] == [("heading", 2, "Head"), ("paragraph", 0, "Text")]
    assert "Ann Ärm" in text(parsed) and "SECRET" not in text(parsed)
    assert parsed.removed == {"attachments": 1, "hidden_text": 1}


def test_a_plain_mail_loses_what_it_quotes():
    parsed = eml.parser.parse(mail(subject="Re: x", plain="New words.\n\n> old words\n> more\n\nBye\n"), "x")
    assert "New words." in text(parsed) and "old" not in text(parsed)
    assert parsed.removed == {"quoted_lines": 2}


def test_a_book_is_read_in_the_order_of_its_spine_with_a_page_for_each_chapter():
    parsed = epub.parser.parse(ebook([f"<h1>C{n}</h1><p>text {n}</p><p hidden=''>SECRET</p>" for n in (1, 2, 3)]), "x")
    assert parsed.title == "A book"
    assert [(b.text, b.page) for b in parsed.blocks if b.kind == "heading"] == [("C1", 1), ("C2", 2), ("C3", 3)]
    assert "SECRET" not in text(parsed) and parsed.removed == {"hidden_text": 3}


def test_a_book_under_copy_protection_says_so_and_scrambled_fonts_do_not_matter():
    def encrypted(uri):
        return {
            "META-INF/encryption.xml": "<encryption xmlns:e='http://www.w3.org/2001/04/xmlenc#'><e:EncryptedData><e:CipherData>"
            f"<e:CipherReference URI='{uri}'/></e:CipherData></e:EncryptedData></encryption>"
        }

    with pytest.raises(IngestError, match="copy protection"):
        epub.parser.parse(ebook(["<p>x</p>"], parts=encrypted("OEBPS/text/c%201.xhtml")), "x")
    assert epub.parser.parse(ebook(["<p>x</p>"], parts=encrypted("OEBPS/font.otf")), "x").blocks


def test_only_what_a_site_shows_to_everybody_leaves_its_export():
    inside = (
        "<wp:comment_author_email>a@b.test</wp:comment_author_email><wp:comment_content>SECRET</wp:comment_content>"
    )
    comment = f"<wp:comment>{inside}</wp:comment>"
    data = export(
        post("Hello", "<!-- wp:paragraph --><p>Public.</p><!-- /wp:paragraph --><h2>Sub</h2><p>More.</p>", more=comment)
        + post("About", "First part.\n\nSecond [gallery ids='1,2'] part.", kind="page")
        + "".join(post(s, "SECRET", status=s) for s in ("draft", "private", "pending", "future", "trash", "inherit"))
        + post("Locked", "SECRET", password="pw")
        + post("file", "SECRET", kind="attachment")
    )
    parsed = wxr.parser.parse(data, "x")
    assert parsed.title == "My shop"
    assert kinds(parsed) == [
        ("heading", 1, "Hello"),
        ("paragraph", 0, "Public."),
        ("heading", 3, "Sub"),
        ("paragraph", 0, "More."),
        ("heading", 1, "About"),
        ("paragraph", 0, "First part."),
        ("paragraph", 0, "Second part."),
    ]
    assert parsed.removed["not_public"] == 7 and parsed.removed["comments"] >= 1 and "SECRET" not in text(parsed)


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b'{"a": 1}', "x.json", "json"),
        (b'{"a": 1}', "", "json"),
        (b'{"a": 1}\n{"a": 2}\n{"a": 3}\n', "", "json"),
        (b'{"a": 1}', "notes.txt", "txt"),
        (b"{ not json", "x.json", "txt"),
        (b"[1] a footnote", "", "txt"),
        (b"<?xml version='1.0'?><a/>", "x.txt", "xml"),
        (b"<a>b</a>", "x.xml", "xml"),
        (b"<?xml version='1.0'?><html xmlns='x'><body>a</body></html>", "x.xml", "html"),
        (export(post("a", "b")), "site.xml", "wxr"),
        (mail(subject="a", plain="b"), "x.eml", "eml"),
        (mail(subject="a", plain="b"), "", "eml"),
        (b"From: here\nto there", "x.txt", "txt"),
        (b"Subject: a\nDate: b\n\nminutes", "x.txt", "txt"),
        (ebook(["<p>x</p>"]), "x.zip", "epub"),
    ],
)  # fmt: skip
def test_kinds_of_data_are_told_by_their_content(data, name, kind):
    assert detect(data, name).kind == kind


def test_data_in_another_encoding_is_read():
    source = "<?xml version='1.0' encoding='iso-8859-1'?><a>Größe</a>".encode("latin-1")
    assert text(xml.parser.parse(detect(source, "x.xml").data, "x")) == "Größe"


def test_messages_in_a_message_are_read_below_it_and_other_attachments_are_counted() -> None:
    outer = EmailMessage()
    outer["From"], outer["Subject"] = "ann@example.test", "Fwd: readings"
    outer.set_content("See below.")
    outer.add_attachment(
        message_from_bytes(mail(subject="The river gauge", plain="It stood at 41 cm."), policy=default)
    )
    outer.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="a.pdf")
    digest = b"From: a@x.y\nContent-Type: multipart/digest; boundary=B\n\n--B\n\nTo: b@x.y\n\nfirst words\n\n--B--\n"
    parsed = eml.parser.parse(bytes(outer), "x")
    assert [(b.kind, b.text) for b in parsed.blocks if "gauge" in b.text or "41" in b.text] == [
        ("heading", "The river gauge"),
        ("paragraph", "It stood at 41 cm."),
    ]
    assert parsed.removed == {"attachments": 1}
    assert "first words" in [block.text for block in eml.parser.parse(digest, "x").blocks]
    listed = b"From: a@x.y\nContent-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: text/plain\n\nToday's topics\n\n--A\n"
    parsed = eml.parser.parse(listed + digest.partition(b"\n")[2] + b"\n--A--\n", "x")
    assert [b.text for b in parsed.blocks if b.kind == "paragraph"][-3:] == [
        "Today's topics",
        "To: b@x.y",
        "first words",
    ]
    assert parsed.removed == {}


@pytest.mark.parametrize("ids", [("1 a", "b"), ("a", "a"), ("", "-"), ("1", "1")])
def test_xml_whose_ids_are_no_names_or_not_unique_is_read_all_the_same(ids):
    source = f'<r><p xml:id="{ids[0]}">one &lt; two</p><p xml:id="{ids[1]}">three</p></r>'.encode()
    plain = b"<r><p>one &lt; two</p><p>three</p></r>"
    assert kinds(xml.parser.parse(source, "x")) == kinds(xml.parser.parse(plain, "x"))


def test_a_wrong_id_forgives_nothing_else():
    for source in (b'<r xml:id="1"><p>one</r>', b'<r xml:id="1"><p>one</p>', b'<r xml:id="1">&no;</r>'):
        with pytest.raises(IngestError) as caught:
            xml.parser.parse(source, "x")
        assert caught.value.reason == "damaged"
