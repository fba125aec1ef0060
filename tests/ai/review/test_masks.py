"""A rejection that is taken back: whoever hid what its note named is sent the SR and the mask again, as objects of other names."""

from typing import Any

import highdicom as hd
import pytest
from pydicom import dcmread

from ai.delivery.selectors import overlay_series
from tests.ai.delivery.reports import finish, report_make
from tests.ai.delivery.test_masks import SEG, masked
from tests.ai.encoding.cases import judged
from tests.ai.review.reviewing import decide, person_of, stored
from tests.imaging.test_get import kept
from tests.imaging.test_query_peers import received, storescp

pytestmark = [pytest.mark.database, pytest.mark.peers]
SR, KOS = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.59"


def named(document: Any) -> set[str]:
    return {str(one.value) for one in document.iterall() if one.keyword == "ReferencedSOPInstanceUID"}


def mask_of(report: Any) -> str:
    [document], [region] = report.content["documents"], report.content["regions"]
    assert region["sop_uid"] == document["sop_uid"]
    return str(document["sop_uid"])


def test_a_mask_that_stands_again_is_a_new_object(mercy, node_at, tmp_path) -> None:
    """"after an undo, deliver the current version again as new objects (new SOP Instance UIDs)": the SEG with the SR, to the archive
    and to the node; the same mask, which a second note names as well; decisions that follow keep to the newest copy.
    """
    jane = person_of(mercy)
    with storescp(tmp_path / "got") as port:
        node_at(mercy, port, "RECV", results_as="sr")
        version = report_make(mercy, masked(mercy)[0])
        finish(mercy)
        first = mask_of(version)
        version = decide(mercy, version, "accept", jane)
        version = decide(mercy, version, "reject", jane, reason="false-positive")
        version = decide(mercy, version, "undo", jane)
        second = mask_of(version)
        assert (version.status, second != first) == ("final", True)
        version = decide(mercy, version, "undo", jane)  # the acceptance: what it was about had the first mask, which is hidden now
        assert (version.status, mask_of(version)) == ("preliminary", second)
        version = decide(mercy, version, "reject", jane, reason="poor-input")
        version = decide(mercy, version, "undo", jane)
        third = mask_of(version)
        assert mask_of(decide(mercy, version, "accept", jane)) == third
    masks = {str(one.SOPInstanceUID): one for one in stored(mercy, SEG)}
    assert list(masks) == [first, second, third]
    assert len({str(one.SeriesInstanceUID) for one in masks.values()}) == 3
    assert len({one.PixelData for one in masks.values()}) == 1
    judged(masks[second])
    notes = [named(one) & set(masks) for one in stored(mercy, KOS)]
    assert notes == [{first}, {first, second}]
    documents = stored(mercy, SR)
    assert [named(one) & set(masks) for one in documents] == [{first}, {first}, {second}, {second}, {third}, {third}]
    with mercy.scope():
        assert overlay_series(report=version) == str(masks[third].SeriesInstanceUID)
    paths = list((tmp_path / "got").iterdir())
    got = {str(ds.SOPInstanceUID) for ds in map(dcmread, paths) if ds.SOPClassUID == SEG}
    assert got == set(masks)
    ours, theirs = kept(mercy), received(tmp_path / "got")
    assert all(theirs[uid] == ours[uid] for uid in got)
    assert hd.seg.segread(next(path for path in paths if third in path.name)).SOPInstanceUID == third
