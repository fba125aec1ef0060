"""A vendor without an interface claims the workitem from our real server, fetches, computes, stores, completes: a report comes of it."""

import json
import ssl
import urllib.request
from typing import Any

import pytest

from ai.models import Connection, Report, Workitem
from tenants.services import performer_token_create
from tests.ai.test_dispatch import ENDED, chest_store, connect, run
from tests.web import web_run

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("doubles")]


def work(vendors: Any, address: str, token: str, store: str) -> dict[str, str]:
    """The double looks at our worklist for a moment; what became of each workitem that it saw."""
    body = {"base": address, "token": token, "seconds": 8, "store": store}
    request = urllib.request.Request(  # noqa: S310 loopback
        f"{vendors.url}/control/ups", data=json.dumps(body).encode(), headers={"X-Control": vendors.credentials["control"]}
    )
    context = ssl.create_default_context(cafile=vendors.ca_file)
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:  # noqa: S310 loopback
        found: dict[str, str] = json.load(answer)
    return found


def test_a_vendor_claims_fetches_stores_and_completes(mercy, vendors, thorax, tmp_path, settings) -> None:
    """"A vendor without a public interface ... connects over the generic performer profile": UPS-RS from end to end, on real pixels."""
    with web_run(tmp_path) as web:
        settings.MEDHUB_PUBLIC_URL = web.address
        connect(mercy, "sharedmind", vendors, "by-contract", way="ups", answer="pushed")
        chest_store(mercy, thorax, tmp_path)
        job = run(mercy, {"sent"})
        with mercy.scope():
            link = Connection.objects.get()
            token = performer_token_create(tenant=mercy.tenant, name="vendor", connection_id=link.id)
        base = f"{web.address}/t/{mercy.slug}"
        said = work(vendors, f"{base}/dicomweb", token, f"{base}/performer/{job.uuid}/dicomweb")
        assert list(said.values()) == ["completed 200 200"]
        ended = run(mercy, ENDED)
        assert (ended.state, ended.reason) == ("done", "")
        with mercy.scope():
            assert Workitem.objects.get().state == Workitem.State.COMPLETED
            report = Report.objects.get()
        assert {m["code"]["code"] for m in report.content["measurements"]} == {"118565006", "laa-950", "perc15"}
        assert web.faults() == []
