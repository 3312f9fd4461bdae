"""Images (PNG, JPEG, TIFF, WebP, the first frame of a GIF): the text in them, where the extra `ocr` is installed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bascule.core.errors import IngestError
from bascule.core.parsing import ParsedDocument, Parser, Recognised, Recogniser
from bascule.plugins.parsers.pdf.layout import in_order, lines_of
from bascule.plugins.parsers.pdf.lines import blocks_of


class ImageParser(msgspec.Struct, frozen=True):
    recogniser: Recogniser | None = None

    def parse(self, data: bytes, name: str) -> ParsedDocument:
        if not data.strip(b"\0 \t\r\n"):
            raise IngestError("The image is empty. Check the export that made it.", reason="empty")
        if self.recogniser is None:
            raise IngestError(
                "This is an image. Its text is read where the extra `ocr` is installed (pip install 'bascule[ocr]')"
                " and rag.ocr is on.",
                reason="unsupported",
            )
        from bascule.plugins.parsers._pictures import frames

        pages: list[Sequence[Recognised]] = []
        unread = 0
        for pixels in frames(data, self.recogniser.max_side):
            found = self.recogniser.read(pixels)
            unread += found is None
            pages.append(in_order(found or ()))
        lines = [line for number, page in enumerate(pages, 1) for line in lines_of(page, number)]
        if not lines:
            raise IngestError("No text was recognised in the image.", reason="empty")
        blocks = list(blocks_of(lines))
        if len(pages) == 1:
            blocks = [msgspec.structs.replace(block, page=None) for block in blocks]
        return ParsedDocument(
            title=next((block.text for block in blocks if block.kind == "heading"), ""),
            blocks=tuple(blocks),
            metadata={"recognised_pages": len(pages) - unread},
            removed={"unrecognised_pages": unread} if unread else {},
        )


def reading(recogniser: Recogniser) -> Parser:
    return ImageParser(recogniser)


parser: Parser = ImageParser()
