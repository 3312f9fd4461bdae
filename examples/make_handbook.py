"""Writes the Word and PDF papers of examples/handbook again: `python examples/make_handbook.py`.

Their text lives here; the files are committed, so that nobody has to run this to try Bascule.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from textwrap import wrap

import docx

FOLDER = Path(__file__).parent / "handbook"
WRITTEN_AT = datetime.datetime(2025, 1, 15, 9, 0, tzinfo=datetime.UTC)

SALARY_BANDS = """
# Salary bands
These bands hold from 1 January 2025. They are confidential to the people team and to the managers it names. Amounts are gross
euros per year for a full-time week of 38 hours; part-time pay is the matching share.
## How a band is used
A new colleague starts in the lower half of the band unless the managing director agrees otherwise in writing. Each April the
people team reviews every salary. A raise within a band needs the team lead and the people team; a move to another band
also needs the managing director.
## The bands
| Role | Lowest | Middle | Highest |
| Apprentice | 13,200 | 14,400 | 16,000 |
| Shop assistant | 27,500 | 30,000 | 33,500 |
| Mechanic | 31,000 | 35,500 | 40,000 |
| Senior mechanic | 38,000 | 43,000 | 48,500 |
| Shop manager | 46,000 | 52,000 | 59,000 |
| Buyer | 44,000 | 50,500 | 57,000 |
| Head of department | 61,000 | 70,000 | 82,000 |
## Extra pay
Work on a Saturday earns 3 euros an hour more, work on a Sunday opening 8 euros an hour more. A senior mechanic who trains an
apprentice receives 150 euros a month. Every colleague receives a bonus of up to 4 percent of the yearly salary when the
company reaches its profit goal; in 2024 it paid 2.5 percent.
## What we publish
Job advertisements name the lowest and the middle of a band, never the highest. Nobody's salary is told to a colleague.
"""

PARENTAL_LEAVE = """
# Parental leave: guide for the people team
This guide tells the people team how to handle parental leave. Managers receive the short version for their team. It goes
beyond the law where the law leaves room.
## Who may take it
Every colleague who becomes a parent by birth or adoption may take parental leave of up to 36 months per child. It is asked for in
writing 7 weeks before it begins. No reason is needed and the request cannot be refused.
## Pay
Fernhill Bicycles adds 20 percent of the last net salary to the state's parental allowance during the first 6 months. The addition
is paid to both parents when both work for us, one after the other. Colleagues in their first 12 months with the company receive
half of it.
## Covering the work
The people team agrees on a replacement with the team lead no later than 4 weeks before the leave. Budget code PL-20 pays for the
overlap of up to 10 working days. A replacement's contract ends no earlier than 2 weeks after the planned return.
## Coming back
The colleague returns to the same role and the same band. During the first year after the return, working hours may be reduced to
15 hours a week or more. A talk takes place 8 weeks before the return; its record stays in the personnel file for three years.
## Confidentiality
A pregnancy is known to the people team and the team lead only, until the colleague says otherwise.
"""

QUARTERLY_FIGURES = [
    """
# Quarterly figures, third quarter of 2025
For the finance team and the managing director. Unaudited.
## Revenue
Revenue in the third quarter was 2.84 million euros, 6.1 percent more than in the same quarter of the year before. The four shops
contributed 1.71 million euros, the online shop 0.92 million euros and the workshops 0.21 million euros. Electric bicycles made up
44 percent of bicycle revenue, after 38 percent a year earlier. The Mill Street shop grew most, by 11 percent; the Harbour Road
shop shrank by 3 percent because of the road works in July and August.
## Costs and profit
Gross margin was 34.2 percent, 0.8 points less than a year before, because the carbon surcharge of Norwell Frames could not be
passed on in full. Wages rose to 612,000 euros after the April review. Operating profit was 187,000 euros, or 6.6 percent of
revenue. The goal for the year is 7 percent.
""",
    """
## Stock and cash
Stock stood at 1.46 million euros on 30 September, which is 94 days of sales. The goal is 80 days. Children's bicycles of the last
model year, worth 73,000 euros, will be marked down by 25 percent in November. Cash in hand was 418,000 euros. The credit line of
500,000 euros at Fernhill Savings Bank was not used.
## Outlook
For the fourth quarter we expect revenue between 2.1 and 2.3 million euros. Two risks remain: the price of batteries, which Larkspur
Cargo wants to raise by 9 percent from January, and the lease of the Harbour Road shop, which ends on 31 March. The landlord asks
for 18 percent more. The board decides in December whether the shop moves.
""",
]


def write_docx(path: Path, text: str) -> None:
    """Headings, paragraphs and tables from the little markup above."""
    document = docx.Document()
    rows: list[list[str]] = []
    paragraph: list[str] = []

    def end_paragraph() -> None:
        if paragraph:
            document.add_paragraph(" ".join(paragraph))
            paragraph.clear()

    def end_table() -> None:
        if rows:
            table = document.add_table(rows=0, cols=len(rows[0]), style="Table Grid")
            for cells in rows:
                for cell, value in zip(table.add_row().cells, cells, strict=True):
                    cell.text = value
            rows.clear()

    for line in text.strip().splitlines():
        if line.startswith("|"):
            end_paragraph()
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        end_table()
        if line.startswith("#"):
            end_paragraph()
            marks, _, title = line.partition(" ")
            document.add_heading(title, level=len(marks))
        else:
            paragraph.append(line)
    end_paragraph()
    end_table()
    properties = document.core_properties
    properties.title = text.strip().splitlines()[0].lstrip("# ")
    properties.author = "Fernhill Bicycles"
    properties.created = properties.modified = WRITTEN_AT
    document.save(str(path))


def write_pdf(path: Path, title: str, pages: list[str]) -> None:
    """A plain text PDF (ISO 32000-1, section 7.5), Helvetica, one content stream a page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>")
    kids = []
    for text in pages:
        stream = _page(text)
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>" % len(objects)
        )
        kids.append(len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    objects.append(b"<< /Title (%s) /Author (Fernhill Bicycles) >>" % _escape(title))
    body, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    start = len(body)
    body += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    path.write_bytes(bytes(body) + table + trailer % (len(objects) + 1, len(objects), start))


def _page(text: str) -> bytes:
    lines: list[tuple[str, int, int]] = []  # text, font size, space above
    paragraph: list[str] = []

    def flush() -> None:
        wrapped = wrap(" ".join(paragraph), 88)
        lines.extend((line, 11, 15 if at else 20) for at, line in enumerate(wrapped))
        paragraph.clear()

    for line in text.strip().splitlines():
        if line.startswith("#"):
            flush()
            marks, _, title = line.partition(" ")
            lines.append((title, 18 if len(marks) == 1 else 14, 32))
        else:
            paragraph.append(line)
    flush()
    out, y = [], 800
    for line, size, above in lines:
        y -= above
        font = b"F1" if size == 11 else b"F2"
        out.append(b"BT /%s %d Tf 60 %d Td (%s) Tj ET" % (font, size, y, _escape(line)))
    return b"\n".join(out)


def _escape(text: str) -> bytes:
    return text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


if __name__ == "__main__":
    write_docx(FOLDER / "hr" / "salary-bands.docx", SALARY_BANDS)
    write_docx(FOLDER / "hr" / "parental-leave.docx", PARENTAL_LEAVE)
    write_pdf(FOLDER / "finance" / "quarterly-figures.pdf", "Quarterly figures", QUARTERLY_FIGURES)
