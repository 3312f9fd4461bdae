"""Text in pictures: what is drawn here is read by the real recogniser in a real child; bombs are refused undecoded."""

import io
import struct
import zlib
from importlib.util import find_spec

import pytest

from bascule.child import reader_of
from bascule.core.errors import IngestError
from bascule.core.parsing import Recognised
from bascule.plugins.parsers import image as plugin
from bascule.plugins.parsers.pdf.layout import in_order, lines_of
from bascule.plugins.parsers.pdf.lines import blocks_of
from bascule.rag.confine import OcrLimits
from bascule.rag.detect import detect
from bascule.rag.sandbox import SandboxOptions, open_sandbox
from bascule.testing.documents import line, pdf

HAS_OCR = find_spec("rapidocr") is not None
ocr = pytest.mark.skipif(not HAS_OCR, reason="THE EXTRA ocr IS NOT INSTALLED: nothing was recognised")
TEXT = ["Refund policy", "Money comes back within 30 days.", "Write to anna@example.test first."]


class Fixed:
    """Stands in for the recogniser, which takes seconds: finds one line in every picture and keeps the picture."""

    max_side = 200

    def __init__(self, pages=100):
        self.pages = pages
        self.seen = []

    def read(self, pixels):
        self.seen.append(pixels)
        if len(self.seen) > self.pages:
            return None
        return [Recognised(f"page {len(self.seen)}", (0, 0, 50, 10))]


def drawn(lines=TEXT, size=(700, 160)):
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", size, "white")
    for number, text in enumerate(lines):
        font = ImageFont.load_default(size=26)
        ImageDraw.Draw(image).text((20, 12 + 44 * number), text, fill="black", font=font)
    return image


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def webp_header(width, height):
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sizes + bytes(40)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_header(width, height, frame=(1, 1)):
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02L\x01\x00;"


def tiff_header(width, height):
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, height),
        (279, 4, 8),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + entries + bytes(4)


@ocr
async def test_images_and_scanned_pages_are_read_in_a_confined_child():
    page = drawn()
    options = SandboxOptions(ocr=OcrLimits(), recycle_bytes=4_000_000_000)
    async with open_sandbox(options) as box:
        image = await box.prepare(saved(page, "PNG"), "scan.txt", "text/plain")
        scan = await box.prepare(saved(page, "PDF", resolution=300), "scan.pdf", "")
        assert not [why for why in box.confinement.values() if why.startswith("refused")]
    for document in (image, scan):
        text = " ".join(chunk.text for chunk in document.chunks)
        assert "Money comes back within 30 days." in text and "Refund policy" in text
        assert "anna@example.test" not in text, "what was recognised is redacted as any other text"
        assert document.report["recognised_pages"] == 1
    assert image.media_type == "image/*" and "mislabelled" in image.report
    assert scan.chunks[0].page == 1


@ocr
async def test_recognition_that_needs_more_memory_than_its_own_limit_fails_alone():
    async with open_sandbox(SandboxOptions(ocr=OcrLimits(memory_bytes=600_000_000))) as box:
        with pytest.raises(IngestError) as caught:
            await box.prepare(saved(drawn(size=(1600, 1600)), "PNG"), "scan.png", "")
        assert caught.value.reason in ("too_large", "crashed")
        assert (await box.prepare(b"still there", "a.txt", "")).chunks[0].text == "still there"


async def test_without_recognition_an_image_is_refused_with_the_name_of_the_extra():
    async with open_sandbox(SandboxOptions()) as box:
        with pytest.raises(IngestError, match=r"pip install 'bascule\[ocr\]'") as caught:
            await box.prepare(png_header(10, 10), "scan.png", "image/png")
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize(
    "data", [png_header(9, 9), b"\xff\xd8\xff\xe0", gif_header(9, 9), tiff_header(9, 9), webp_header(9, 9)]
)
def test_an_image_is_known_by_its_content(data):
    assert detect(data, "letter.docx").kind == "image"


@ocr
@pytest.mark.parametrize("header", [png_header, webp_header, gif_header, tiff_header])
def test_a_pixel_bomb_is_refused_by_its_header(header, monkeypatch):
    from PIL import Image, ImageFile

    decoded = []
    for kind in (Image.Image, ImageFile.ImageFile):
        monkeypatch.setattr(kind, "load", lambda self: decoded.append(self))
    with pytest.raises(IngestError, match="million pixels"):
        plugin.reading(Fixed()).parse(header(16_000, 16_000), "bomb")
    assert not decoded


