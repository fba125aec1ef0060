"""Metadata documents made before anybody asks (DESIGN section 8)."""

import json

import pytest
from django.conf import settings

from imaging.deletion import instances_delete
from imaging.dicomweb.ahead import QUIET_SECONDS, WORTHWHILE, Ahead, SeriesKey, series_document_make, series_worthwhile
from imaging.inbox import inbox_objects
from imaging.index import Grown, batch_index
from journal.audit import Actor
from tests import house
from tests.dicom_files import series_of
from tests.imaging.test_wado import content, get

pytestmark = pytest.mark.database


def grown_by(hospital, datasets) -> Grown:
    grown: Grown = set()
    house.store(hospital, datasets)
    for objects in inbox_objects(limit=1000):
        if objects[0].tenant_id == hospital.tenant.id:
            batch_index(tenant_id=hospital.tenant.id, objects=objects, grown=grown)
    return grown


def documents(hospital) -> list:
    return sorted((settings.MEDHUB_OBJECTS / f"t/{hospital.tenant.id}/meta").rglob("*.json.gz"))


def test_a_series_that_came_to_rest_has_its_document(client, mercy, olaf) -> None:
    """"DICOM JSON is rendered once, after the acknowledgement, in the index worker, and served as stored": the door makes none."""
    slices = series_of(WORTHWHILE + 1)
    (one,) = grown_by(mercy, slices[:-1])
    calls = []
    assert series_document_make(SeriesKey(*one), between=lambda: calls.append(1))
    assert len(calls) == WORTHWHILE
    (made,) = documents(mercy)
    at = made.stat().st_mtime_ns
    url = f"studies/{slices[0].StudyInstanceUID}/series/{slices[0].SeriesInstanceUID}/metadata"
    whole = json.loads(content(get(client, mercy, url)))
    assert [found["00080018"]["Value"][0] for found in whole] == [ds.SOPInstanceUID for ds in slices[:-1]]
    assert [path.stat().st_mtime_ns for path in documents(mercy)] == [at]
    assert not documents(olaf)
    assert not series_document_make(SeriesKey(olaf.tenant.id, *one[1:]), between=lambda: None)
    # a late image: another document takes its place
    (again,) = grown_by(mercy, slices[-1:])
    assert again == one
    assert series_document_make(SeriesKey(*again), between=lambda: None)
    (later,) = documents(mercy)
    assert later != made


def test_few_instances_wait_until_they_are_asked_for(mercy, olaf) -> None:
    """A document for each of thousands of small series would cost more than it saves."""
    (one,) = grown_by(mercy, series_of(WORTHWHILE - 1))
    assert not series_worthwhile([SeriesKey(*one)])
    (grown,) = grown_by(mercy, series_of(WORTHWHILE))
    strangers = [SeriesKey(olaf.tenant.id, *grown[1:]), SeriesKey(*grown), SeriesKey(*one)]
    assert series_worthwhile(strangers) == [SeriesKey(*grown)]
    assert not documents(mercy)


def test_what_comes_in_goes_first(mercy) -> None:
    """Whatever stops the making leaves no half document, and what was received is not held up."""

    def stop() -> None:
        raise InterruptedError

    (one,) = grown_by(mercy, series_of(WORTHWHILE))
    assert not series_document_make(SeriesKey(*one), between=stop)
    assert not list((settings.MEDHUB_OBJECTS / f"t/{mercy.tenant.id}/meta").rglob("*.*"))


def test_what_is_deleted_meanwhile_leaves_no_copy(mercy) -> None:
    """"delete with the rights for it": a document that is being made while its study goes is not left on the disk."""
    slices = series_of(WORTHWHILE)
    (one,) = grown_by(mercy, slices)
    calls = []

    def delete() -> None:
        calls.append(1)
        if len(calls) == WORTHWHILE:
            with mercy.scope():
                instances_delete(actor=Actor(name="token:1"), study_uid=slices[0].StudyInstanceUID)

    series_document_make(SeriesKey(*one), between=delete)
    assert len(calls) == WORTHWHILE
    assert not documents(mercy)


def test_a_series_waits_until_it_is_quiet() -> None:
    """Each new instance starts the moment anew; the oldest comes first."""
    ahead = Ahead()
    first, second = (1, "1.2", "1.2.1"), (1, "1.3", "1.3.1")
    ahead.note([first, second], now=0)
    ahead.note([first], now=2)
    assert not ahead.due(now=QUIET_SECONDS - 0.1)
    assert ahead.due(now=QUIET_SECONDS) == [second]
    assert not ahead.due(now=QUIET_SECONDS)
    ahead.note([second], now=4)
    assert ahead.due(now=100) == [first, second]
    assert not ahead.due(now=100)
