""""SEG where there is a mask": it lies in our archive since its result was taken, the SR points at it, whoever gets the SR gets it too."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from django.utils import timezone
from pydicom import dcmread
from pynetdicom import evt

from ai.encoding.edition import Edition
from ai.encoding.seg import Segment, regions_of, seg_encode
from ai.encoding.stamp import bytes_of
from ai.findings import Coding, Document, ReportContent
from ai.models import Report
from ai.reading.schemes import SCT
from imaging.inbox import object_write
from tests import house
from tests.ai.delivery.reports import deliveries, finish, report_make, sources_take, step
from tests.ai.delivery.test_deliveries import PDF, SR, archived
from tests.ai.encoding.cases import EDITION, LUNG, content_of, judged
from tests.imaging.scu_peers import scp
from tests.imaging.test_get import kept
from tests.imaging.test_query_peers import received, storescp

pytestmark = [pytest.mark.peers]

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
ANATOMY = Coding(system=SCT, code="91723000", display="Anatomical Structure")
SEGMENTS = (Segment(label="Lung", category=ANATOMY, type=LUNG),)


def masked(hospital: Any, *, is_filed: bool = True) -> tuple[ReportContent, Any]:
    """What a report with a mask says, over stored images; its SEG in the archive, as the gate writes it."""
    sources = sources_take(hospital)
    edition: Edition = EDITION
    mask = np.zeros((len(sources), 16, 16), np.uint8)
    mask[1:4, 3:9, 2:14] = 1
    content = content_of(sources, findings=())
    ds = seg_encode(mask=mask, segments=SEGMENTS, sources=sources, content=content, edition=edition)
    document = Document(
        kind="SEG", sop_class_uid=SEG, sop_uid=edition.sop_uid("SEG"), series_uid=edition.series_uid("SEG"), title="Segmentation"
    )
    said = replace(content, regions=regions_of(segments=SEGMENTS, edition=edition), documents=(document,))
    if is_filed:
        file(hospital, ds)
    return said, ds


def file(hospital: Any, ds: Any) -> None:
    object_write(tenant_id=hospital.tenant.id, source=0, trace_id="0" * 32, parts=[bytes_of(ds)])
    house.index(hospital)


def test_the_sr_points_at_its_mask_and_the_archive_has_both(mercy) -> None:
    """The mask is not filed again; SR and SEG are judged, and read back together."""
    content, ds = masked(mercy)
    report_make(mercy, content)
    finish(mercy)
    [row] = deliveries(mercy)
    assert (row.state, row.words) == ("sent", "2 objects taken")
    [sr], [seg] = archived(mercy, SR), archived(mercy, SEG)
    judged(sr)
    judged(seg)
    assert (len(archived(mercy, PDF)), str(seg.SOPInstanceUID)) == (1, str(ds.SOPInstanceUID))
    report = hd.sr.srread(_path(mercy, SR))
    [group] = report.content.get_volumetric_roi_measurement_groups()
    segment = group.reference_type
    assert segment == hd.sr.CodedConcept("121191", "DCM", "Referenced Segment")
    named = {str(one.value) for one in sr.iterall() if one.keyword == "ReferencedSOPInstanceUID"}
    assert str(seg.SOPInstanceUID) in named


def _path(hospital: Any, sop_class: str) -> str:
    from imaging.models import Instance
    from imaging.storage import object_path

    with hospital.scope():
        return str(object_path(Instance.objects.filter(sop_class_uid=sop_class).values_list("key", flat=True)[0]))


@pytest.mark.parametrize(("results_as", "classes"), [("sr", {SR, SEG}), ("sr+pdf", {SR, SEG, PDF}), ("pdf", {PDF})])
def test_who_gets_the_sr_gets_the_mask(mercy, node_at, tmp_path, results_as, classes) -> None:
    """"stored in the archive & delivered with the report": byte for byte what the archive has."""
    with storescp(tmp_path / "got") as port:
        node_at(mercy, port, "RECV", results_as=results_as)
        report_make(mercy, masked(mercy)[0])
        finish(mercy)
    found, ours = received(tmp_path / "got"), kept(mercy)
    got = [dcmread(path) for path in (tmp_path / "got").iterdir()]
    assert {ds.SOPClassUID for ds in got} == classes
    assert all(found[ds.SOPInstanceUID] == ours[ds.SOPInstanceUID] for ds in got)


def test_a_node_that_takes_no_masks_gets_the_rest(mercy, node_at) -> None:
    """It has the report; what it did not take is said, and nothing is sent for ever."""
    got: list[str] = []
    with scp("RECV", [SR], [(evt.EVT_C_STORE, lambda event: got.append(event.request.AffectedSOPClassUID) or 0)]) as port:
        node_at(mercy, port, "RECV", results_as="sr")
        report_make(mercy, masked(mercy)[0])
        finish(mercy)
    [row] = deliveries(mercy, kind="pacs_dimse")
    assert row.state == "sent"
    assert row.words.startswith("1 object taken; no SEG: ")
    assert got == [SR]


def test_a_node_that_refuses_the_sr_has_nothing(mercy, node_at) -> None:
    """Negative: the mask alone is no report."""
    with scp("RECV", [SR, SEG], [(evt.EVT_C_STORE, lambda event: 0xA700 if event.request.AffectedSOPClassUID == SR else 0)]) as port:
        node_at(mercy, port, "RECV", results_as="sr")
        report_make(mercy, masked(mercy)[0])
        step(mercy)
    [row] = deliveries(mercy, kind="pacs_dimse")
    assert (row.state, row.words) == ("pending", "the node answered with status A700")


def test_a_mask_on_its_way_into_the_archive_is_waited_for(mercy, node_at, tmp_path) -> None:
    """The inbox has it and the index worker not yet: the node's delivery comes again; our own archive's does not wait."""
    with storescp(tmp_path / "got") as port:
        node_at(mercy, port, "RECV", results_as="sr")
        content, ds = masked(mercy, is_filed=False)
        report_make(mercy, content)
        step(mercy)
        assert {row.kind: (row.state, row.words) for row in deliveries(mercy)} == {
            "archive": ("sent", "2 objects taken"), "pacs_dimse": ("pending", "the mask is not in the archive yet"),
        }  # fmt: skip
        file(mercy, ds)
        step(mercy, is_waited=True)
    assert [row.words for row in deliveries(mercy, kind="pacs_dimse")] == ["2 objects taken"]


def test_a_mask_that_never_comes_holds_nothing_up(mercy, node_at, tmp_path) -> None:
    """Put aside, or deleted since: after a minute the report goes without it and says so."""
    with storescp(tmp_path / "got") as port:
        node_at(mercy, port, "RECV", results_as="sr")
        report_make(mercy, masked(mercy, is_filed=False)[0])
        with mercy.scope():
            Report.objects.update(issued_at=timezone.now() - timedelta(minutes=2))
        step(mercy)
    assert [row.words for row in deliveries(mercy, kind="pacs_dimse")] == ["1 object taken; no SEG: 1 not in the archive"]


def test_another_hospitals_mask_is_not_taken(mercy, olaf, node_at, tmp_path) -> None:
    """"tenant walls": the same UIDs in another hospital's archive are nobody's business here."""
    content, ds = masked(olaf)
    with storescp(tmp_path / "got") as port:
        node_at(mercy, port, "RECV", results_as="sr")
        own, _ = masked(mercy, is_filed=False)
        report_make(mercy, own)
        with mercy.scope():
            Report.objects.update(issued_at=timezone.now() - timedelta(minutes=2))
        step(mercy)
    assert [dcmread(path).SOPClassUID for path in (tmp_path / "got").iterdir()] == [SR]
    assert ds.SOPInstanceUID == content.documents[0].sop_uid == own.documents[0].sop_uid
