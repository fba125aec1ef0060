"""Reports leave by STOW-RS: to Orthanc's plug-in, to our own door of another hospital, and to archives that do not want them."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from django.utils import timezone
from pydicom import dcmread

from ai.delivery.services import delivery_resend
from ai.models import DeliveryAttempt
from imaging.models import Instance, Node
from imaging.nodes import node_create, node_update
from imaging.part10 import part10_split
from imaging.storage import object_path
from imaging.webout import client as webout
from journal.audit import Actor
from journal.models import AuditEvent
from tests import house
from tests.ai.delivery.reports import deliveries, finish, issued, step
from tests.imaging.test_get import kept
from tests.imaging.web_peers import JSON, ROOT, Archive, archive_run, orthanc_web, stow_answer
from tests.orthanc import Orthanc, port_free
from tests.web import web_run

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("orthanc")]
ACTOR = Actor(name="user:test")


@pytest.fixture(scope="module")
def orthanc_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Duplicates are not stored again."""
    with orthanc_web(tmp_path_factory.mktemp("stow"), OverwriteInstances=False) as found:
        yield found


@pytest.fixture
def archive() -> Iterator[Archive]:
    with archive_run() as found:
        yield found


@pytest.fixture
def web_node(settings) -> Any:
    """Makes a web server of this machine a node that gets results by STOW-RS."""

    def make(hospital: Any, url: str, **facts: Any) -> Node:
        settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, url.split("/")[2]]
        with hospital.scope():
            return node_create(
                actor=ACTOR, ae_title="WEBPACS", services=[], web_url=url, **{"results_as": "sr+pdf", "results_by": "stow", **facts}
            )

    return make


def tries(hospital: Any) -> list[tuple[bool, str]]:
    with hospital.scope():
        found = DeliveryAttempt.objects.filter(delivery__kind="pacs_stow").order_by("id")
        return list(found.values_list("is_good", "words"))


def again(hospital: Any) -> None:
    [row] = deliveries(hospital, kind="pacs_stow")
    with hospital.scope():
        assert delivery_resend(actor=ACTOR, delivery=row)
    step(hospital)


def uids_of(archive: Archive) -> list[str]:
    """SOP instances of the last request, from its parts."""
    body = archive.asked[-1][3]
    boundary = body[: body.index(b"\r\n")]
    parts = [part.split(b"\r\n\r\n", 1)[1] for part in body.split(boundary)[1:-1]]
    return [str(dcmread(BytesIO(part[:-2])).SOPInstanceUID) for part in parts]


class TestArchives:
    """ "every report is delivered to PACS (C-STORE or STOW ...)"."""

    def test_orthanc_has_it_byte_for_byte_and_a_duplicate_is_success(self, mercy, web_node, orthanc_store) -> None:
        """"STOW against Orthanc's dicom-web plugin (real)": what our archive has; sent again it is there already, and that is success."""
        orthanc_store.clear()
        node = web_node(mercy, f"http://127.0.0.1:{orthanc_store.http}{ROOT}")
        report = issued(mercy)
        finish(mercy)
        [row] = deliveries(mercy, kind="pacs_stow")
        assert (row.state, row.target_name, row.attempts) == ("sent", "WEBPACS", 1), row.words
        assert row.words.startswith("2 objects taken")
        found, ours = {}, kept(mercy)
        for one in orthanc_store.instances():
            data = orthanc_store.file(one)
            found[str(dcmread(BytesIO(data)).SOPInstanceUID)] = data[part10_split(data)[1] :]
        assert len(found) == 2
        assert all(ours[uid] == data for uid, data in found.items())
        with mercy.scope():
            event = AuditEvent.objects.get(action="dicom.send")
        assert event.detail == {"node": str(node.id), "instances": 2, "report": str(report.uuid)}
        again(mercy)
        assert [row.state for row in deliveries(mercy, kind="pacs_stow")] == ["sent"]
        assert len(orthanc_store.instances()) == 2

    def test_our_own_door_of_another_hospital(self, mercy, olaf, web_node, tmp_path) -> None:
        """"against our own STOW-RS door of another hospital": it lies in olaf's archive under olaf's policy, nothing starts there."""
        with web_run(tmp_path) as web:
            web_node(mercy, f"{web.address}/t/{olaf.slug}/dicomweb", web_auth="bearer", web_secret=olaf.token)
            issued(mercy)
            finish(mercy)
            [row] = deliveries(mercy, kind="pacs_stow")
            assert (row.state, row.words) == ("sent", "2 objects taken")
            house.settle(olaf)
            with olaf.scope():
                theirs = dict(Instance.objects.values_list("sop_instance_uid", "key"))
            ours = kept(mercy)
            assert len(theirs) == 2
            for uid, key in theirs.items():
                data = object_path(key).read_bytes()
                assert data[part10_split(data)[1] :] == ours[uid]
            again(mercy)
            assert deliveries(mercy, kind="pacs_stow")[0].state == "sent"

    def test_wrong_credentials_end_it_at_once(self, mercy, olaf, web_node, tmp_path) -> None:
        """"401/403/other 4xx are permanent with a reason in words": a wrong token, then one that may not store."""
        with web_run(tmp_path) as web:
            node = web_node(mercy, f"{web.address}/t/{olaf.slug}/dicomweb", web_auth="bearer", web_secret="wrong")  # noqa: S106
            issued(mercy)
            step(mercy)
            [row] = deliveries(mercy, kind="pacs_stow")
            assert (row.state, row.due_at, row.words) == ("failed", None, "the archive refused our credentials (401)")
            with mercy.scope():
                node_update(actor=ACTOR, node=node, web_secret=mercy.token)  # a hospital's token opens nothing of another's
            again(mercy)
            [row] = deliveries(mercy, kind="pacs_stow")
            assert row.state == "failed"
            assert "refused" in row.words
        with olaf.scope():
            assert not Instance.objects.exists()


