"""`/hooks/volumes/...`: one job's volume, for who holds its ticket, once, while the job is open; nothing else, to nobody."""

import json
import logging
import os
import time
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from ai import jobs
from ai.models import Job
from ai.outgoing import job_folder
from ai.room import tickets
from ai.room.rooms import room_of
from ai.room.tickets import TICKET, VOLUME
from journal.models import AuditEvent
from tenants.services import hook_set
from tests.ai.performing import connection_make, job_make
from tests.ai.volume.stacks import files_written, series_lying

pytestmark = pytest.mark.database


class Offered:
    """A job of a connection, sent, its volume in its room, and the address that its platform was told."""

    def __init__(self, hospital: Any) -> None:
        self.hospital = hospital
        self.connection = connection_make(hospital, "nvidia-clara")
        hook_set(tenant_id=hospital.tenant.id, hook_id=self.connection.uuid)
        self.job = job_make(hospital, self.connection)
        self.folder = job_folder(tenant_id=hospital.tenant.id, job_id=self.job.id)
        files_written(series_lying("axial", PatientName="SURROGATE", PatientID="S1"), self.folder)
        self.room = room_of(
            connection=self.connection, platform=None, values={}, job_id=self.job.id, job_uuid=str(self.job.uuid)  # type: ignore[arg-type]
        )
        self.room.volume()
        self.address = self.room.offer()

    @property
    def path(self) -> str:
        return "/" + self.address.split("/", 3)[3]

    def get(self, path: str = "", method: str = "GET") -> Any:
        return Client().generic(method, path or self.path)


@pytest.fixture
def offered(mercy) -> Offered:
    return Offered(mercy)


def test_the_volume_is_had_by_its_address_alone(offered) -> None:
    """"a URL that a NIM can GET without headers": the bytes of the file, not to be cached, of known length."""
    answer = offered.get()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/gzip")
    content = b"".join(answer.streaming_content)
    assert content == (offered.folder / VOLUME).read_bytes()
    assert int(answer.headers["Content-Length"]) == len(content)
    assert "no-store" in answer.headers["Cache-Control"]
    assert not answer.cookies
    for accept in ("application/gzip", "application/octet-stream", "image/png", "nonsense"):
        assert Client().get(offered.path, headers={"accept": accept}).status_code == 200, "nobody is asked what it accepts"


def test_the_address_says_nothing_of_anybody(offered, mercy) -> None:
    """"unguessable, ... never PHI in it": two UUIDs and 256 bits; the folder keeps their digest only."""
    ticket = offered.path.rpartition("/")[2].removesuffix(".nii.gz")
    assert offered.path == f"/hooks/volumes/{offered.connection.uuid}/{offered.job.uuid}/{ticket}.nii.gz"
    assert len(ticket) == 43
    assert offered.room.offer() != offered.address
    kept = b"".join(path.read_bytes() for path in offered.folder.glob("ticket*"))
    assert ticket.encode() not in kept
    spoken = offered.path.removesuffix(f"{ticket}.nii.gz")  # the ticket itself is chance, and may hold any two letters
    for word in (mercy.slug, "SURROGATE", "S1", "DOE"):
        assert word not in spoken


def test_once_and_a_broken_transfer_again(offered) -> None:
    """"one successful use plus retries within a short window (NIMs may HEAD first / retry), 404 otherwise"."""
    for _ in range(3):
        head = offered.get(method="HEAD")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["Content-Length"]) == (offered.folder / VOLUME).stat().st_size
    assert not list(offered.folder.glob("*.used")), "a look uses nothing up"
    assert [offered.get().status_code for _ in range(2)] == [200, 200], "a retry within the minute"
    (mark,) = offered.folder.glob("*.used")
    past = time.time() - tickets.AGAIN_SECONDS - 1
    os.utime(mark, (past, past))
    assert [offered.get(method=method).status_code for method in ("GET", "HEAD")] == [404, 404]


def test_a_new_address_ends_the_one_before(offered) -> None:
    before = offered.path
    offered.address = offered.room.offer()
    assert offered.get(before).status_code == 404
    assert offered.get().status_code == 200


def test_it_ends_after_some_minutes(offered) -> None:
    """"ends with the job or after N minutes": also when nobody came."""
    known = json.loads((offered.folder / TICKET).read_bytes())
    assert 890 < known["ends_at"] - time.time() <= 900
    (offered.folder / TICKET).write_text(json.dumps({**known, "ends_at": time.time() - 1}))
    assert offered.get().status_code == 404


@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_it_ends_with_the_job(offered, mercy, state) -> None:
    with mercy.scope():
        assert jobs.job_end(job_id=offered.job.id, state=state)
    assert not offered.folder.exists()
    assert offered.get().status_code == 404


def test_a_job_that_has_ended_gives_nothing_even_if_its_folder_is_left(offered, mercy) -> None:
    with mercy.scope():
        Job.objects.update(state="failed")
    assert offered.get().status_code == 404


def test_nobody_elses(offered, olaf) -> None:
    """"tenant walls": another hospital's connection, another job, a guess, a ticket of another job: 404 all, without a difference."""
    theirs = Offered(olaf)
    ticket = offered.path.rpartition("/")[2].removesuffix(".nii.gz")

    def at(connection: Any, job: Any, text: str) -> str:
        return reverse("hook-volume", kwargs={"connection": connection, "job": job, "ticket": text})

    told = [
        offered.get(path) for path in (
            at(theirs.connection.uuid, offered.job.uuid, ticket), at(offered.connection.uuid, theirs.job.uuid, ticket),
            at(theirs.connection.uuid, theirs.job.uuid, ticket), at(offered.job.uuid, offered.job.uuid, ticket),
            at(offered.connection.uuid, offered.job.uuid, ticket[:-1]), at(offered.connection.uuid, offered.job.uuid, "x" * 5000),
        )
    ]  # fmt: skip
    assert [answer.status_code for answer in told] == [404] * 6
    assert len({answer.content for answer in told}) == 1
    assert not list(offered.folder.glob("*.used"))
    assert offered.get().status_code == 200
    for method in ("POST", "PUT", "DELETE"):
        assert offered.get(method=method).status_code == 405


def test_each_fetch_stands_in_the_audit_trail(offered, mercy) -> None:
    """"audit row of the disclosure": committed before the first byte, by whom and how much; a look and a refusal leave none."""
    offered.get(method="HEAD")
    offered.get(offered.path.replace(".nii.gz", "x.nii.gz"))
    with mercy.scope():
        assert not AuditEvent.objects.filter(action="ai.fetch").exists()
    answer = offered.get()
    with mercy.scope():
        (row,) = AuditEvent.objects.filter(action="ai.fetch")
    assert (row.actor, row.object_type, row.object_id) == ("platform:nvidia-clara", "Job", str(offered.job.uuid))
    assert row.detail == {"bytes": int(answer.headers["Content-Length"])}
    assert row.address


def test_the_log_keeps_the_route_and_not_the_ticket(offered, caplog) -> None:
    """"access log keeps the route template"."""
    from medhub.logs import LineFormatter

    with caplog.at_level(logging.WARNING, logger="django.request"):
        offered.get(offered.path.replace(".nii.gz", "x.nii.gz"))
    lines = [LineFormatter().format(record) for record in caplog.records]
    assert any("/hooks/volumes/<uuid:connection>/<uuid:job>/<str:ticket>.nii.gz" in line for line in lines), lines
    assert not any(str(offered.job.uuid) in line or offered.path[-60:] in line for line in lines)
