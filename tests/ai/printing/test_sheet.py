"""The printed report: a tagged PDF, pages, and the same as HTML; hostile words stay words."""

import io
import re
import time
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.template.loader import render_to_string
from PIL import Image
from pypdf import PdfReader

from ai.findings import Algorithm, Document, Note, Region, Wording
from ai.printing.pdf import PrintingError, report_pages_png, report_pdf
from ai.printing.sheet import Head, ReportSheet, name_words, report_sheet
from ai.reading.schemes import SCT
from tests.ai.encoding.cases import LUNG, content_of, sources_make

SOURCES = sources_make()
HEAD = Head(
    hospital="Mercy Hospital", patient_name="DOE^Jane", patient_id="MRN-4711", birth_date="19600102", sex="F", accession_number="A1",
    study_date="20260301", study_description="CT Chest", status="preliminary", version=2,
    issued_at=datetime(2026, 3, 1, 6, 30, tzinfo=ZoneInfo("America/Chicago")),
)  # fmt: skip
HOSTILE = '#panic("x") *b* $x$ `r` @ref <script>alert(1)</script> {{ 7|add:7 }} {% now "Y" %} \\ " \' &amp; [/] #eval("1+1") \u202eevil'


def sheet_make(head: Head = HEAD, **content: Any) -> ReportSheet:
    return report_sheet(content=content_of(SOURCES, **content), head=head)


def words_of(pdf: bytes) -> str:
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    return re.sub(r"\s+", " ", text.replace("\u200b", ""))


def strings(value: Any) -> list[str]:
    """Every string of a sheet."""
    if isinstance(value, str):
        return [value]
    items = value if isinstance(value, tuple) else vars(value).values() if hasattr(value, "__dict__") else ()
    return [found for item in items for found in strings(item)]


