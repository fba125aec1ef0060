"""Nodes of DICOMweb: address and credentials, on the page, by the API, and whether they answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse

from imaging.models import Node
from imaging.nodes import NodeError, node_add, node_create, node_update
from imaging.scu.check import node_check
from imaging.webout import client as webout
from journal.audit import Actor
from tenants.crypto import secret_open
from tests.imaging.web_peers import JSON, ROOT, Archive, archive_run, orthanc_web
from tests.orthanc import port_free
from tests.portal.test_pages import signed_in

pytestmark = [pytest.mark.peers]
ACTOR = Actor(name="user:test")
URL = "https://pacs.example/dicom-web"


@pytest.fixture
def archive() -> Iterator[Archive]:
    with archive_run() as found:
        yield found


@pytest.fixture
def web_node(settings) -> Any:
    """Makes a web server of this machine a node."""

    def make(hospital: Any, url: str, **facts: Any) -> Node:
        settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, url.split("/")[2]]
        with hospital.scope():
            return node_create(actor=ACTOR, ae_title="WEBPACS", services=[], web_url=url, **facts)

    return make


def checked(hospital: Any, node: Node) -> list[tuple[str, bool, str]]:
    return [(hop.hop, hop.is_ok, hop.words) for hop in node_check(tenant_id=hospital.tenant.id, node_id=node.id, actor=ACTOR)]


def test_a_secret_is_sealed_and_belongs_to_one_server(mercy, olaf) -> None:
    """"secret sealed per tenant by tenants.crypto ..., shown never again": kept when nothing is entered, and only for the same

    server and kind of credential; another address or kind wants it again.
    """
    with mercy.scope():
        node = node_create(actor=ACTOR, ae_title="PACS", web_url=f"{URL}/", web_auth="basic", web_user="hub", web_secret="s3cret")  # noqa: S106
        assert node.web_url == URL
        assert "s3cret" not in node.web_secret
        assert secret_open(node.web_secret, tenant_id=mercy.tenant.id) == b"s3cret"
        with pytest.raises(Exception, match="no vault key"):
            secret_open(node.web_secret, tenant_id=olaf.tenant.id)
        held = node.web_secret
        node_update(actor=ACTOR, node=node, web_url="https://pacs.example/other", web_secret="")
        assert node.web_secret == held
        elsewhere, other_port = "https://elsewhere.example/dicom-web", "https://pacs.example:8443/"
        for facts in ({"web_url": elsewhere}, {"web_url": other_port}, {"web_auth": "bearer"}):
            with pytest.raises(NodeError, match="enter the token or password"):
                node_update(actor=ACTOR, node=Node.objects.get(id=node.id), **facts)
        assert Node.objects.get(id=node.id).web_secret == held
        node_update(actor=ACTOR, node=node, web_auth="none")
        assert (node.web_secret, node.web_user) == ("", "")


def test_the_vaults_keys_are_rotated_for_nodes_too(mercy, settings) -> None:
    """A secret that `vault_rotate` forgets is lost with the old key."""
    with mercy.scope():
        node = node_create(actor=ACTOR, ae_title="PACS", web_url=URL, web_auth="bearer", web_secret="token")  # noqa: S106
    old = settings.MEDHUB_VAULT_KEYS
    settings.MEDHUB_VAULT_KEYS = ["a new key that is long enough for everybody", *old]
    call_command("vault_rotate", hospital=mercy.slug)
    settings.MEDHUB_VAULT_KEYS = settings.MEDHUB_VAULT_KEYS[:1]
    with mercy.scope():
        assert secret_open(Node.objects.get(id=node.id).web_secret, tenant_id=mercy.tenant.id) == b"token"


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"web_url": "http://pacs.example/dicom-web"}, "web_url"), ({"web_url": "ftp://pacs.example/"}, "web_url"),
        ({"web_url": "https://hub:pw@pacs.example/"}, "web_url"), ({"web_url": "https://pacs.example/?a=b"}, "web_url"),
        ({"web_url": "https://pacs.example/#x"}, "web_url"), ({"web_url": "https://[::1"}, "web_url"), ({"web_url": "https://"}, "web_url"),
        ({"web_url": f"https://pacs.example/{'x' * 500}"}, "web_url"), ({"web_url": "https://pacs.example:99999/"}, "web_url"),
        ({"web_url": URL, "web_auth": "digest"}, "web_auth"), ({"web_url": URL, "web_auth": "bearer"}, "web_secret"),
        ({"web_url": URL, "web_auth": "bearer", "web_secret": "a b"}, "web_secret"),
        ({"web_url": URL, "web_auth": "bearer", "web_secret": "a\nb"}, "web_secret"),
        ({"web_url": URL, "web_auth": "basic", "web_secret": "x"}, "web_user"),
        ({"web_url": URL, "web_auth": "basic", "web_secret": "x", "web_user": "a:b"}, "web_user"),
        ({"results_as": "sr", "results_by": "stow"}, "web_url"), ({"results_by": "fax"}, "results_by"),
    ],
)  # fmt: skip
def test_what_a_node_of_dicomweb_cannot_be(mercy, facts, field) -> None:
    """"https, or http only where EGRESS_ALLOW names it": each refusal names its field."""
    with mercy.scope(), pytest.raises(NodeError) as refused:
        node_create(actor=ACTOR, ae_title="PACS", **facts)
    assert refused.value.field == field


def test_http_where_the_operator_allows_it(mercy, settings) -> None:
    """"http only where EGRESS_ALLOW names it": the very host and port, and no longer when it is taken off."""
    settings.EGRESS_ALLOW = ["pacs.example:8080"]
    with mercy.scope():
        node = node_create(actor=ACTOR, ae_title="PACS", web_url="http://pacs.example:8080/dicom-web")
        with pytest.raises(NodeError):
            node_update(actor=ACTOR, node=node, web_url="http://pacs.example:8081/dicom-web")
        node = Node.objects.get(id=node.id)
    settings.EGRESS_ALLOW = []
    assert checked(mercy, node) == [("web", False, "http only where EGRESS_ALLOW names the host and port; else https")]


def test_the_check_asks_orthanc(mercy, web_node, tmp_path) -> None:
    """"node_check (a harmless QIDO `limit=1` that says in words what answered)": with a password, with a wrong one, then with nobody."""
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"hub": "right"}, "RemoteAccessAllowed": True}
    with orthanc_web(tmp_path, **users) as orthanc:
        url = f"http://127.0.0.1:{orthanc.http}{ROOT}"
        node = web_node(mercy, url, web_auth="basic", web_user="hub", web_secret="right")  # noqa: S106
        assert checked(mercy, node) == [("web", True, "QIDO-RS answered 200 in DICOM JSON")]
        with mercy.scope():
            node_update(actor=ACTOR, node=node, web_secret="wrong")  # noqa: S106
        assert checked(mercy, node) == [("web", False, "the archive refused our credentials (401)")]
    assert checked(mercy, node) == [("web", False, "the archive's DICOMweb was not reached or did not answer in time")]
    with mercy.scope():
        assert [hop["hop"] for hop in Node.objects.get(id=node.id).last_check] == ["web"]


def test_what_else_can_answer(mercy, web_node, archive, monkeypatch) -> None:
    """"says in words what answered", never in the words of what answered."""
    monkeypatch.setattr(webout, "ANSWER_SECONDS", 0.3)
    node = web_node(mercy, archive.url, web_auth="bearer", web_secret="abc")  # noqa: S106
    said = {}
    for answer in (
        (200, b"[]", JSON), (204, b"", JSON), (200, b"<html>JANE DOE</html>", "text/html"), (404, b"JANE DOE", "text/plain"),
        (500, b"JANE DOE", "text/plain"), (302, b"", "text/plain"), 1.0,
    ):  # fmt: skip
        archive.answers = [answer]
        [(hop, is_ok, words)] = checked(mercy, node)
        assert (hop, "JANE" in words) == ("web", False)
        said[answer if isinstance(answer, float) else answer[0], is_ok] = words
    assert said[204, True] == "QIDO-RS answered 204: no study there"
    assert said[404, False] == "the archive refused the question for studies (404): nothing is at this address"
    assert said[500, False] == "the archive answered 500"
    assert "not reached or did not answer in time" in said[1.0, False]
    method, path, headers, _ = archive.asked[0]
    assert (method, path, headers["Authorization"]) == ("GET", f"{ROOT}/studies?limit=1", "Bearer abc")


def test_a_private_address_stays_closed(mercy, settings) -> None:
    """Egress: what EGRESS_ALLOW does not list is not called, whatever a node says."""
    settings.EGRESS_ALLOW = []
    with mercy.scope():
        node = node_create(actor=ACTOR, ae_title="PACS", web_url=f"https://127.0.0.1:{port_free()}/dicom-web")
    assert checked(mercy, node) == [("web", False, "the address is private or not allowed (EGRESS_ALLOW)")]


def test_both_sides_of_a_node_are_checked(mercy, web_node, archive) -> None:
    """The way by DIMSE is down, the other is not: both are told, and the node does not pass for one that answers."""
    archive.answers = [(200, b"[]", JSON)]
    port = port_free()
    node = web_node(mercy, archive.url, host="127.0.0.1", port=port)
    assert [(hop, is_ok) for hop, is_ok, _ in checked(mercy, node)] == [("address", False), ("web", True)]


def test_the_api_says_it_and_keeps_the_secret(client, mercy, olaf) -> None:
    """"in form, API": every fact but the secret comes back; another hospital finds nothing."""

    def call(hospital: Any, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else b""
        return client.generic(method, f"/t/{hospital.slug}/api/v1/{path}", data, content_type="application/json", headers=hospital.auth)

    body = {
        "ae_title": "PACS", "web_url": URL, "web_auth": "bearer", "web_secret": "t0ken", "results_as": "sr", "results_by": "stow",
        "is_commitment_asked": True,
    }  # fmt: skip
    made = call(mercy, "POST", "nodes", body)
    assert made.status_code == 201, made.content
    node = made.json()
    wanted = {name: value for name, value in body.items() if name != "web_secret"} | {"has_web_secret": True}
    assert {name: node[name] for name in wanted} == wanted
    path = f"nodes/{node['id']}"
    assert "t0ken" not in (made.content + call(mercy, "GET", path).content).decode()
    assert call(mercy, "PATCH", path, {"web_url": "https://elsewhere.example/"}).json()["errors"] == {
        "web_secret": ["enter the token or password: none is held for this address"]
    }
    assert call(mercy, "PATCH", path, {"web_auth": "none"}).json()["has_web_secret"] is False
    for method in ("GET", "PATCH", "DELETE"):
        assert call(olaf, method, path, {"web_url": ""}).status_code == 404, method


def test_the_form_and_the_page(client, mercy) -> None:
    """"in form ... shown never again": entered on the form, told on the page, not given back by either."""
    with mercy.scope():
        node = node_add(ae_title="PACS", services=["store"])
    signed_in(client, mercy, "admin")
    edit = reverse("node-edit", args=[mercy.slug, node.id])
    form = client.get(edit).context["form"]
    values = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    values = {name: value for name, value in values.items() if value not in (None, False)}
    values |= {"web_url": URL, "web_auth": "basic", "web_user": "hub", "web_secret": "pa55word", "results_as": "sr", "results_by": "stow"}
    assert client.post(edit, {**values, "web_url": "http://pacs.example/"}).status_code == 200
    wrong = client.post(edit, {**values, "web_user": ""}).content.decode()
    assert "basic needs a user and a password" in wrong
    assert "pa55word" not in wrong
    assert client.post(edit, values).status_code == 302
    page = client.get(reverse("node", args=[mercy.slug, node.id])).content.decode()
    for words in (URL, "user and password (basic)", "structured report (SR), by STOW-RS", "Check now"):
        assert words in page, words
    again = client.get(edit).content.decode()
    assert URL in again
    assert "pa55word" not in page + again
