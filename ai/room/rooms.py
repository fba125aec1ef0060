"""`ai.contract.Room` of one job: its folder among what leaves (ai.outgoing), which goes when the job ends. Made by dispatch."""

from collections.abc import Callable, Mapping
from pathlib import Path

from django.conf import settings

from ai.contract import Http, Platform, PlatformError, Told, Volume
from ai.models import Connection
from ai.outgoing import job_folder
from ai.room.asking import asked, forgotten
from ai.room.tickets import ticket_make
from ai.room.volumes import volume_made
from tenants.egress import Egress


class JobRoom:
    """`address`: where the job's volume is offered, without the ticket. `http`: a way out of its own, for a thread of its own."""

    def __init__(self, *, folder: Path, address: str, http: Callable[[], Http]) -> None:
        self._folder, self._address, self._http = folder, address, http

    def volume(self) -> Volume:
        return volume_made(self._folder)

    def offer(self) -> str:
        try:
            return f"{self._address}/{ticket_make(self._folder)}.nii.gz"
        except FileNotFoundError:
            raise PlatformError("the job's objects are not there any more", is_permanent=True) from None

    def ask(self, url: str, *, headers: Mapping[str, str], content: Callable[[], bytes], max_bytes: int) -> Told | None:
        return asked(self._folder, http=self._http, url=url, headers=headers, content=content, max_bytes=max_bytes)

    def forget(self) -> None:
        forgotten(self._folder)


def room_of(*, connection: Connection, platform: Platform, values: Mapping[str, str], job_id: int, job_uuid: str) -> JobRoom:
    """The room of a job of this connection; nothing is made by asking for it."""

    def http() -> Http:
        egress = Egress(certificate=platform.certificate(values), read_seconds=platform.room_seconds)
        return platform.authenticated(values, egress)

    return JobRoom(
        folder=job_folder(tenant_id=connection.tenant_id, job_id=job_id),
        address=f"{settings.MEDHUB_PUBLIC_URL}/hooks/volumes/{connection.uuid}/{job_uuid}", http=http,
    )  # fmt: skip
