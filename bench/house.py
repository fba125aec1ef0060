"""The bench's hospitals in its running house. Imported after `environment.prepare`."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ai.services import connection_create, rule_set
from bench.dicom_peers import CALLING_AE
from billing.entitlements import entitlement_set
from imaging.nodes import node_add
from imaging.selectors import study_by_uid
from journal.models import AuditEvent, Delivery
from journal.wall.scope import tenant_scope
from medhub import database
from medhub.stack import Stack
from tenants import services
from tenants.models import Tenant

NEVER_QUIET = 32_000  # of the hospitals whose studies must not complete while another row is measured


class BenchError(Exception):
    """The house did not do what a row waited for."""


@dataclass(frozen=True)
class Hospital:
    """One hospital of the bench."""

    tenant: Tenant
    called_ae: str
    token: str

    def scope(self) -> AbstractContextManager[None]:
        return tenant_scope(self.tenant.id)

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def path(self, rest: str) -> str:
        return f"/t/{self.tenant.slug}/{rest}"


@contextmanager
def house_running(stack: Stack) -> Iterator[None]:
    """The whole house, up; stopped at the end with all its processes."""
    with stack:
        stack.start_base()
        database.roles_create(stack.superuser)
        database.database_create(stack.superuser, stack.database)
        database.schema_prepare()
        stack.start_house()
        stack.wait_ready()
        yield


def hospital_make(slug: str, *, quiet_seconds: int = NEVER_QUIET, has_ai: bool = False) -> Hospital:
    """A hospital with an AE title, a node and a key; with the rule to the lung density mask when it `has_ai`."""
    tenant = services.tenant_create(slug=slug, name=slug.title(), time_zone="UTC", quiet_seconds=quiet_seconds)
    called_ae = slug.upper()[:16]
    services.called_ae_set(tenant=tenant, ae_title=called_ae)
    with tenant_scope(tenant.id):
        node_add(ae_title=CALLING_AE)
        if has_ai:
            entitlement_set(state="active")
            rule_set(
                name="chest CT", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask",
                conditions=[{"fact": "modality", "is": ["CT"]}],
            )  # fmt: skip
    return Hospital(tenant, called_ae, services.token_create(tenant=tenant, name="bench", role="integrator"))


def rows_wait(hospital: Hospital, *, study_uid: str, count: int, seconds: float = 120) -> float:
    """Until a study has `count` committed instances. Returns the POSIX time at which that was seen."""

    def is_there() -> bool:
        with hospital.scope():
            study = study_by_uid(study_uid=study_uid)
            return study is not None and study.number_of_instances == count

    wait(is_there, f"{count} rows", seconds=seconds)
    return time.time()


def wait(attempt: Callable[[], bool], what: str, *, seconds: float = 60, step: float = 0.01) -> None:
    """Ask until it is so. Raises BenchError."""
    end = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > end:
            raise BenchError(f"{what} did not come in {seconds:.0f} s")
        time.sleep(step)


def settled_wait(hospital: Hospital, *, seconds: float = 900) -> float:
    """Until nothing is left to do of what was written: deliveries done, audit rows sealed and projected. Returns the seconds."""
    began = time.monotonic()

    def is_settled() -> bool:
        with hospital.scope():
            is_pending = Delivery.objects.filter(state=Delivery.State.PENDING).exists()
            return not is_pending and not AuditEvent.objects.filter(auditseal__isnull=True).exists()

    wait(is_settled, "the last delivery", seconds=seconds, step=0.5)
    return time.monotonic() - began
