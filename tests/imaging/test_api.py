"""`/t/<slug>/api/v1/nodes` and `/transfers`: what the page configures, for those who automate."""

import json
from typing import Any

import pytest
import yaml

from imaging.models import Node, Transfer, TransferStudy
from imaging.nodes import node_add
from journal.models import AuditEvent
from tenants.services import token_create
from tests.dicom_files import series_of
from tests.imaging.scu_peers import begin, finish
from tests.orthanc import dcmqrscp_run, store

pytestmark = [pytest.mark.database, pytest.mark.peers, pytest.mark.xdist_group("orthanc")]


@pytest.fixture
def call(client) -> Any:
    """One request of a hospital's token."""

    def send(hospital: Any, method: str, path: str, body: Any = None, **headers: str) -> Any:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.generic(
            method, f"/t/{hospital.slug}/api/v1/{path}", data, content_type="application/json", headers=hospital.auth | headers
        )

    return send


def test_a_node_from_its_making_to_its_end(mercy, call) -> None:
    """"GET list ..., POST, GET one, PATCH, DELETE": each change is audited."""
    made = call(mercy, "POST", "nodes", {
        "ae_title": "PACS", "host": "pacs.example", "port": 104, "addresses": ["10.1.2.3", "10.2.0.0/16"], "services": ["store", "commit"],
        "retrieve_by": "get", "uses_tls": True, "description": "the archive",
    })  # fmt: skip
    assert made.status_code == 201
    node = made.json()
    assert made.headers["Location"].endswith(f"/api/v1/nodes/{node['id']}")
    assert (node["services"], node["addresses"]) == (["commit", "store"], ["10.1.2.3", "10.2.0.0/16"])
    assert call(mercy, "GET", f"nodes/{node['id']}").json() == node
    changed = call(mercy, "PATCH", f"nodes/{node['id']}", {"port": 11112, "services": []}).json()
    assert (changed["port"], changed["services"], changed["host"]) == (11112, [], "pacs.example")
    assert call(mercy, "DELETE", f"nodes/{node['id']}").status_code == 204
    assert call(mercy, "GET", f"nodes/{node['id']}").status_code == 404
    with mercy.scope():
        actions = list(AuditEvent.objects.filter(object_id=node["id"]).order_by("id").values_list("action", flat=True))
    assert actions == ["node.create", "node.update", "node.delete"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ae_title": "SEVENTEEN LETTERS"}, "ae_title"), ({"ae_title": "A\\B"}, "ae_title"), ({}, "ae_title"),
        ({"ae_title": "X", "addresses": ["10.1.2.3.4"]}, "addresses"), ({"ae_title": "X", "port": 70000}, "port"),
        ({"ae_title": "X", "host": "http://x"}, "host"), ({"ae_title": "X", "services": ["delete"]}, "services"),
        ({"ae_title": "X", "servises": ["store"]}, "servises"), ({"ae_title": "X", "retrieve_by": "post"}, "retrieve_by"),
    ],
)  # fmt: skip
def test_what_a_node_cannot_be(mercy, call, body, field) -> None:
    """"problem details errors": 400 with the field's name, nothing made."""
    answer = call(mercy, "POST", "nodes", body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (400, "Bad Request")
    assert field in problem["errors"]
    with mercy.scope():
        assert Node.objects.count() == 1


def test_problems_of_every_kind(mercy, olaf, call, client) -> None:
    """401, 403, 404, 405, 409, 413, 415 and malformed JSON are problem details too; foreign ids are 404."""
    with olaf.scope():
        foreign = Node.objects.get().id
    call(mercy, "POST", "nodes", {"ae_title": "TWICE"})
    reader = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='r', role='radiologist')}"}
    with mercy.scope():
        own = Node.objects.exclude(ae_title="TWICE").get().id
    for status, answer in (
        (401, client.get(f"/t/{mercy.slug}/api/v1/nodes")),
        (403, client.post(f"/t/{mercy.slug}/api/v1/nodes", "{}", content_type="application/json", headers=reader)),
        (404, call(mercy, "GET", f"nodes/{foreign}")), (404, call(mercy, "PATCH", f"nodes/{foreign}", {"port": 1})),
        (404, call(mercy, "DELETE", f"nodes/{foreign}")), (404, call(mercy, "POST", f"nodes/{foreign}/check")),
        (404, call(mercy, "POST", f"nodes/{foreign}/query", {"PatientID": "1"})), (404, call(mercy, "GET", f"nodes/{10**30}")),
        (404, client.get(f"/t/{olaf.slug}/api/v1/nodes", headers=mercy.auth)), (405, call(mercy, "DELETE", "nodes")),
        (400, call(mercy, "POST", "nodes", {"ae_title": "TWICE"})), (400, call(mercy, "POST", "nodes", b"{")),
        (409, call(mercy, "POST", f"nodes/{own}/query", {"PatientID": "1"})),
        (413, call(mercy, "POST", "nodes", b" " * (1 << 20 | 1))), (400, call(mercy, "GET", "nodes?cursor=x")),
    ):
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status
    with olaf.scope():
        assert Node.objects.filter(id=foreign).exists()


def test_lists_by_keyset(mercy, call) -> None:
    """"GET list with keyset paging": every node once, `next` is the whole address."""
    with mercy.scope():
        for n in range(6):
            node_add(ae_title=f"N{n}")
    seen, path = [], "nodes?limit=3"
    while path:
        page = call(mercy, "GET", path).json()
        seen += [node["ae_title"] for node in page["items"]]
        path = page["next"].split("/api/v1/")[1] if page["next"] else ""
    assert seen == [mercy.calling_ae, *(f"N{n}" for n in range(6))]


