"""Nodes: who may call from where, the command that adds and moves them, TLS on the way out."""

import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from imaging.models import Node
from imaging.nodes import NodeError, addresses_check, node_add, node_is_at
from tests.dicom_files import series_of
from tests.imaging.scu_peers import begin, finish
from tests.imaging.test_dimse_peers import peer
from tests.imaging.test_query_peers import fill, received, serving, storescp
from tests.orthanc import dcmqrscp_run

pytestmark = [pytest.mark.database, pytest.mark.peers]


@pytest.mark.parametrize(
    ("addresses", "address", "is_in"),
    [
        ([], "203.0.113.9", True), (["10.1.2.3"], "10.1.2.3", True), (["10.1.2.3"], "10.1.2.4", False),
        (["10.1.0.0/16", "192.0.2.7"], "10.1.250.1", True), (["10.1.0.0/16"], "::ffff:10.1.2.3", True),
        (["2001:db8::/32"], "2001:db8:1::9", True), (["2001:db8::/32"], "10.0.0.1", False), (["10.0.0.0/8"], "fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_several_addresses_and_networks(addresses, address, is_in) -> None:
    """"addresses": a list, CIDR networks too."""
    assert node_is_at(Node(addresses=addresses, tenant_id=1), address=address) is is_in


def test_addresses_are_canonical_and_bounded() -> None:
    assert addresses_check([" 10.1.2.3/16", "10.1.2.3", "", "2001:DB8::1", "10.1.2.3"]) == ["10.1.0.0/16", "10.1.2.3", "2001:db8::1"]
    for wrong in (["pacs.example"], ["10.1.2.3/33"], [f"10.0.{n}.1" for n in range(65)]):
        with pytest.raises(NodeError):
            addresses_check(wrong)


def test_an_association_from_elsewhere_is_refused(mercy) -> None:
    """"Deny by default ... address": dcmtk's echoscu gets in from a listed network, and not from another one."""
    with serving() as listener:
        for addresses, is_in in (("192.0.2.0/24,127.0.0.0/8", True), ("192.0.2.0/24", False)):
            with mercy.scope():
                node_add(ae_title=mercy.calling_ae, address=addresses)
            output = peer("echoscu", listener.port, called=mercy.called_ae, calling=mercy.calling_ae)
            assert ("exit 0" in output) is is_in
            assert ("Calling AE Title Not Recognized" in output) is not is_in


def test_node_add_moves_and_keeps(mercy, capsys) -> None:
    """"an idempotent command `manage.py node_add --hospital <slug> --ae AE --host H --port P [--services ...]`"."""
    for _ in range(2):
        call_command(
            "node_add", "--hospital", mercy.slug, "--ae", "PACS", "--host", "pacs.example", "--port", "104", "--services",
            "store,commit,worklist", "--tls", "--retrieve-by", "get", "--priors", "--address", "10.1.2.3,10.2.0.0/16",
        )  # fmt: skip
    call_command("node_add", "--hospital", mercy.slug, "--ae", "PACS", "--port", "11112", "--no-tls")
    with mercy.scope():
        node = Node.objects.get(ae_title="PACS")
    assert (node.host, node.port, node.uses_tls, node.retrieve_by) == ("pacs.example", 11112, False, "get")
    assert (node.is_store_allowed, node.is_commit_allowed, node.is_worklist_allowed, node.is_find_allowed) == (True, True, True, False)
    assert (node.is_asked_for_priors, node.addresses) == (True, ["10.1.2.3", "10.2.0.0/16"])
    assert "commit, store, worklist" in capsys.readouterr().out
    for wrong in (["--address", "x"], ["--port", "0"], ["--services", "all"], ["--host", "http://x"]):
        with pytest.raises(CommandError):
            call_command("node_add", "--hospital", mercy.slug, "--ae", "PACS", *wrong)


def test_node_check_as_a_command(mercy, node_at, tmp_path, capsys) -> None:
    """The operator's way to the same hops; a failing one is the exit status."""
    with dcmqrscp_run(tmp_path / "a") as port:
        node_at(mercy, port, "ARCHIVE")
        call_command("node_check", hospital=mercy.slug, ae="ARCHIVE")
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["dns", "tcp", "association", "echo"]
    with pytest.raises(CommandError, match="tcp: no connection"):
        call_command("node_check", hospital=mercy.slug, ae="ARCHIVE")
    with pytest.raises(CommandError, match="no node"):
        call_command("node_check", hospital=mercy.slug, ae="NOBODY")


def certificate(folder: Path) -> tuple[str, str]:
    key, cert = str(folder / "key.pem"), str(folder / "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, cert


def test_a_send_over_tls(mercy, node_at, tmp_path, monkeypatch) -> None:
    """"`uses_tls` for outgoing": dcmtk's storescp over TLS gets the bytes once its certificate is trusted, and nothing before."""
    key, cert = certificate(tmp_path)
    slices = series_of(3)
    fill(mercy, slices)
    with storescp(tmp_path / "got", "+tls", key, cert, "-ic") as port:
        node = node_at(mercy, port, "RECV", host="localhost", uses_tls=True)
        transfer = begin(mercy, node, "send", slices[0].StudyInstanceUID)
        with mercy.scope():
            type(transfer).objects.update(attempts=7)
        refused = finish(mercy, transfer)
        assert refused.state == "failed"
        assert "certificate" in refused.last_error or "self-signed" in refused.last_error
        monkeypatch.setenv("SSL_CERT_FILE", cert)
        done = finish(mercy, begin(mercy, node, "send", slices[0].StudyInstanceUID))
    assert (done.state, done.completed) == ("done", 3)
    assert len(received(tmp_path / "got")) == 3
