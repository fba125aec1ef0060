"""What AI outlined, over the images in OHIF: our masks and our structured reports, opened from the report's panel."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from ai.encoding.edition import Edition
from ai.encoding.seg import Segment, seg_encode
from ai.encoding.stamp import bytes_of
from ai.findings import Coding, Document, ImageRef, Measurement, Outline
from ai.models import Report
from ai.reading.schemes import SCT
from imaging.inbox import object_write
from imaging.models import Instance
from imaging.storage import object_path
from tests import house
from tests.ai.delivery.reports import finish, report_make
from tests.ai.encoding.cases import EDITION, LUNG, content_of
from tests.browser.conftest import Visitor
from tests.browser.test_viewer import SIDE, ct_take, viewer_context, viewer_visitor
from tests.conftest import Hospital

__all__ = ["viewer_context", "viewer_visitor"]
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

STRUCTURE = Coding(system=SCT, code="123037004", display="Anatomical Structure")
SPAN = Measurement(
    code=Coding(system=SCT, code="81827009", display="Diameter"), value=40.0, unit="mm", unit_display="mm", body_site=LUNG, method=""
)


def report_with(mercy: Hospital, *, has_mask: bool) -> Report:
    """A CT with a report that has a mask over every slice, or a line on its middle one."""
    study = ct_take(mercy)
    with mercy.scope():
        keys = list(Instance.objects.filter(study=study).order_by("number").values_list("key", flat=True))
    sources = [dcmread(object_path(key)) for key in keys]
    shape = Outline(image=ImageRef(sop_uid=str(sources[2].SOPInstanceUID)), graphic="POLYLINE", points=((20.0, 60.0), (100.0, 60.0)))
    content = content_of(sources, findings=(), measurements=(SPAN if has_mask else replace(SPAN, outlines=(shape,)),))
    if has_mask:
        mask = np.zeros((len(sources), SIDE, SIDE), dtype=np.uint8)
        mask[:, 40:90, 40:90] = 1
        edition: Edition = replace(EDITION, report_uuid=study.uuid)
        segment = Segment(label="Lung", category=STRUCTURE, type=LUNG)
        made = seg_encode(mask=mask, segments=[segment], sources=sources, content=content, edition=edition)
        object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[bytes_of(made)])
        house.index(mercy)
        document = Document(
            kind="SEG", sop_class_uid=str(made.SOPClassUID), sop_uid=str(made.SOPInstanceUID), title="Mask",
            series_uid=str(made.SeriesInstanceUID),
        )  # fmt: skip
        content = replace(content, documents=(document,))
    report = report_make(mercy, content)
    finish(mercy)
    house.index(mercy)
    return report


def coloured(visitor: Visitor) -> np.ndarray:
    """Which pixels of the viewport are no shade of gray."""
    canvas = visitor.page.locator("canvas.cornerstone-canvas").first
    canvas.wait_for()
    seen = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)
    found: np.ndarray = seen.max(axis=2) - seen.min(axis=2) > 40
    return found


def opened(visitor: Visitor, mercy: Hospital, report: Report) -> Any:
    visitor.open(f"/t/{mercy.slug}/studies/{report.study.uuid}")
    visitor.page.locator("[data-overlay]").click()
    return visitor.page


@pytest.mark.parametrize("has_mask", [True, False], ids=["SEG", "SR"])
def test_the_overlay_is_seen_over_the_images(viewer_visitor: Visitor, mercy: Hospital, has_mask: bool) -> None:
    """"overlay in the viewer (SEG, SR)": one click from the panel, drawn by OHIF from our DICOMweb over the images it belongs to."""
    report = report_with(mercy, has_mask=has_mask)
    visitor = viewer_visitor.sign_in(mercy)
    page = opened(visitor, mercy, report)
    least = 0.08 if has_mask else 0.0005  # of the viewport: the square, or the dashed line and its words
    for _ in range(60):
        page.wait_for_timeout(500)
        if page.locator("canvas.cornerstone-canvas").count() and coloured(visitor).mean() > least:
            break
    assert coloured(visitor).mean() > least, visitor.complaints
    assert not [one for one in visitor.complaints if "EvalError" in one], "the page's policy holds"
    assert "DOE" not in page.title()
