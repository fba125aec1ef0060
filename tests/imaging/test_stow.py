"""STOW-RS, the web door for bytes: the same check, the same inbox, an answer per instance (PS3.18 10.5)."""

import pytest
from django.urls import reverse
from pydicom.dataset import Dataset

from imaging.dicomweb.stow import GROUP
from imaging.inbox import inbox_root
from imaging.ingest import quota_forget
from imaging.models import Instance
from imaging.storage import object_path
from journal.models import AuditEvent
from journal.wall.ids import id_time
from tenants.models import ApiToken
from tests import house
from tests.dicom_files import ct_slice, part10, shared_file

pytestmark = pytest.mark.database
BOUNDARY = 'multipart/related; type="application/dicom"; boundary="=_b 1"'


def body(*objects: bytes) -> bytes:
    parts = b"".join(b"--=_b 1\r\nContent-Type: application/dicom\r\n\r\n" + item + b"\r\n" for item in objects)
    return parts + b"--=_b 1--\r\n"


def post(client, hospital, content: bytes, kind: str = BOUNDARY, study_uid: str = ""):
    url = reverse("stow-study", args=[hospital.slug, study_uid]) if study_uid else reverse("stow", args=[hospital.slug])
    return client.generic("POST", url, content, content_type=kind, headers=hospital.auth)


def reasons(answer) -> list[int]:
    return [item["00081197"]["Value"][0] for item in answer.json()["00081198"]["Value"]]


def test_all_some_and_none(client, mercy) -> None:
    """200 when all are stored, 202 for some, 409 for none; FailedSOPSequence absent when empty."""
    good, bad = part10(ct_slice()), part10(ct_slice(StudyInstanceUID=None))
    answer = post(client, mercy, body(good, part10(ct_slice())))
    assert answer.status_code == 200
    assert "00081198" not in answer.json()
    answer = post(client, mercy, body(part10(ct_slice()), bad))
    assert (answer.status_code, reasons(answer)) == (202, [0xA900])
    answer = post(client, mercy, body(bad, b"garbage" * 100))
    assert (answer.status_code, reasons(answer)) == (409, [0xA900, 0xC000])
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 3
        assert AuditEvent.objects.filter(action="dicom.store").count() == 3


def test_the_sender_is_as_durable_as_the_object(client, mercy) -> None:
    """"one AuditEvent per actor, study, action and 5 minutes": written beside the bytes before the answer, a row with theirs."""
    ds, torn = ct_slice(), part10(ct_slice())
    for _ in range(2):
        assert post(client, mercy, body(part10(ds))).status_code == 200
    first, second = sorted((inbox_root() / str(mercy.tenant.id) / "0-web").glob("*.dcm"))
    first.write_bytes(torn[:400])  # what the index worker cannot read has its line as well
    for _ in range(2):  # killed between the commit and the unlink, it comes again
        kept = {path: path.read_bytes() for path in inbox_root().glob(f"{mercy.tenant.id}/0-web/*.dcm")}
        house.index(mercy)
        for path, content in kept.items():
            path.write_bytes(content)
    house.index(mercy)
    with mercy.scope():
        rows = list(AuditEvent.objects.filter(action="dicom.store").order_by("object_id"))
        token = ApiToken.objects.get(tenant=mercy.tenant)
    assert [row.object_id for row in rows] == [ds.StudyInstanceUID, "unreadable"]
    assert {(row.actor, row.address, len(row.trace_id)) for row in rows} == {(f"token:{token.id}", "127.0.0.1", 32)}
    assert [row.recorded_at for row in rows] == [id_time(int(path.name.split("-")[0])) for path in (second, first)]


@pytest.mark.parametrize(("peer", "kept"), [("fe80::1%eth0", "fe80::1"), ("unix:", None), ("", None), ("2001:db8::7", "2001:db8::7")])
def test_a_strange_address_holds_up_no_image(client, mercy, peer, kept) -> None:
    """A lost image is the worst: the audit row is made with the rows of the object, so it must never be what they fail by."""
    url = reverse("stow", args=[mercy.slug])
    answer = client.generic(
        "POST", url, body(part10(ct_slice())), content_type=BOUNDARY, headers=mercy.auth, REMOTE_ADDR=peer
    )
    assert answer.status_code == 200
    assert house.index(mercy) == 1
    with mercy.scope():
        assert Instance.objects.count() == 1
        assert AuditEvent.objects.get(action="dicom.store").address == kept


def test_many_objects_wait_for_the_disk_together(client, mercy) -> None:
    """"success only after fsync": groups of a request share it; each object has its own answer, in order, and one audit row a study."""
    first = ct_slice()
    objects = [ct_slice(StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID) for _ in range(2 * GROUP + 3)]
    answer = post(client, mercy, body(*(part10(ds) for ds in objects), b"garbage" * 100))
    assert (answer.status_code, reasons(answer)) == (202, [0xC000])
    stored = [item["00081155"]["Value"][0] for item in answer.json()["00081199"]["Value"]]
    assert stored == [ds.SOPInstanceUID for ds in objects]
    assert not list(inbox_root().glob(f"{mercy.tenant.id}/*/*.part"))
    assert house.index(mercy) == len(objects)
    with mercy.scope():
        assert Instance.objects.count() == len(objects)
        assert AuditEvent.objects.filter(action="dicom.store").count() == 1


