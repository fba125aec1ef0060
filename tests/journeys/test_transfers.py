"""Transfers in the whole house: Celery workers, beat, index worker and listener as processes, dcmtk's archive at the other end."""

import os
import signal
from typing import Any

import pytest
from pydicom.uid import generate_uid

from ai.models import Decision
from imaging.models import Instance, Study, Transfer
from imaging.nodes import node_add
from tests.dicom_files import part10, series_of
from tests.imaging.scu_peers import begin, row
from tests.journeys.conftest import RunningHouse
from tests.orthanc import dcmqrscp_run, store

pytestmark = [pytest.mark.stack, pytest.mark.database, pytest.mark.peers, pytest.mark.broker, pytest.mark.xdist_group("stack")]


def node_of(house: RunningHouse, hospital: Any, **facts: Any) -> Any:
    with hospital.scope():
        return node_add(ae_title="ARCHIVE", host="127.0.0.1", port=house.archive_port, services=["store"], **facts)


def test_a_migration_survives_the_death_of_its_worker(house, mercy, tmp_path) -> None:
    """"Runs in Celery", "resume after kill -9": its worker is killed in the middle, every study is here exactly once."""
    studies = [series_of(3, StudyDate=f"202001{day:02}", PatientID=f"M{day}") for day in range(1, 9)]
    movers = {mercy.called_ae: house.stack.ports.dimse}
    with dcmqrscp_run(tmp_path / "a", movers=movers, port=house.archive_port) as port:
        store(port, "ARCHIVE", [ds for study in studies for ds in study])
        query = {"from": "20200101", "to": "20200131", "modalities": []}
        transfer = begin(mercy, node_of(house, mercy), "migrate", query=query)
        house.wait(lambda: row(mercy, transfer).completed, "the first study of the migration")
        os.kill(house.stack.pids()["transfers"], signal.SIGKILL)
        house.wait(lambda: row(mercy, transfer).due_at is None, "the end of the migration")
    done = row(mercy, transfer)
    assert (done.state, done.studies_done, done.completed, done.last_error) == ("done", 8, 24, "")
    with mercy.scope():
        assert Study.objects.count() == 8
        assert Instance.objects.count() == 24


def test_priors_of_a_new_study_come_by_themselves(house, joined, tmp_path) -> None:
    """"Priors ...: on study completion": a C-STORE of today's study is all that happens from outside."""
    who = {"PatientID": f"W{generate_uid()[-8:]}", "PatientName": "DOE^JANE"}
    old, today = series_of(2, StudyDate="20250101", **who), series_of(2, StudyDate="20260301", **who)
    for n, ds in enumerate(today):
        (tmp_path / f"{n}.dcm").write_bytes(part10(ds))
    movers = {joined.called_ae: house.stack.ports.dimse}
    with dcmqrscp_run(tmp_path / "a", movers=movers, port=house.archive_port) as port:
        store(port, "ARCHIVE", old)
        node_of(house, joined, is_asked_for_priors=True)
        sent = tmp_path / "sent"
        sent.mkdir()
        for n in range(2):
            (tmp_path / f"{n}.dcm").rename(sent / f"{n}.dcm")
        assert house.send(joined, sent) == 0

        def reasons() -> dict[str, str]:
            with joined.scope():
                return {d.study.study_date: d.summary for d in Decision.objects.select_related("study")}

        house.wait(lambda: "20250101" in reasons(), "the prior")
        assert reasons()["20250101"] == "a prior: pulled for comparison"
    with joined.scope():
        assert [t.kind for t in Transfer.objects.all()] == ["priors"]
