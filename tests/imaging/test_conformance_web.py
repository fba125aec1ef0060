"""The DICOMweb part of the conformance statement: every table agrees with what the doors do, by calling them."""

import io
import json
from typing import Any

from django.urls import reverse
from pydicom import dcmread
from pydicom.uid import MPEG4HP41, UID, EncapsulatedPDFStorage, generate_uid

from imaging.conformance import statement_parts
from imaging.dicomweb import statement
from imaging.dicomweb.statement import LIMITS, STATUSES, matching_of
from imaging.dicomweb.stow import TAKEN
from imaging.dicomweb.urls import urlpatterns
from imaging.dimse.contexts import STORABLE_SYNTAXES
from imaging.ingest import quota_forget
from imaging.models import Instance
from imaging.query.attributes import ATTRIBUTES, Level
from imaging.query.web import DEFAULTS
from imaging.storage import object_path
from tenants.services import token_create
from tests import house
from tests.dicom_files import ct_slice, part10, series_of
from tests.imaging.test_stow import BOUNDARY, body, post
from tests.imaging.test_stow_metadata import KIND, described
from tests.imaging.test_stow_metadata import body as described_body
from tests.imaging.test_wado import content, get, parts_of, place, sent, with_uids

PARTS = ("web-resources", "web-store", "web-syntaxes", "web-targets", "web-keys", "web-statuses", "web-limits", "web-documents")


