"""A hospital that pushes its reports to an EHR in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from fhirapi.models import EhrPush, EhrServer
from fhirapi.projections import diagnostic_report_project, imaging_study_project
from fhirapi.push import servers
from fhirapi.push.run import push_step
from fhirapi.push.servers import ehr_server_save
from journal.audit import Actor
from medhub.stack import _die_with_parent
from tests.conftest import Hospital
from tests.fhirapi.conftest import event, report_make, study_make

ACTOR = Actor(name="user:1")


class Ehr:
    """The running process; `forget` between tests."""

    def __init__(self) -> None:
        program = str(Path(__file__).with_name("ehr.py"))
        self._process = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, preexec_fn=_die_with_parent)
        assert self._process.stdout is not None
        self.netloc = f"127.0.0.1:{int(self._process.stdout.readline())}"
        self.base = f"http://{self.netloc}/fhir"
        self._http = httpx.Client(base_url=f"http://{self.netloc}", timeout=5)

    def control(self, **values: Any) -> None:
        assert self._http.post("/control", json=values).status_code == 200

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get("/seen").json()
        return found

    def stored(self, rtype: str) -> list[dict[str, Any]]:
        return [one for one in self.seen()["stored"] if one["name"][0] == rtype]

    def forget(self) -> None:
        assert self._http.post("/forget").status_code == 200

    def close(self) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(10)


class Pushing:
    """Mercy with an EHR."""

    def __init__(self, hospital: Hospital, ehr: Ehr) -> None:
        self.hospital, self.ehr = hospital, ehr

    def server(self, **values: Any) -> EhrServer:
        defaults = {"name": "EHR", "base_url": self.ehr.base, "auth": "none"}
        with self.hospital.scope():
            return ehr_server_save(actor=ACTOR, values=defaults | values)

    def report(self, **values: Any) -> Any:
        with self.hospital.scope():
            study = study_make()
            imaging_study_project(event=event("study.completed", self.hospital, study_id=study.id))
            report = report_make(study, **values)
            self.project(report)
        return report

    def project(self, report: Any) -> None:
        diagnostic_report_project(event=event("report.issued", self.hospital, report_id=report.id))

    def pushes(self) -> list[EhrPush]:
        with self.hospital.scope():
            return list(EhrPush.objects.select_related("server").order_by("version", "id"))

    def due(self, push: EhrPush) -> None:
        """As if its time had come."""
        with self.hospital.scope():
            EhrPush.objects.filter(id=push.id).update(due_at=timezone.now())

    def step(self, push: EhrPush | None = None) -> float | None:
        push = push or self.pushes()[-1]
        return push_step(tenant_id=self.hospital.tenant.id, push_id=push.id)


@pytest.fixture(scope="module")
def ehr_process() -> Iterator[Ehr]:
    found = Ehr()
    yield found
    found.close()


@pytest.fixture
def pushing(mercy: Hospital, ehr_process: Ehr, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Pushing:
    settings.EGRESS_ALLOW = [ehr_process.netloc]
    monkeypatch.setattr(servers, "RSA_BITS", 2048)  # as the authority's keys in tests: made in a third of the time
    ehr_process.forget()
    return Pushing(mercy, ehr_process)