@ocr
def test_a_frame_larger_than_its_own_header_says_is_refused():
    with pytest.raises(IngestError) as caught:
        plugin.reading(Fixed()).parse(gif_header(10, 10, frame=(65_000, 65_000)), "bomb.gif")
    assert caught.value.reason in ("too_large", "damaged")


@ocr
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
def test_damaged_images_are_documents_or_refused_never_a_crash(form):
    from bascule.testing.parser_contract import check_parser

    class Same(Fixed):
        def read(self, pixels):
            return [Recognised("page 1", (0, 0, 50, 10))]

    check_parser(plugin.reading(Same()), sample=saved(drawn(), form), words=["page 1"], mutations=40)


@ocr
def test_every_frame_of_a_tiff_is_a_page_and_of_a_gif_the_first_alone():
    pages = [drawn([str(number)]) for number in range(3)]
    recogniser = Fixed(pages=2)
    parsed = plugin.reading(recogniser).parse(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]), "x")
    assert [(block.text, block.page) for block in parsed.blocks] == [("page 1", 1), ("page 2", 2)]
    assert parsed.removed == {"unrecognised_pages": 1} and parsed.metadata == {"recognised_pages": 2}
    moving = plugin.reading(Fixed()).parse(saved(pages[0], "GIF", save_all=True, append_images=pages[1:]), "x")
    assert [(block.text, block.page) for block in moving.blocks] == [("page 1", None)]


@ocr
def test_pictures_come_upright_on_white_and_small():
    from PIL import Image

    recogniser = Fixed()
    upright = Image.new("RGB", (400, 100), "white")
    exif = upright.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    plugin.reading(recogniser).parse(saved(upright, "JPEG", exif=exif), "x")
    plugin.reading(recogniser).parse(saved(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG"), "x")
    plugin.reading(recogniser).parse(saved(Image.new("I;16", (50, 50), 40_000), "PNG"), "x")
    turned, clear, deep = recogniser.seen
    assert turned.shape == (200, 50, 3)
    assert clear.min() == 255
    assert deep.shape == (50, 50, 3)


@ocr
def test_only_pages_without_text_are_recognised():
    recogniser = Fixed()
    reader = reader_of("pdf", recogniser)
    assert reader is not None
    written = reader.parse(pdf([line("Money comes back")]), "x")
    assert [block.text for block in written.blocks] == ["Money comes back"] and not recogniser.seen
    scanned = reader.parse(saved(drawn(), "PDF", resolution=72), "x")
    assert [block.text for block in scanned.blocks] == ["page 1"] and scanned.metadata["recognised_pages"] == 1
    assert recogniser.seen[0].shape[1] == Fixed.max_side


@ocr
def test_a_scan_that_is_not_recognised_says_what_would_read_it():
    with pytest.raises(IngestError, match=r"bascule\[ocr\]"):
        __import__("bascule.plugins.parsers.pdf", fromlist=["parser"]).parser.parse(saved(drawn(), "PDF"), "x")


def row(text, left, top, width=200, height=10):
    return Recognised(text, (left, top, left + width, top + height))


def test_columns_are_read_one_after_the_other_and_cells_across():
    prose = [
        row(f"{side}{number}", left, 30 + 14 * number) for side, left in (("a", 0), ("b", 230)) for number in range(4)
    ]
    head = row("head", 0, 0, 430)
    assert [one.text for one in in_order([*reversed(prose), head])] == [
        "head",
        *(f"a{n}" for n in range(4)),
        *(f"b{n}" for n in range(4)),
    ]
    cells = [
        row(f"{column}{number}", left, 14 * number, 30) for column, left in (("a", 0), ("b", 90)) for number in range(4)
    ]
    assert [one.text for one in in_order(cells)] == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]


def test_large_letters_are_a_heading_and_wavering_ones_are_not():
    found = [
        row("Refunds", 0, 0, 90, 18),
        *(row(f"Line {n} of the text.", 0, 30 + 14 * n, 200, 10 + n % 2) for n in range(4)),
    ]
    blocks = list(blocks_of(lines_of(in_order(found), 1)))
    assert [(block.kind, block.level) for block in blocks] == [("heading", 1), ("paragraph", 0)]
    assert blocks[1].text.count("Line") == 4