def rows(name: str) -> list[list[str]]:
    """The cells of a table of the page, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in statement_parts()[name].splitlines()[2:]]


def pdf() -> Any:
    return ct_slice(
        SOPClassUID=EncapsulatedPDFStorage, EncapsulatedDocument=b"%PDF-1.7 " + bytes(2000),
        MIMETypeOfEncapsulatedDocument="application/pdf", PixelData=None, Rows=None, Columns=None,
    )  # fmt: skip


def film() -> bytes:
    ds = ct_slice(SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4.1")
    raw = part10(ds)
    found = dcmread(io.BytesIO(raw))
    found.file_meta.TransferSyntaxUID = MPEG4HP41
    found.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x08\0\0\0ftypmp42\xfe\xff\xdd\xe0\0\0\0\0"
    found["PixelData"].VR, found["PixelData"].is_undefined_length = "OB", True
    target = io.BytesIO()
    found.save_as(target)
    return target.getvalue()


def test_the_page_has_its_parts() -> None:
    """"The conformance statement gains the DICOMweb part": each table is there and says something."""
    assert all(rows(name) for name in PARTS)


def test_resources(client, mercy) -> None:
    """Each address of the table with its methods, and no other; GET in each form that the table names, of an object that has it."""
    files = [with_uids("syntax/ct-j2k-lossless.dcm"), part10(pdf()), film()]
    sent(client, mercy, *files)
    objects = [dcmread(io.BytesIO(raw)) for raw in files]
    names = {f"`/{statement.resources_of([pattern])[0]['path']}`": pattern.name for pattern in urlpatterns}
    names["`/`"] = "dicomweb"
    seen = []
    for resource, methods, forms in rows("web-resources"):
        seen.append(names[resource])
        urls = [address(names[resource], mercy, ds) for ds in objects]
        allowed = client.options(urls[0], headers=mercy.auth).headers["Allow"].split(", ")
        assert set(methods.split(", ")) == set(allowed) - {"HEAD", "OPTIONS"}, resource
        for form in forms.strip("`").split("`, `"):
            answers = [client.get(url, headers={**mercy.auth, "accept": form}) for url in urls]
            assert 200 in {answer.status_code for answer in answers}, (resource, form)
            for answer in answers:
                if answer.status_code == 200 and names[resource] != "wado-uri":
                    kind = form.removeprefix('multipart/related; type="').strip('"').removesuffix("*")
                    assert kind in answer.headers["Content-Type"], (resource, form)
    assert sorted(seen) == sorted(pattern.name for pattern in urlpatterns)


def address(name: str, hospital: Any, ds: Any) -> str:
    values = {
        "study_uid": ds.StudyInstanceUID, "series_uid": ds.SeriesInstanceUID, "instance_uid": ds.SOPInstanceUID, "numbers": "1",
        "path": "00420011" if "EncapsulatedDocument" in ds else "7FE00010",
    }  # fmt: skip
    route = str(next(pattern for pattern in urlpatterns if pattern.name == name).pattern)
    url = reverse(name, kwargs={"slug": hospital.slug, **{need: value for need, value in values.items() if f":{need}>" in route}})
    if name == "wado-uri":
        kind = "application/dicom" if "EncapsulatedDocument" in ds else "image/png"
        url += f"?requestType=WADO&studyUID={ds.StudyInstanceUID}&objectUID={ds.SOPInstanceUID}&contentType={kind}"
    return url


def test_what_store_takes(client, mercy) -> None:
    """Each media type of the table is taken, others are 415; each kind of a part stands for the syntax that the table names."""
    metadata, pixels = described()
    whole = {
        TAKEN[0]: (BOUNDARY, body(part10(ct_slice()))), TAKEN[2]: (TAKEN[2], part10(ct_slice())),
        TAKEN[1]: (KIND, described_body([metadata | {"7FE00010": {"vr": "OW", "BulkDataURI": "x"}}], ("a/b", "x", pixels))),
    }  # fmt: skip
    table = rows("web-store")
    assert [cells[0].strip("`") for cells in table if cells[1] == "a request"] == list(TAKEN)
    for kind in TAKEN:
        assert post(client, mercy, whole[kind][1], whole[kind][0]).status_code == 200, kind
    for kind in ("application/dicom+xml", "multipart/form-data; boundary=x", 'multipart/related; type="application/dicom+xml"; boundary=x'):
        assert post(client, mercy, b"x", kind).status_code == 415, kind
    for kind, words in table:
        if "a part with pixels" not in words:
            continue
        metadata, _ = described()
        metadata["7FE00010"] = {"vr": "OB", "BulkDataURI": "x"}
        raw = described_body([metadata], (kind.strip("`"), "x", b"\xff\xd8\xff\xd9"))
        assert post(client, mercy, raw, KIND).status_code == 200, kind
        house.index(mercy)
        with mercy.scope():
            uid = Instance.objects.get(sop_instance_uid=metadata["00080018"]["Value"][0]).transfer_syntax_uid
        assert words == f"a part with pixels, {UID(uid).name}"


def test_syntaxes_and_targets(client, mercy) -> None:
    """Of real files: frames in the media type of their syntax, uncompressed where the table says so, 406 where not; the targets are
    had, and no other syntax."""
    known = {cells[1]: cells for cells in rows("web-syntaxes")}
    assert set(known) == set(STORABLE_SYNTAXES)
    names = ("ct-implicit-le", "ct-big-endian", "ct-deflated", "ct-rle", "ct-jpegls", "ct-j2k-lossless", "htj2k-rgb-lossless")
    files = [with_uids(f"syntax/{name}.dcm") for name in names] + [with_uids("real/us-cine-30f.dcm"), film()]
    sent(client, mercy, *files)
    for raw in files:
        ds = dcmread(io.BytesIO(raw))
        _, uid, media, is_plain = known[str(ds.file_meta.TransferSyntaxUID)]
        for kind in {media.strip("`"), "application/octet-stream"}:
            accept = f'multipart/related; type="{kind}"; transfer-syntax=*'
            ((said, data),) = parts_of(get(client, mercy, f"{place(ds)}/frames/1", accept))
            assert (said.split(";")[0], bool(data)) == (kind, True), uid
        answer = get(client, mercy, place(ds), "application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
        assert answer.status_code == (200 if is_plain == "yes" else 406), uid
    ds = dcmread(io.BytesIO(files[0]))
    targets = {uid for _, uid in rows("web-targets")}
    for uid in STORABLE_SYNTAXES:
        answer = get(client, mercy, place(ds), f"application/dicom; transfer-syntax={uid}")
        assert answer.status_code == (200 if uid in targets else 406), uid


VALUES = {"UI": "1.2.3", "DA": "20260101", "TM": "101500", "DT": "20260101101500", "IS": "1", "US": "1", "DS": "1.5", "AS": "045Y"}


def test_query_keys(client, mercy) -> None:
    """"query keys with matching types per level": each is matched as the table says and 400 as it does not; a value that is nobody's
    finds nothing; what is answered unasked is there."""
    sent(client, mercy, part10(ct_slice()))
    paths = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}
    table = rows("web-keys")
    assert len(table) == len(ATTRIBUTES)
    for level, keyword, tag, vr, matching, _ in table:
        assert matching == ", ".join(matching_of(ATTRIBUTES[int(tag[1:5] + tag[6:10], 16)]))
        if matching.startswith("none"):
            assert len(get(client, mercy, f"{paths[level]}?{keyword}=%2B0100").json()) == 1
            assert get(client, mercy, f"{paths[level]}?{keyword}=1*").status_code == 400
            continue
        value = VALUES.get(vr, "NOBODY")
        asked = [f"{keyword}={value}", f"{keyword}="] if vr != "SQ" else [f"includefield={keyword}"]
        asked += [f"{keyword}={value}*"] if "wild card" in matching else []
        asked += [f"{keyword}={value},{value}"] if "list" in matching else []
        asked += [f"{keyword}={value}-", f"{keyword}=-{value}"] if "range" in matching else []
        asked += [f"{keyword}=nobody&fuzzymatching=true"] if "words" in matching else []
        for query in asked:
            answer = get(client, mercy, f"{paths[level]}?{query}")
            assert (answer.status_code, answer.headers.get("Warning")) == (200, None), query
            if value == "NOBODY" and not query.endswith("=") and vr != "SQ":
                assert answer.json() == [], query
        if "wild card" not in matching and vr != "SQ":
            assert get(client, mercy, f"{paths[level]}?{keyword}=1*").status_code == 400, keyword
        if "list" not in matching and vr != "SQ":
            assert get(client, mercy, f"{paths[level]}?{keyword}={value}&{keyword}={value}").status_code == 400, keyword
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        (found,) = get(client, mercy, paths[level.name]).json()
        marked = {tag[1:5] + tag[6:10] for _, _, tag, _, _, at in table if level.name.lower() in at.split(", ")}
        assert marked == {f"{tag:08X}" for tag in DEFAULTS[level]}
        assert marked <= set(found) | {"00400275"}, level  # a sequence that the object has not is left out
    assert "299" in get(client, mercy, "studies?PixelSpacing=1").headers["Warning"]


def test_statuses(client, mercy, olaf, settings) -> None:
    """Each transaction gives each status of the table, and the body of an error has a reason."""
    slices = series_of(3)
    sent(client, mercy, *map(part10, slices), part10(other := ct_slice()))
    study, one = f"studies/{slices[0].StudyInstanceUID}", place(slices[0])
    with mercy.scope():
        object_path(Instance.objects.get(sop_instance_uid=slices[2].SOPInstanceUID).key).unlink()
    root, bad = f"/t/{mercy.slug}/dicomweb", part10(ct_slice(StudyInstanceUID=None))
    billing = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='b', role='billing')}"}
    admin = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='a', role='admin')}"}

    def ask(method: str, path: str, headers: Any = mercy.auth, data: bytes = b"", **more: str) -> Any:
        return client.generic(method, f"{root}/{path}", data, content_type="application/dicom", headers={**headers, **more})

    plain = {"accept": "application/dicom"}
    tag = ask("GET", one, **plain).headers["ETag"]
    calls = {
        "store": {
            200: lambda: post(client, mercy, body(part10(ct_slice()))), 202: lambda: post(client, mercy, body(part10(ct_slice()), bad)),
            400: lambda: post(client, mercy, b"x", BOUNDARY), 401: lambda: ask("POST", "studies", {}),
            403: lambda: ask("POST", "studies", billing), 404: lambda: ask("POST", "studies", olaf.auth),
            409: lambda: post(client, mercy, body(bad)), 413: lambda: too_large(client, mercy, settings),
            415: lambda: post(client, mercy, b"x", "text/plain"), 507: lambda: too_much(client, mercy),
        },
        "retrieve": {
            200: lambda: ask("GET", one), 206: lambda: ask("GET", one, range="bytes=0-9", **plain),
            304: lambda: ask("GET", one, **plain, **{"if-none-match": tag}), 400: lambda: ask("GET", f"{one}/frames/0"),
            401: lambda: ask("GET", one, {}), 403: lambda: ask("GET", one, billing), 404: lambda: ask("GET", "studies/1.2"),
            406: lambda: ask("GET", one, accept="text/html"), 410: lambda: ask("GET", place(slices[2]), **plain),
            416: lambda: ask("GET", one, range="bytes=999999999-", **plain),
        },
        "search": {
            200: lambda: ask("GET", "studies"), 400: lambda: ask("GET", "studies?limit=x"), 401: lambda: ask("GET", "studies", {}),
            403: lambda: ask("GET", "studies", billing), 404: lambda: ask("GET", "studies/1.2/series"),
            406: lambda: ask("GET", "studies", accept="text/html"), 413: lambda: too_wide(ask, settings),
        },
        "delete": {
            204: lambda: ask("DELETE", place(other), admin), 401: lambda: ask("DELETE", study, {}), 403: lambda: ask("DELETE", study),
            404: lambda: ask("DELETE", "studies/1.2", admin),
        },
        "options": {
            200: lambda: ask("OPTIONS", ""), 204: lambda: ask("OPTIONS", one), 401: lambda: ask("OPTIONS", one, {}),
            404: lambda: ask("OPTIONS", one, olaf.auth),
        },
    }  # fmt: skip
    assert {name: set(found) for name, found in calls.items()} == {name: set(found) for name, found in STATUSES.items()}
    for name, found in calls.items():
        for status, call in found.items():
            answer = call()
            assert answer.status_code == status, (name, status, content(answer)[:200])
            assert status < 400 or content(answer), (name, status)


def too_large(client: Any, hospital: Any, settings: Any) -> Any:
    before, settings.MEDHUB_MAX_REQUEST_BYTES = settings.MEDHUB_MAX_REQUEST_BYTES, 100
    answer = post(client, hospital, body(part10(ct_slice())))
    settings.MEDHUB_MAX_REQUEST_BYTES = before
    return answer


def too_much(client: Any, hospital: Any) -> Any:
    hospital.tenant.quota_bytes = 10
    hospital.tenant.save()
    quota_forget()
    answer = post(client, hospital, body(part10(ct_slice())))
    hospital.tenant.quota_bytes = 1 << 40
    hospital.tenant.save()
    quota_forget()
    return answer


def too_wide(ask: Any, settings: Any) -> Any:
    before, settings.MEDHUB_QUERY_LIMIT = settings.MEDHUB_QUERY_LIMIT, 1
    answer = ask("GET", "instances?ImageType=x*")
    settings.MEDHUB_QUERY_LIMIT = before
    return answer


def test_limits(client, mercy) -> None:
    """What the table calls a limit is one: at it, and one behind it."""
    ds = ct_slice()
    sent(client, mercy, part10(ds))
    limit = {name: value for name, (_, value) in LIMITS.items()}
    numbers = ",".join(["1"] * limit["frames"])
    assert len(parts_of(get(client, mercy, f"{place(ds)}/frames/{numbers}"))) == limit["frames"]
    assert get(client, mercy, f"{place(ds)}/frames/{numbers},1").status_code == 400
    side = limit["side"]
    assert get(client, mercy, f"{place(ds)}/rendered?viewport={side + 1},{side}").status_code == 400
    for path, name in (("studies", "studies"), ("series", "series"), ("instances", "matches")):
        assert "Warning" not in get(client, mercy, f"{path}?limit={limit[name]}").headers
        assert str(limit[name]) in get(client, mercy, f"{path}?limit={limit[name] + 1}").headers["Warning"]
    assert get(client, mercy, f"studies?offset={limit['offset']}").status_code == 200
    assert get(client, mercy, f"studies?offset={limit['offset'] + 1}").status_code == 400
    assert post(client, mercy, described_body([{}] * (limit["instances"] + 1)), KIND).status_code == 400
    assert post(client, mercy, described_body(b"[" + b" " * limit["metadata"] + b"]"), KIND).status_code == 413
    head = b"--=_b 1\r\nContent-Type: application/dicom\r\nX: " + b"a" * limit["head"] + b"\r\n\r\nx\r\n--=_b 1--\r\n"
    assert post(client, mercy, head).status_code == 400


def test_documents(client, mercy) -> None:
    """Media types of the table are told to browsers; any other document is octets."""
    shown = {cells[0].strip("`") for cells in rows("web-documents")}
    for kind in (*shown, "text/html", "image/svg+xml"):
        ds = pdf()
        ds.MIMETypeOfEncapsulatedDocument, ds.SOPInstanceUID = kind, generate_uid()
        sent(client, mercy, part10(ds))
        answer = get(client, mercy, f"{place(ds)}/bulkdata/00420011", kind)
        assert (answer.status_code == 200) == (kind in shown), kind
        assert json.loads(content(get(client, mercy, f"{place(ds)}/metadata")))
