"""A connection of each platform to its double: settings as a form would give them. Used by the loops and the contract tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ai.contract import Platform, Room, Ways, platforms
from ai.governance.terms import terms_accept, terms_of
from ai.ways import platform_ways
from journal.audit import Actor
from tests.ai.handles import RealDimse
from tests.vendors import Vendors

GOOGLE_CHAT = "/google/v1/projects/p1/locations/l1/endpoints/e1"
MONAI = {"workflow": "w1", "way": "push", "closing": "SR"}


def connection(slug: str, vendors: Vendors, **more: str) -> dict[str, str]:
    """Settings that reach the double. `more` overrides."""
    kept, url = vendors.credentials, vendors.url
    performer = {
        "contract": "test", "way": "stow", "dicomweb_url": f"{url}/performer/dicomweb", "answer": "dicomweb",
        "answer_url": f"{url}/performer/dicomweb", "closing": "SR", "auth": "bearer", "token": kept["performer_key"],
        "task_url": f"{url}/performer/tasks", "hook_secret": kept["hub_secret"], "fhir_url": f"{url}/performer/fhir",
        "host": "127.0.0.1", "port": str(vendors.addresses["dimse_tls_port"]), "called_ae": "VENDOR", "calling_ae": "HUB",
    }  # fmt: skip
    own: dict[str, dict[str, str]] = {
        "aws-healthlake": {
            "region": "us-east-1", "access_key": kept["aws_access"], "secret_key": kept["aws_secret"], "imaging_datastore": "d1",
            "healthlake_datastore": "d1", "imaging_url": f"{url}/aws/imaging", "healthlake_url": f"{url}/aws/healthlake",
        },
        "azure-health-data": {
            "tenant": "azure-login", "client_id": kept["azure_client"], "client_secret": kept["azure_secret"], "login_url": url,
            "dicom_url": f"{url}/azure/dicom/v2", "fhir_url": f"{url}/azure/fhir",
        },
        "google-health-ai": {
            "account": vendors.google_account, "project": "p1", "location": "l1", "dataset": "d1", "dicom_store": "s1",
            "fhir_store": "f1", "api_url": f"{url}/google/v1", "token_url": f"{url}/google/token", "endpoint_url": url + GOOGLE_CHAT,
            "model": "m",
        },
        "ibm-watson": {
            "api_key": kept["ibm_key"], "url": f"{url}/ibm", "iam_url": f"{url}/ibm", "project_id": "p", "version": "2025-02-06",
            "model_id": "medhub-double-1",
        },
        "cloud-temple": {"url": f"{url}/chat/v1", "api_key": kept["chat_key"], "model": "medhub-double-1"},
        "ibm-cloud-healthcare": {
            "fhir_url": f"{url}/fhir-basic", "auth": "basic", "user": kept["fhir_user"], "password": kept["fhir_password"],
        },
        "nvidia-clara": {**MONAI, "url": f"{url}/monai", "results_url": f"{url}/monai/dicomweb"},
    }  # fmt: skip
    return {**own.get(slug, performer), **more}


def terms_agree(slug: str) -> None:
    """What a person of the hospital does before anything is sent. In a scope."""
    if terms := terms_of(platforms()[slug]):
        terms_accept(platform=slug, version=terms.version, actor=Actor(name="user:test"))


@contextmanager
def connected(
    slug: str, vendors: Vendors, folder: Path, room: Room | None = None, **more: str
) -> Iterator[tuple[Platform, dict[str, str], Ways]]:
    """The platform, its settings and its ways out, as dispatch has them."""
    platform, settings = platforms()[slug], connection(slug, vendors, **more)
    with platform_ways(platform, settings, folder=folder, dimse=RealDimse(), worklist=Worklist(), room=room) as ways:
        yield platform, settings, ways


class Worklist:
    """Keeps what it is given; the house's own is `ai.workitems`."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}

    def create(self, handle: Any, *, label: str) -> str:
        uid = f"2.25.{abs(hash(handle.idempotency_key))}"
        self.items[uid] = (handle, label)
        return uid

    def cancel(self, workitem_uid: str) -> None:
        self.items.pop(workitem_uid)
