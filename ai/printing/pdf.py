"""The sheet as a tagged PDF, and its pages as PNG for secondary capture. Called when a report is filed, shown or delivered."""

import json
import re
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import typst

from ai.printing.sheet import ReportSheet

TEMPLATE = Path(__file__).with_name("sheet.typ")
# Latin, Greek, Cyrillic; Hebrew; Arabic; Chinese, Japanese, Korean. The machine's own fonts are not asked: same sheet, same bytes.
FONTS = ("fontpkg_noto_sans", "fontpkg_arimo", "fontpkg_noto_sans_arabic", "cvttf_NotoSansCJK_Regular")
PNG_DPI = 110
MAX_PAGES = 40
ENDLESS = re.compile(r"[^\s\"\\]{40}")  # inside a JSON string, never across an escape


class PrintingError(ValueError):
    """The sheet cannot be printed; the words hold nothing of it."""


def report_pdf(sheet: ReportSheet) -> bytes:
    """PDF/UA-1 (ISO 14289-1): tags, language and title in it, all fonts embedded. The same sheet gives the same bytes.

    A sign that none of our fonts has (an emoji, a script outside the list above) makes it a tagged PDF that claims no standard.
    """
    try:
        return _compiled(sheet, is_ua=True)
    except typst.TypstError as error:
        if "could not be displayed" not in str(error):
            raise PrintingError("the report cannot be printed") from None
    return _compiled(sheet, is_ua=False)


def report_pages_png(sheet: ReportSheet) -> list[bytes]:
    """Each page as RGB PNG. Raises PrintingError past MAX_PAGES."""
    found: bytes | list[bytes] = typst.compile(
        str(TEMPLATE), root=str(TEMPLATE.parent), format="png", ppi=PNG_DPI, sys_inputs=_inputs(sheet), font_paths=_fonts()
    )
    pages = found if isinstance(found, list) else [found]
    if len(pages) > MAX_PAGES:
        raise PrintingError("the report has too many pages")
    return pages


def _compiled(sheet: ReportSheet, *, is_ua: bool) -> bytes:
    return typst.compile(
        str(TEMPLATE), root=str(TEMPLATE.parent), sys_inputs=_inputs(sheet), font_paths=_fonts(), pdf_standards="ua-1" if is_ua else None
    )


def _inputs(sheet: ReportSheet) -> dict[str, str]:
    """As data: nothing of a name can become markup. A word longer than a line may break anywhere."""
    return {"sheet": ENDLESS.sub("\\g<0>\\\\u200b", json.dumps(asdict(sheet)))}


@cache
def _fonts() -> typst.Fonts:
    """The fonts of the wheels and no others. Raises PrintingError when one is not installed."""
    found = []
    for name in FONTS:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise PrintingError(f"the font of {name} is not installed")
        found.append(str(Path(spec.origin).parent))
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=found)