class Words(HTMLParser):
    """What a browser would show."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.tags: list[str] = []

    def handle_data(self, data: str) -> None:
        self.shown.append(data)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)


def page_of(sheet: ReportSheet) -> Words:
    found = Words()
    found.feed(render_to_string("report/page.html", {"sheet": sheet}))
    return found


class TestOneTemplate:
    """ "One report template: page, print and tagged PDF"."""

    def test_pdf_and_page_say_the_same(self) -> None:
        """Every string of the sheet stands in both."""
        region = Region(sop_uid="1.2", segment_number=1, label="Left lung", category=LUNG, type=LUNG)
        document = Document(kind="PDF", sop_class_uid="1", sop_uid="1.3", series_uid="1.4", title="Vendor report")
        wording = Wording(text="Mild changes.", model="gpt-oss:120b")
        sheet = sheet_make(is_flagged=True, regions=(region,), documents=(document,), wording=wording, input_sha256="ab" * 32)
        pdf, page = words_of(report_pdf(sheet)), re.sub(r"\s+", " ", " ".join(page_of(sheet).shown))
        for text in strings(sheet):
            if text and text != "a4":
                assert text in pdf, text
                assert text in page, text

    def test_not_analysable(self) -> None:
        sheet = sheet_make(measurements=(), findings=(), not_analysable=Note(code="spacing", text="slices 6.0 mm apart, at most 2.5"))
        assert "slices 6.0 mm apart, at most 2.5" in words_of(report_pdf(sheet))
        assert "Measurements" not in words_of(report_pdf(sheet))

    def test_what_a_reader_must_see(self) -> None:
        said = words_of(report_pdf(sheet_make()))
        for text in ("AI-generated, preliminary, not a medical device", "Preliminary · Version 2", "Jane DOE", "MRN-4711", "5,373",
                     "Threshold Attenuation Coefficient -950 HU", "certainty 87.5 %", "“Suspected pneumothorax” as the vendor words it",
                     "Page 1 of 1", "SNOMED CT 27925004"):  # fmt: skip
            assert text in said, text

    def test_a_draft_is_labelled(self) -> None:
        sheet = sheet_make(wording=Wording(text="Mild changes.", model="gpt-oss:120b"))
        assert "Draft wording by gpt-oss:120b, not a finding Mild changes." in words_of(report_pdf(sheet))

    def test_a_decision_by_a_person(self) -> None:
        said = words_of(report_pdf(sheet_make(replace(HEAD, status="final", decided_by="Dr Rhea Ray"))))
        assert "Final · Version 2" in said
        assert "Decided by Dr Rhea Ray" in said
        assert "preliminary" not in said

    def test_a_stand_in_never_bears_a_vendors_name(self) -> None:
        made_by = Algorithm(name="ich", version="1", manufacturer="Aidoc")
        sheet = sheet_make(is_test_double=True, platform="Aidoc", algorithm=made_by)
        assert not [text for text in strings(sheet) if "Aidoc" in text]
        assert "MedHub Quantify (test double)" in words_of(report_pdf(sheet))

    def test_several_pages_say_whose_they_are(self) -> None:
        many = content_of(SOURCES).findings * 12
        pages = PdfReader(io.BytesIO(report_pdf(sheet_make(findings=many)))).pages
        assert len(pages) > 2
        for number, page in enumerate(pages, 1):
            assert f"Page {number} of {len(pages)}" in page.extract_text()
            assert "MRN-4711" in page.extract_text()


class TestTaggedPdf:
    def test_tags_language_title_and_fonts(self) -> None:
        """ "tagged PDF": PDF/UA-1, every font embedded."""
        reader = PdfReader(io.BytesIO(report_pdf(sheet_make())))
        root = reader.trailer["/Root"]
        assert root["/MarkInfo"]["/Marked"]
        assert root["/Lang"] == "en"
        assert root["/ViewerPreferences"]["/DisplayDocTitle"]
        assert reader.metadata is not None
        assert reader.metadata.title == "AI result: lung-density-mask"
        assert b"pdfuaid:part>1<" in root["/Metadata"].get_data().replace(b'pdfuaid:part="1"', b"pdfuaid:part>1<")
        kinds = set(tags(root["/StructTreeRoot"]))
        assert {"/Document", "/H1", "/H2", "/Table", "/TH", "/TD", "/P"} <= kinds
        fonts = [font.get_object() for page in reader.pages for font in page["/Resources"]["/Font"].values()]
        assert fonts
        for font in fonts:
            descriptor = font["/DescendantFonts"][0]["/FontDescriptor"]
            assert {"/FontFile2", "/FontFile3"} & set(descriptor)

    def test_the_same_bytes_in_half_a_second(self) -> None:
        sheet = sheet_make()
        report_pdf(sheet)
        began = time.perf_counter()
        once = report_pdf(sheet)
        assert time.perf_counter() - began < 0.5
        assert report_pdf(sheet) == once

    def test_paper(self) -> None:
        for paper, width in (("a4", 595), ("us-letter", 612), ("/etc/passwd", 595)):
            box = PdfReader(io.BytesIO(report_pdf(sheet_make(replace(HEAD, paper=paper))))).pages[0].mediabox
            assert round(box.width) == width

    def test_pages_as_pictures(self) -> None:
        (page,) = report_pages_png(sheet_make())
        picture = Image.open(io.BytesIO(page))
        assert picture.size == (909, 1286)
        assert len(picture.convert("L").getcolors(256) or ()) > 10  # something is written on it

    def test_no_end_of_pages(self) -> None:
        with pytest.raises(PrintingError, match="too many pages"):
            report_pages_png(sheet_make(findings=content_of(SOURCES).findings * 200))


def tags(node: Any) -> list[str]:
    """The structure types below a node of the structure tree."""
    node = node.get_object()
    if isinstance(node, list):
        return [found for item in node for found in tags(item)]
    if not hasattr(node, "get"):
        return []
    own = [str(node["/S"])] if "/S" in node else []
    return own + (tags(node["/K"]) if "/K" in node else [])


class TestHostileWords:
    """ "hostile text (typst markup in names, HTML) must be inert"."""

    def test_markup_is_text(self) -> None:
        head = replace(HEAD, patient_name=HOSTILE, hospital=HOSTILE, study_description=HOSTILE, title=HOSTILE)
        sheet = sheet_make(head, notes=(Note(code="x", text=HOSTILE),), wording=Wording(text=HOSTILE, model=HOSTILE))
        said, page = words_of(report_pdf(sheet)), page_of(sheet)
        for text in ('#panic("x") *b* $x$ `r` @ref <script>alert(1)</script>', '{% now "Y" %}', '#eval("1+1")'):
            assert text in said
            assert text in " ".join(page.shown)
        assert "script" not in page.tags
        assert "\u202e" not in said + " ".join(page.shown)

    @pytest.mark.parametrize(
        "name", ["Yamada^Tarou=山田^太郎=やまだ^たろう", "Hong^Gildong=洪^吉洞=홍^길동", "Wang^XiaoDong=王^小东", "قباني^لنزار",
                 "שרון^דבורה", "Люкceмбypг", "Διονυσιος", "x" * 300, "", "\x00\x1b[2J", "^^^^="],
    )  # fmt: skip
    def test_names_of_the_world(self, name: str) -> None:
        """Right-to-left and CJK names are shown, in a PDF that still is PDF/UA-1."""
        pdf = report_pdf(sheet_make(replace(HEAD, patient_name=name)))
        assert b"pdfuaid" in PdfReader(io.BytesIO(pdf)).trailer["/Root"]["/Metadata"].get_data()
        assert report_pages_png(sheet_make(replace(HEAD, patient_name=name)))

    def test_a_sign_that_no_font_has(self) -> None:
        pdf = report_pdf(sheet_make(replace(HEAD, patient_name="😀^ไทย")))
        root = PdfReader(io.BytesIO(pdf)).trailer["/Root"]
        assert root["/MarkInfo"]["/Marked"]
        assert "MRN-4711" in words_of(pdf)


@pytest.mark.parametrize(
    ("person_name", "words"),
    [("Doe^Jane^Q^Dr^Jr", "Dr Jane Q Doe Jr"), ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Tarou Yamada (山田 太郎, やまだ たろう)"),
     ("=山田^太郎", "山田 太郎"), ("", ""), ("^", "")],
)  # fmt: skip
def test_names_every_way_they_are_written(person_name: str, words: str) -> None:
    assert name_words(person_name) == words


def test_a_title_holds_no_patient() -> None:
    html = render_to_string("report/page.html", {"sheet": sheet_make()})
    assert "<title>AI result</title>" in html
    assert SCT not in html
