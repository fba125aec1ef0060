"""A bulk export through the whole house: the sweep, the queue, a worker that is killed, the web server."""

import json
from typing import Any

import pytest

from bench.rest import Rest
from fhirapi.models import BulkExport
from fhirapi.store import resources_put
from tests.fhirapi.conftest import patient_resource
from tests.journeys.conftest import RunningHouse

pytestmark = [pytest.mark.stack, pytest.mark.broker, pytest.mark.xdist_group("stack")]


def test_an_export_survives_the_death_of_its_worker(house: RunningHouse, mercy: Any) -> None:
    """ "a worker that is killed goes on from the last committed chunk, nothing twice or missing", with nobody's help."""
    names = {f"w{number:04}" for number in range(1200)}
    with mercy.scope():
        resources_put(resources=[patient_resource(name) for name in names])
    rest, base = Rest(house.stack.ports.http, mercy.auth), f"/t/{mercy.slug}/fhir/r4"
    armed = house.faults / "bulk.after_commit"
    armed.touch()
    assert rest.request("GET", f"{base}/$export?_type=Patient", headers={"Prefer": "respond-async"})[0] == 202
    with mercy.scope():
        status = f"{base}/bulk/{BulkExport.objects.get().uuid}"
    assert rest.request("GET", status)[0] == 202
    house.wait(lambda: not armed.exists(), "the kill behind the first chunk")
    house.wait(lambda: rest.request("GET", status)[0] == 200, "the end of the export")
    files = json.loads(rest.request("GET", status)[1])["output"]
    assert len(files) == 2  # each worker wrote its own
    bodies = [rest.request("GET", f"{status}/{one['url'].rpartition('/')[2]}")[1] for one in files]
    assert sorted(json.loads(line)["id"] for body in bodies for line in body.splitlines()) == sorted(names)