class TestAnswers:
    """ "read 200 / 202 / 409 with FailedSOPSequence reasons: per object accepted / warned / refused in words"."""

    def said(self, hospital: Any, archive: Archive, answer: Any) -> Any:
        """The delivery after one more try, which the archive answers so; `answer` may be made of the SOP instances."""
        if not archive.asked:
            issued(hospital)
            archive.answers = [(503, b"", "text/plain")]
            step(hospital)
        uids = uids_of(archive)
        archive.answers = [answer(*uids) if callable(answer) else answer]
        [row] = deliveries(hospital, kind="pacs_stow")
        if row.state != "pending":
            with hospital.scope():
                assert delivery_resend(actor=ACTOR, delivery=row)
        step(hospital, is_waited=True)
        return deliveries(hospital, kind="pacs_stow")[0]

    def test_taken_warned_and_refused_are_told(self, mercy, web_node, archive) -> None:
        web_node(mercy, archive.url)
        row = self.said(mercy, archive, lambda a, b: (200, stow_answer({a: 0, b: 0xB000}), JSON))
        assert (row.state, row.words) == ("sent", "2 objects taken, 1 with a warning: Encapsulated PDF, elements were changed (B000)")
        row = self.said(mercy, archive, lambda a, b: (202, stow_answer({a: 0}, {b: 0xA900}), JSON))
        assert (row.state, row.words) == (
            "failed", "1 object taken, 1 object refused: Encapsulated PDF, it does not match its SOP class (A900)"
        )  # fmt: skip
        row = self.said(mercy, archive, lambda a, b: (202, stow_answer({a: 0}, {b: 0xA700}), JSON))
        assert (row.state, row.words) == ("pending", "1 object taken, 1 object refused: Encapsulated PDF, out of resources (A700)")
        row = self.said(mercy, archive, lambda a, b: (409, stow_answer(failed={a: 45070, b: 0x0111}), JSON))
        assert (row.state, row.words) == ("sent", "2 objects taken")
        row = self.said(mercy, archive, lambda a, b: (409, stow_answer(failed={a: 45070, b: 0x0122}), JSON))
        assert (row.state, row.words) == ("failed", "1 object taken, 1 object refused: Encapsulated PDF, SOP class not supported (0122)")
        row = self.said(mercy, archive, (409, b"", JSON))
        assert (row.state, row.words) == ("pending", "2 objects not named in the answer (409)")

    def test_what_is_not_named_is_not_delivered(self, mercy, web_node, archive) -> None:
        """A 200 that names nothing, one object or strangers is no success: it is tried again."""
        web_node(mercy, archive.url)
        for answer, words in (
            ((200, b"", JSON), "2 objects not named in the answer (200)"),
            ((200, stow_answer({"1.2.3": 0}), JSON), "2 objects not named in the answer (200)"),
            (lambda a, b: (200, stow_answer({a: 0}), JSON), "1 object taken, 1 object not named in the answer (200)"),
            ((200, b"<html>", "text/html"), "the archive answered 200, and its answer is not the XML it should be"),
            ((200, b"{", JSON), "the archive answered 200, and its answer is not JSON"),
        ):
            row = self.said(mercy, archive, answer)
            assert (row.state, row.words) == ("pending", words)

    @pytest.mark.parametrize(
        ("answer", "state", "words"),
        [
            ((500, b"JANE DOE", "text/plain"), "pending", "the archive answered 500"),
            ((503, b"", "text/plain"), "pending", "the archive answered 503"),
            ((429, b"", "text/plain"), "pending", "the archive answered 429"),
            ((403, b"", "text/plain"), "failed", "the archive refused our credentials (403)"),
            ((415, b"JANE DOE", "text/plain"), "failed", "the archive refused the objects (415): it does not take DICOM objects"),
            ((404, b"", "text/plain"), "failed", "the archive refused the objects (404): nothing is at this address"),
            ((302, b"", "text/plain"), "failed", "the archive refused the objects (302)"),
            (1.5, "pending", "the archive's DICOMweb was not reached or did not answer in time"),
        ],
        ids=lambda value: str(value)[:12],
    )
    def test_statuses_and_silence(self, mercy, web_node, archive, monkeypatch, answer, state, words) -> None:
        """"time-outs and 5xx back off; 401/403/other 4xx are permanent with a reason in words", a hanging server too; none of theirs."""
        monkeypatch.setattr(webout, "ANSWER_SECONDS", 0.4)
        web_node(mercy, archive.url, results_as="sr")
        row = self.said(mercy, archive, answer)
        assert (row.state, row.words) == (state, words)
        assert (row.due_at is not None and row.due_at > timezone.now()) is (state == "pending")
        assert tries(mercy)[-1] == (False, words)
        method, path, headers, body = archive.asked[-1]
        assert (method, path) == ("POST", f"{ROOT}/studies")
        assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
        assert int(headers["Content-Length"]) == len(body)

    def test_a_pacs_that_is_down_gets_the_same_bytes_afterwards(self, mercy, web_node, archive) -> None:
        """"every delivery with attempts, answer, resend": what is sent again is byte for byte what was sent."""
        web_node(mercy, archive.url, results_as="sr")
        row = self.said(mercy, archive, lambda a: (200, stow_answer({a: 0}), JSON))
        assert (row.state, row.attempts) == ("sent", 2)
        self.said(mercy, archive, lambda a: (200, stow_answer({a: 0}), JSON))
        bodies = {body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0] for _, _, _, body in archive.asked}
        assert (len(archive.asked), len(bodies)) == (3, 1)
        assert [is_good for is_good, _ in tries(mercy)] == [False, True, True]

    def test_a_node_without_an_address_any_more(self, mercy, web_node, archive) -> None:
        """Taken off in between: over at once, with the reason."""
        node = web_node(mercy, archive.url)
        issued(mercy)
        with mercy.scope():
            node_update(actor=ACTOR, node=node, results_by="dimse", web_url="")
        step(mercy)
        [row] = deliveries(mercy, kind="pacs_stow")
        assert (row.state, row.words) == ("failed", "the node has no DICOMweb address")

    def test_a_secret_of_another_vault_is_told(self, mercy, web_node, archive, settings) -> None:
        """"Secrets lost": over at once, and a person enters it again."""
        web_node(mercy, archive.url, web_auth="bearer", web_secret="abc")  # noqa: S106
        issued(mercy)
        settings.MEDHUB_VAULT_KEYS = ["another key that is long enough for everybody"]
        step(mercy)
        [row] = deliveries(mercy, kind="pacs_stow")
        assert (row.state, row.words) == ("failed", "the node's secret cannot be opened: enter it again")
        assert not archive.asked

    def test_addresses_that_egress_closes(self, mercy, web_node, settings) -> None:
        """Nothing leaves to what EGRESS_ALLOW does not list."""
        url = f"https://127.0.0.1:{port_free()}/dicom-web"
        web_node(mercy, url)
        settings.EGRESS_ALLOW = []
        issued(mercy)
        step(mercy)
        [row] = deliveries(mercy, kind="pacs_stow")
        assert (row.state, row.words) == ("failed", "the address is private or not allowed (EGRESS_ALLOW)")
