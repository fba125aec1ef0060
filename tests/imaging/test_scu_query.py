"""`node_query`: C-FIND at real archives, with a limit, a deadline and every character set."""

import time

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt

from imaging.scu.association import STUDY_FIND, NotPossibleError, NotReachedError
from imaging.scu.query import node_query
from tests.dicom_files import ct_slice, series_of
from tests.imaging.scu_peers import peer, scp
from tests.orthanc import dcmqrscp_run, store

pytestmark = [pytest.mark.database, pytest.mark.peers, pytest.mark.xdist_group("orthanc")]


def test_orthanc_is_asked_at_all_levels(mercy, node_at, orthanc) -> None:
    """"query a node": studies of a patient, series with their counts, images; names of other alphabets as they are."""
    slices = series_of(3, PatientID="Q1", PatientName="Ямада^Таро", SpecificCharacterSet="ISO_IR 144")
    orthanc.put([*slices, ct_slice(PatientID="Q2")])
    asked = peer(mercy, node_at(mercy, orthanc.port, "ORTHANC"))
    [study] = node_query(asked, PatientID="Q1").found
    assert (study["StudyInstanceUID"], study["PatientName"]) == (slices[0].StudyInstanceUID, "Ямада^Таро")
    assert study.number("NumberOfStudyRelatedInstances") == 3
    [series] = node_query(asked, level="SERIES", StudyInstanceUID=study["StudyInstanceUID"]).found
    assert series.number("NumberOfSeriesRelatedInstances") == 3
    images = node_query(
        asked, level="IMAGE", StudyInstanceUID=study["StudyInstanceUID"], SeriesInstanceUID=series["SeriesInstanceUID"]
    )
    assert {match["SOPInstanceUID"] for match in images.found} == {ds.SOPInstanceUID for ds in slices}
    assert len(node_query(asked, PatientName="ямада*").found) <= 1  # whether it folds case is Orthanc's business
    assert node_query(asked, PatientID="NOBODY").found == []


def test_dcmqrscp_is_asked_and_the_limit_holds(mercy, node_at, tmp_path) -> None:
    """"with ... limit": dcmtk's archive has five studies, three are wanted; the rest is cancelled."""
    with dcmqrscp_run(tmp_path / "archive") as port:
        store(port, "ARCHIVE", [ct_slice(StudyDescription=f"S{n}") for n in range(5)])
        asked = peer(mercy, node_at(mercy, port, "ARCHIVE"))
        matches = node_query(asked, limit=3)
        assert len(matches.found) == 3
        assert matches.is_cut
        assert not node_query(asked, limit=5).is_cut


def test_a_slow_node_meets_the_deadline(mercy, node_at) -> None:
    """"with ... deadline": a node that answers for ever is cancelled, one that says nothing is left."""
    def drip(event: evt.Event):
        while not event.is_cancelled:
            time.sleep(0.05)
            answer = Dataset()
            answer.QueryRetrieveLevel, answer.StudyInstanceUID = "STUDY", "1.2.3"
            yield 0xFF00, answer
        yield 0xFE00, None

    def silent(_: evt.Event):
        time.sleep(1.5)
        yield 0x0000, None

    with scp("DRIP", [STUDY_FIND], [(evt.EVT_C_FIND, drip)]) as port:
        before = time.monotonic()
        matches = node_query(peer(mercy, node_at(mercy, port, "DRIP")), seconds=0.5)
        assert time.monotonic() - before < 2
        assert matches.is_cut
        assert matches.found
    with (
        scp("SILENT", [STUDY_FIND], [(evt.EVT_C_FIND, silent)]) as port,
        pytest.raises(NotReachedError, match="did not answer in time"),
    ):
        node_query(peer(mercy, node_at(mercy, port, "SILENT")), seconds=0.3)


def test_refusals_have_words_and_bad_answers_are_dropped(mercy, node_at) -> None:
    """A status of the node in words; an answer whose UID is a path is no match; a value is cut."""
    def bad(_: evt.Event):
        for uid in ("../../etc", "1.2.4"):
            answer = Dataset()
            answer.StudyInstanceUID, answer.StudyDescription = uid, "x" * 5000
            yield 0xFF00, answer

    with scp("BAD", [STUDY_FIND], [(evt.EVT_C_FIND, bad)]) as port:
        [match] = node_query(peer(mercy, node_at(mercy, port, "BAD"))).found
    assert (match["StudyInstanceUID"], len(match["StudyDescription"])) == ("1.2.4", 512)
    with (
        scp("NO", [STUDY_FIND], [(evt.EVT_C_FIND, lambda _: iter([(0xA900, None)]))]) as port,
        pytest.raises(NotPossibleError, match="does not understand the query"),
    ):
        node_query(peer(mercy, node_at(mercy, port, "NO")))
    with scp("STORE", ["1.2.840.10008.1.1"], []) as port, pytest.raises(NotReachedError, match="no presentation context"):
        node_query(peer(mercy, node_at(mercy, port, "STORE")))
