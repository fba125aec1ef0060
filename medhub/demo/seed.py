"""Two hospitals with people, keys, AE titles, a node, the built-in connection and one rule. Running it again changes nothing."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from joserfc.jwk import ECKey

from ai.services import connection_create, rule_set
from billing.entitlements import entitlement_set
from imaging.hl7.destinations import destination_add, destinations_list
from imaging.hl7.sources import source_add, sources_list
from imaging.models import Node
from imaging.nodes import node_add
from journal.audit import Actor
from journal.wall.scope import tenant_scope
from medhub.stack import Ports
from tenants import selectors, services
from tenants.models import Role, Tenant
from tenants.oauth.clients import client_add, client_get

PEOPLE = [role for role in Role.values if role != Role.PERFORMER]  # performers are machines
PASSWORD = "demo-password-1"  # noqa: S105 printed on the screen: these hospitals hold a phantom
QUIET_SECONDS = 2
CT_SERVICES = ("store", "commit", "worklist")  # what a scanner does
DEMO = Actor(name="system:demo")


@dataclass(frozen=True)
class DemoHospital:
    slug: str
    name: str
    time_zone: str
    called_ae: str
    calling_ae: str


MERCY = DemoHospital("mercy", "Mercy General", "America/Chicago", "MEDHUB_MERCY", "MERCY_CT1")
OLAF = DemoHospital("st-olaf", "St. Olaf", "America/New_York", "MEDHUB_OLAF", "OLAF_CT1")


def hospital_seed(hospital: DemoHospital) -> Tenant:
    """The hospital with everything that the walk of a study needs."""
    tenant = services.tenant_create(
        slug=hospital.slug, name=hospital.name, time_zone=hospital.time_zone, quiet_seconds=QUIET_SECONDS
    )
    services.called_ae_set(tenant=tenant, ae_title=hospital.called_ae)
    for role in PEOPLE:
        services.member_create(
            tenant=tenant, email=f"{role}@{hospital.slug}.example", password=PASSWORD, role=role, name=role.title()
        )
    with tenant_scope(tenant.id):
        is_new = not Node.objects.filter(ae_title=hospital.calling_ae).exists()
        node_add(ae_title=hospital.calling_ae, services=CT_SERVICES if is_new else None)  # what somebody changed stays
        entitlement_set(state="active")
        rule_set(
            name="Chest CT to the lung density mask", connection=connection_create(platform="medhub-quantify"),
            algorithm="lung-density-mask", conditions=[{"fact": "modality", "is": ["CT"]}],
        )  # fmt: skip
        if not sources_list() and hospital is MERCY:
            source_add(actor=DEMO, name="Any system on this machine", addresses=["127.0.0.1"])
        if not destinations_list() and hospital is MERCY:
            destination_add(actor=DEMO, name="EHR on this machine", host="127.0.0.1", port=settings.MEDHUB_HL7_ORU_PORT)
    return tenant


def hl7_facts(*, ports: Ports) -> dict[str, Any]:
    """The `hl7` block of demo.json: where Mercy takes orders, and where it sends reports to."""
    return {"oru_port": settings.MEDHUB_HL7_ORU_PORT, "order_host": "127.0.0.1", "order_port": ports.hl7}


def smart_facts(tenant: Tenant, before: dict[str, Any], *, ports: Ports) -> dict[str, Any]:
    """The `smart` block of demo.json: a backend service of the hospital with its private key (SMART Backend Services, ES384)."""
    with tenant_scope(tenant.id):
        known = client_get(client_id=str(before.get("client_id", "")))
        if known is not None and known.revoked_at is None and before.get("private_jwk"):
            private = before["private_jwk"]
        else:
            key = ECKey.generate_key("P-384", parameters={"kid": secrets.token_hex(8), "alg": "ES384", "use": "sig"})
            private = key.as_dict(private=True)
            known, _ = client_add(actor=DEMO, name="demo", scopes="system/*.cruds", jwks={"keys": [key.as_dict(private=False)]})
    endpoint = f"http://localhost:{ports.http}/t/{tenant.slug}/oauth/token"
    return {"token_endpoint": endpoint, "client_id": known.client_id, "private_jwk": private}


def oru_address() -> str:
    """Where Mercy's reports go by HL7: nobody listens there until somebody does."""
    return f"127.0.0.1:{settings.MEDHUB_HL7_ORU_PORT}"


def token_of(tenant: Tenant, before: str, *, role: str) -> str:
    """The key that demo.json named last time while it still works, else a new one."""
    holder = selectors.token_holder(text=before) if before else None
    if holder is not None and holder.tenant_id == tenant.id:
        return before
    return services.token_create(tenant=tenant, name="demo", role=role)


def tokens_of(tenant: Tenant, before: dict[str, Any]) -> dict[str, str]:
    """`token` is for systems (DICOMweb, FHIR), `admin_token` for what the pages configure (/api/v1)."""
    roles = {"token": "integrator", "admin_token": "admin"}
    return {name: token_of(tenant, before.get(name, ""), role=role) for name, role in roles.items()}


def facts_before(path: Path) -> dict[str, Any]:
    """What the last run wrote, or nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def hospital_facts(hospital: DemoHospital, *, tokens: dict[str, str], ports: Ports) -> dict[str, Any]:
    """One hospital's block of .medhub/demo.json."""
    base = f"http://localhost:{ports.http}/t/{hospital.slug}"
    return {
        "portal": f"{base}/",
        "fhir": f"{base}/fhir/r4",
        "dicomweb": f"{base}/dicomweb",
        "dimse": {
            "host": "127.0.0.1", "port": ports.dimse, "called_ae": hospital.called_ae,
            "calling_ae": hospital.calling_ae,
        },
        **tokens,
        "users": [{"email": f"{role}@{hospital.slug}.example", "password": PASSWORD, "role": role} for role in PEOPLE],
    }  # fmt: skip
