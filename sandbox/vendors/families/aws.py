"""HealthLake (FHIR) and HealthImaging (DICOMweb) with Signature Version 4, at /aws/healthlake and /aws/imaging."""

from collections.abc import Callable

from sandbox.http import Request, Router
from sandbox.vendors.archive import Archive
from sandbox.vendors.fhirstore import FhirStore
from sandbox.vendors.proofs import sigv4_check
from sandbox.vendors.world import World

REGION = "us-east-1"
MAX_REQUEST = 1000**3  # HealthImaging takes 1 GB a request


def mount(router: Router, world: World) -> None:
    def guard_of(service: str) -> Callable[[Request], None]:
        def guard(request: Request) -> None:
            kept = world.credentials
            sigv4_check(request, access=kept.aws_access, secret=kept.aws_secret, region=REGION, service=service)

        return guard

    FhirStore(end="/").mount(router, "/aws/healthlake/datastore/d1/r4", guard_of("healthlake"))
    Archive(max_request=MAX_REQUEST).mount(router, "/aws/imaging/datastore/d1", guard_of("medical-imaging"))