def test_what_came_whole_before_the_body_broke_is_kept(client, mercy) -> None:
    """A lost image is the worst: a body that ends in the middle costs the part that it ends in, and no other."""
    whole, cut = part10(ct_slice()), part10(ct_slice())
    content = body(whole, whole[:-1] + b"\0", cut)[: -len(cut) // 2]
    assert post(client, mercy, content).status_code == 400
    assert not list(inbox_root().glob(f"{mercy.tenant.id}/*/*.part"))
    assert house.index(mercy) == 2


def test_bytes_are_kept_unchanged(client, mercy) -> None:
    """The Part 10 file as it came, file meta and all."""
    sent = part10(ct_slice())
    post(client, mercy, sent, kind="application/dicom")
    house.index(mercy)
    with mercy.scope():
        assert object_path(Instance.objects.get().key).read_bytes() == sent


def test_an_instance_of_another_study_than_the_address(client, mercy) -> None:
    ds = ct_slice()
    assert post(client, mercy, body(part10(ds)), study_uid="1.2.3").status_code == 409
    assert post(client, mercy, body(part10(ds)), study_uid=ds.StudyInstanceUID).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"--=_b 1--\r\n", BOUNDARY, 400),
        (b"--other\r\n\r\nx", BOUNDARY, 400),
        (body(b"x" * 200)[:-30], BOUNDARY, 400),
        (b"x", "text/plain", 415),
        (b"x", "multipart/related; type=application/dicom", 400),
        (b"x", 'multipart/related; type="application/dicom+xml"; boundary=a', 415),
    ],
)
def test_malformed_requests(client, mercy, content, kind, status) -> None:
    """Never a 500, and nothing is left behind."""
    assert post(client, mercy, content, kind).status_code == status
    left = [path for path in (inbox_root() / str(mercy.tenant.id)).rglob("*") if path.is_file()]
    assert left == []


def test_what_came_before_the_body_broke_off_stays_and_is_audited(client, mercy) -> None:
    """A sender that dies in its second object: 400, the first is kept and has its line in the audit; sending all again is no harm."""
    first, second = part10(ct_slice()), part10(ct_slice())
    assert post(client, mercy, body(first, second)[:-200]).status_code == 400
    house.index(mercy)
    with mercy.scope():
        assert AuditEvent.objects.filter(action="dicom.store").count() == 1
    assert post(client, mercy, body(first, second)).status_code == 200
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 2


def test_a_transfer_syntax_that_is_no_uid(client, mercy) -> None:
    """It would be told to clients in a header: refused with its reason (PS3.5 9.1). A NUL inside a text is dropped in the rows."""
    raw = part10(ct_slice())
    for syntax in (b"1.2.840.10008.1.2\r\nX", b"1.2.840\x0010008.1.2.1", b"../../etc/passwd..."):
        bad = raw.replace(b"1.2.840.10008.1.2.1\0", syntax.ljust(20, b"\0"), 1)
        assert bad != raw
        assert reasons(post(client, mercy, bad, kind="application/dicom")) == [0xC000]
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS\0X"
    assert post(client, mercy, body(part10(ct_slice(IssuerOfAccessionNumberSequence=[issuer])))).status_code == 200
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1


def test_a_quota_and_a_size_limit(client, mercy, settings) -> None:
    """"quota (507)": 0xA700 per instance over quota, 507 when nothing else was wrong; 413 for a request that is larger than the archive
    takes."""
    mercy.tenant.quota_bytes = 10
    mercy.tenant.save()
    quota_forget()
    answer = post(client, mercy, body(part10(ct_slice()), part10(ct_slice())))
    assert (answer.status_code, reasons(answer)) == (507, [0xA700, 0xA700])
    assert "quota" in answer.json()["00081198"]["Value"][0]["00000902"]["Value"][0]
    answer = post(client, mercy, body(part10(ct_slice()), b"garbage" * 100))
    assert (answer.status_code, reasons(answer)) == (409, [0xA700, 0xC000])
    with mercy.scope():
        assert not Instance.objects.exists()
    assert [path for path in (inbox_root() / str(mercy.tenant.id)).rglob("*") if path.is_file()] == []
    settings.MEDHUB_MAX_REQUEST_BYTES = 100
    assert post(client, mercy, body(part10(ct_slice()))).status_code == 413


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("broken/deep-nesting.dcm", {409}), ("broken/no-meta.dcm", {409}), ("broken/meta-no-tsyntax.dcm", {409}),
        ("broken/dicomdir.dcm", {409}), ("broken/wsi-no-study-uid.dcm", {409}), ("broken/bad-vr.dcm", {200}),
        ("broken/mr-truncated.dcm", {200}), ("broken/unknown-sop-class.dcm", {200}), ("real/nm-heart-13f.dcm", {200}),
        ("charset/jp-ir87.dcm", {200}), ("charset/sq-own-charset.dcm", {409}), ("syntax/ct-deflated.dcm", {200}),
        ("syntax/ct-big-endian.dcm", {200}), ("real/rtstruct-lctsc.dcm", {200}), ("broken/oob-65535.dcm", {200}),
    ],
)  # fmt: skip
def test_the_verdict_of_the_manifest(client, mercy, name, statuses) -> None:
    """Real and broken files: the verdict of shared/dicom/MANIFEST.md, and the worker goes on."""
    answer = post(client, mercy, shared_file(name).read_bytes(), kind="application/dicom")
    assert answer.status_code in statuses, answer.content
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == (1 if answer.status_code == 200 else 0)