def test_check_query_and_pull_at_a_real_archive(mercy, call, node_at, tmp_path) -> None:
    """"POST .../check, POST .../query", and a transfer from its asking to its end, at dcmtk's dcmqrscp."""
    slices = series_of(3, PatientID="API1")
    with dcmqrscp_run(tmp_path / "a") as port:
        store(port, "ARCHIVE", slices)
        node = node_at(mercy, port, "ARCHIVE", retrieve_by="get")
        check = call(mercy, "POST", f"nodes/{node.id}/check").json()
        assert check["is_ok"]
        assert [hop["hop"] for hop in check["hops"]] == ["dns", "tcp", "association", "echo"]
        found = call(mercy, "POST", f"nodes/{node.id}/query", {"PatientID": "API1"}).json()
        assert [match["StudyInstanceUID"] for match in found["items"]] == [slices[0].StudyInstanceUID]
        made = call(mercy, "POST", "transfers", {
            "kind": "pull", "node": str(node.id), "study_uids": [slices[0].StudyInstanceUID], "objects_per_minute": 6000,
        })  # fmt: skip
        assert made.status_code == 201
        assert made.json()["state"] == "queued"
        with mercy.scope():
            transfer = Transfer.objects.get()
        finish(mercy, transfer)
    read = call(mercy, "GET", f"transfers/{made.json()['id']}").json()
    assert (read["state"], read["completed"], read["objects_per_minute"], read["node_ae"]) == ("done", 3, 6000, "ARCHIVE")
    assert [t["id"] for t in call(mercy, "GET", "transfers").json()["items"]] == [read["id"]]
    with mercy.scope():
        assert AuditEvent.objects.filter(action="node.query", object_id=str(node.id)).count() == 1
        assert AuditEvent.objects.filter(action="transfer.pull", object_id=read["id"]).count() == 1


def test_a_node_that_does_not_answer_is_502(mercy, call, node_at) -> None:
    """The reason in words, never a trace."""
    node = node_at(mercy, 9, "AWAY")
    answer = call(mercy, "POST", f"nodes/{node.id}/query", {"PatientID": "SECRET"})
    assert (answer.status_code, answer.json()["detail"]) == (502, "no connection")
    assert b"SECRET" not in answer.content


def test_transfers_are_walled_and_end_once(mercy, olaf, call, node_at) -> None:
    """Foreign nodes and transfers are not there; cancel and retry answer with the row as it is."""
    node = node_at(mercy, 9, "NODE")
    transfer = begin(mercy, node, "pull", "1.2.3", "1.2.4")
    assert call(olaf, "GET", f"transfers/{transfer.id}").status_code == 404
    assert call(olaf, "POST", f"transfers/{transfer.id}/cancel").status_code == 404
    refused = call(olaf, "POST", "transfers", {"kind": "pull", "node": str(node.id), "study_uids": ["1.2.3"]})
    assert (refused.status_code, refused.json()["errors"]["node"]) == (400, ["there is no such node"])
    assert call(mercy, "POST", f"transfers/{transfer.id}/cancel").json()["state"] == "cancelled"
    assert call(mercy, "POST", f"transfers/{transfer.id}/cancel").json()["state"] == "cancelled"
    assert call(mercy, "POST", f"transfers/{transfer.id}/retry").json()["state"] == "queued"
    bad = call(mercy, "POST", "transfers", {"kind": "migrate", "node": str(node.id), "query": {"from": "20200101", "to": "x"}})
    assert "query" in bad.json()["errors"]
    with mercy.scope():
        assert TransferStudy.objects.count() == 2


def test_a_deleted_node_ends_its_transfers(mercy, call, node_at) -> None:
    """The history stays with the name that the node had."""
    node = node_at(mercy, 9, "NODE")
    transfer = begin(mercy, node, "pull", "1.2.3")
    assert call(mercy, "DELETE", f"nodes/{node.id}").status_code == 204
    read = call(mercy, "GET", f"transfers/{transfer.id}").json()
    assert (read["state"], read["node"], read["node_ae"], read["last_error"]) == ("cancelled", None, "NODE", "the node was deleted")


def test_the_schema_describes_every_operation(mercy, client) -> None:
    """"OpenAPI by drf-spectacular at /t/<slug>/api/v1/schema": every address and method of the API, and nothing else."""
    answer = client.get(f"/t/{mercy.slug}/api/v1/schema")
    assert answer.status_code == 200
    schema = yaml.safe_load(answer.content)
    found = {(path.removeprefix("/t/{slug}/api/v1/"), method) for path, methods in schema["paths"].items() for method in methods}
    assert found >= {
        ("nodes", "get"), ("nodes", "post"), ("nodes/{node_id}", "get"), ("nodes/{node_id}", "patch"), ("nodes/{node_id}", "delete"),
        ("nodes/{node_id}/check", "post"), ("nodes/{node_id}/query", "post"), ("transfers", "get"), ("transfers", "post"),
        ("transfers/{transfer_id}", "get"), ("transfers/{transfer_id}/cancel", "post"), ("transfers/{transfer_id}/retry", "post"),
        ("workitems", "get"), ("workitems/{item_id}", "get"), ("workitems/{item_id}/resolve", "post"),
    }  # fmt: skip
    assert all(path.startswith("/t/{slug}/api/v1/") for path in schema["paths"])
    assert schema["components"]["securitySchemes"]["hospitalToken"] == {"type": "http", "scheme": "bearer"}
    assert client.get("/t/no-such-hospital/api/v1/schema").status_code == 404
