"""A FHIR server of one's own with user and password, at /fhir-basic."""

from sandbox.http import Router
from sandbox.vendors.fhirstore import FhirStore
from sandbox.vendors.proofs import basic_check
from sandbox.vendors.world import World


def mount(router: Router, world: World) -> None:
    kept = world.credentials
    FhirStore().mount(router, "/fhir-basic", lambda request: basic_check(request, kept.fhir_user, kept.fhir_password))
