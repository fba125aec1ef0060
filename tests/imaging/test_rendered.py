"""Rendered resources and thumbnails over HTTP (PS3.18 10.4.1.1.2, 10.4.1.1.3), on real files where there are such."""

import io
from typing import Any

import numpy as np
import pytest
from django.test import Client
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import MPEG4HP41, EncapsulatedPDFStorage, generate_uid

from imaging.models import Instance
from imaging.rendering import slice_render
from journal.models import AuditEvent
from tests import house
from tests.conftest import PASSWORD
from tests.dicom_files import ct_slice, part10, series_of, shared_file
from tests.imaging.test_wado import ENCODINGS, content, get, parts_of, place, sent, with_uids

SIDE = 16
RAMP = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)


def ramp(**attributes: Any) -> Dataset:
    """Stored values 0 to 255 that a window shows as they are."""
    given = {"WindowCenter": "128", "WindowWidth": "256", "RescaleIntercept": "0", "PixelData": RAMP.tobytes()}
    return ct_slice(**{**given, **attributes})


def cine(count: int = 4) -> Dataset:
    frames = np.stack([np.full((SIDE, SIDE), 40 * (n + 1), np.uint16) for n in range(count)])
    return ramp(PixelData=frames.tobytes(), NumberOfFrames=count)


def picture(answer) -> Image.Image:
    assert answer.status_code == 200, content(answer)
    return Image.open(io.BytesIO(content(answer)))


def pixels(answer) -> np.ndarray:
    return np.asarray(picture(answer)).astype(int)


@pytest.fixture
def ct(client, mercy):
    ds = ramp()
    sent(client, mercy, part10(ds))
    return ds


class TestForms:
    def test_jpeg_is_what_who_says_nothing_gets(self, client, mercy, ct) -> None:
        """"rendered (study to frame; jpeg, png, gif for multi-frame": JPEG by default, at every level."""
        uids = place(ct).split("/")
        for path in ("/".join(uids[:2]), "/".join(uids[:4]), place(ct), f"{place(ct)}/frames/1"):
            answer = get(client, mercy, f"{path}/rendered")
            assert answer.headers["Content-Type"] == "image/jpeg", path
            assert answer.headers["Content-Location"].endswith(place(ct))
            assert picture(answer).format == "JPEG"
            assert np.abs(pixels(answer) - RAMP).max() < 12

    @pytest.mark.parametrize(("accept", "form"), [
        ("image/png", "PNG"), ("image/gif", "GIF"), ("image/jpeg;q=0.3, image/png", "PNG"), ("image/*", "JPEG"), ("*/*", "JPEG"),
    ])  # fmt: skip
    def test_accept_decides(self, client, mercy, ct, accept: str, form: str) -> None:
        """"`Accept` grammar of RFC 9110 with ... quality values"."""
        assert picture(get(client, mercy, f"{place(ct)}/rendered", accept)).format == form

    def test_the_accept_parameter_wins(self, client, mercy, ct) -> None:
        """"and the `accept=` query"."""
        answer = get(client, mercy, f"{place(ct)}/rendered?accept=image/png", "image/jpeg")
        assert (pixels(answer) == RAMP).all()
        assert "Warning" not in answer.headers

    def test_406_with_the_list(self, client, mercy, ct) -> None:
        """"406 with the list otherwise"."""
        answer = get(client, mercy, f"{place(ct)}/rendered", "image/webp")
        assert answer.status_code == 406
        assert {"image/jpeg", "image/png", "image/gif"} <= set(answer.json()["available"])

    def test_multi_frame_as_film_as_parts_and_as_one(self, client, mercy) -> None:
        """"gif for multi-frame"; frames one by one as multipart/related."""
        ds = cine()
        sent(client, mercy, part10(ds))
        film = picture(get(client, mercy, f"{place(ds)}/rendered", "image/gif"))
        assert film.n_frames == 4
        answer = get(client, mercy, f"{place(ds)}/rendered", 'multipart/related; type="image/png"')
        shown = [np.asarray(Image.open(io.BytesIO(data))) for _, data in parts_of(answer)]
        assert [int(image[0, 0]) for image in shown] == [40, 80, 120, 160]
        assert (pixels(get(client, mercy, f"{place(ds)}/frames/3/rendered", "image/png")) == 120).all()
        some = parts_of(get(client, mercy, f"{place(ds)}/frames/4,2/rendered", 'multipart/related; type="image/png"'))
        assert [int(np.asarray(Image.open(io.BytesIO(data)))[0, 0]) for _, data in some] == [160, 80]

    def test_a_series_shows_its_middle_or_all(self, client, mercy) -> None:
        """A representative of the series by itself, its images as parts when asked."""
        slices = series_of(5, WindowCenter="128", WindowWidth="256", RescaleIntercept="0")
        for at, ds in enumerate(slices):
            ds.PixelData = np.full((SIDE, SIDE), 20 * (at + 1), np.uint16).tobytes()
        sent(client, mercy, *(part10(ds) for ds in slices))
        series = "/".join(place(slices[0]).split("/")[:4])
        assert (pixels(get(client, mercy, f"{series}/rendered", "image/png")) == 60).all()
        assert len(parts_of(get(client, mercy, f"{series}/rendered", 'multipart/related; type="image/jpeg"'))) == 5


class TestParameters:
    def test_window(self, client, mercy, ct) -> None:
        """"window": PS3.18 8.3.5.1.4, each function, wins over the header's."""
        for function, middle in (("linear", 128), ("linear-exact", 128), ("sigmoid", 128)):
            seen = pixels(get(client, mercy, f"{place(ct)}/rendered?window=64,64,{function}", "image/png"))
            assert abs(seen[4, 0] - middle) <= 3, function
            assert seen[15, 15] == 255

    def test_viewport_scales_cuts_and_flips(self, client, mercy, ct) -> None:
        """"viewport": two, three ... six values, proportions kept, a negative side flips (PS3.18 8.3.5.1.3)."""
        def seen(viewport: str) -> np.ndarray:
            return pixels(get(client, mercy, f"{place(ct)}/rendered?viewport={viewport}", "image/png"))

        assert seen("32,32").shape == (32, 32)
        assert seen("64,32").shape == (32, 32)
        assert (seen("16,16,0,0,16,16") == RAMP).all()
        assert seen("8,8,8").shape == (8, 4)
        assert (seen("8,8,8,8") == RAMP[8:, 8:]).all()
        assert (seen("8,8,4,2,8,8") == RAMP[2:10, 4:12]).all()
        assert (seen("8,8,,,8,8") == RAMP[:8, :8]).all()
        assert (seen("16,16,0,0,-16,16") == RAMP[:, ::-1]).all()
        assert (seen("16,16,0,0,16,-16") == RAMP[::-1]).all()

    def test_quality(self, client, mercy) -> None:
        """"quality": less is smaller."""
        ds = ramp(PixelData=np.random.default_rng(1).integers(0, 256, (SIDE, SIDE), np.uint16).tobytes())
        sent(client, mercy, part10(ds))
        sizes = [len(content(get(client, mercy, f"{place(ds)}/rendered?quality={q}"))) for q in (5, 50, 100)]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) == 3

    @pytest.mark.parametrize("query", [
        "window=1", "window=1,x,linear", "window=1,0,linear", "window=1,2,cubic", "window=nan,2,linear", "window=1e999,2,linear",
        "viewport=1", "viewport=0,5", "viewport=5000,5", "viewport=-5,5", "viewport=8,8,99,99", "viewport=8,8,1,1,0,1",
        "viewport=1,2,3,4,5,6,7", "viewport=8,8,x", "quality=0", "quality=101", "quality=abc", "annotation=weather", "iccprofile=cmyk",
    ])  # fmt: skip
    def test_what_cannot_be_read_is_400(self, client, mercy, ct, query: str) -> None:
        answer = get(client, mercy, f"{place(ct)}/rendered?{query}")
        assert answer.status_code == 400
        assert query.split("=")[0] in answer.json()["error"]

    @pytest.mark.parametrize("query", ["annotation=patient,technique", "iccprofile=srgb", "colour=red"])
    def test_what_is_not_done_is_said(self, client, mercy, ct, query: str) -> None:
        """A Warning header (PS3.18 8.3.5.1: parameters that are not supported)."""
        answer = get(client, mercy, f"{place(ct)}/rendered?{query}")
        assert answer.status_code == 200
        assert answer.headers["Warning"].startswith('299 MedHub "')

    def test_frames(self, client, mercy, ct) -> None:
        """"frame 0 400", beyond the count 404 that names it."""
        assert get(client, mercy, f"{place(ct)}/frames/0/rendered").status_code == 400
        assert get(client, mercy, f"{place(ct)}/frames/x/rendered").status_code == 400
        answer = get(client, mercy, f"{place(ct)}/frames/2/rendered")
        assert (answer.status_code, answer.json()["error"]) == (404, "there is no frame 2")


class TestKinds:
    @pytest.mark.parametrize("name", ENCODINGS)
    def test_the_encodings_of_one_ct_look_the_same(self, client, mercy, name: str) -> None:
        """"The six encodings of one CT give the same pixels through frames, rendered and retrieval"."""
        data = with_uids(f"syntax/ct-{name}.dcm")
        sent(client, mercy, data)
        ds = dcmread(io.BytesIO(data))
        seen = pixels(get(client, mercy, f"{place(ds)}/rendered", "image/png"))
        wanted = np.asarray(Image.open(io.BytesIO(slice_render(shared_file("syntax/ct-implicit-le.dcm")))))
        assert (seen == wanted).all()

    def test_monochrome1_is_inverted(self, client, mercy) -> None:
        """"MONOCHROME1 is inverted ... when rendered"."""
        ds = ramp(PhotometricInterpretation="MONOCHROME1")
        sent(client, mercy, part10(ds))
        assert (pixels(get(client, mercy, f"{place(ds)}/rendered", "image/png")) == 255 - RAMP).all()

    def test_palettes_are_applied(self, client, mercy) -> None:
        """"palettes applied"."""
        data = with_uids("real/us-palette.dcm")
        sent(client, mercy, data)
        ds = dcmread(io.BytesIO(data))
        seen = picture(get(client, mercy, f"{place(ds)}/frames/1/rendered", "image/png"))
        assert seen.mode == "RGB"
        assert seen.size == (ds.Columns, ds.Rows)

    def test_a_pdf_comes_back_as_it_is(self, client, mercy) -> None:
        """"PDF and video as they are", with ranges; a thumbnail of it is a sheet."""
        pdf = b"%PDF-1.4 not much of one\n%%EOF"
        ds = ct_slice(
            SOPClassUID=EncapsulatedPDFStorage, Modality="DOC", PixelData=None, Rows=None, Columns=None,
            MIMETypeOfEncapsulatedDocument="application/pdf",
            EncapsulatedDocument=pdf + b"\0" * (len(pdf) % 2), EncapsulatedDocumentLength=len(pdf),
        )  # fmt: skip
        sent(client, mercy, part10(ds))
        answer = get(client, mercy, f"{place(ds)}/rendered")
        assert (answer.headers["Content-Type"], content(answer)) == ("application/pdf", pdf)
        assert content(get(client, mercy, f"{place(ds)}/rendered", range="bytes=0-4")) == b"%PDF-"
        answer = get(client, mercy, f"{place(ds)}/rendered", "image/jpeg")
        assert (answer.status_code, answer.json()["available"]) == (406, ["application/pdf"])
        assert picture(get(client, mercy, f"{place(ds)}/thumbnail")).size == (128, 128)

    def test_a_film_comes_back_as_it_is(self, client, mercy) -> None:
        """"PDF and video as they are": fragments one after the other."""
        ds = ct_slice(Modality="XC")
        film = [b"\0\0\0\x18ftypmp42" + bytes(20), b"frames" * 11]
        head = part10(ds)
        at = head.rindex(b"\xe0\x7f\x10\x00")
        items = b"".join(b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item for item in (b"", *film))
        data = head[:at] + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
        old = b"1.2.840.10008.1.2.1\0"
        new = str(MPEG4HP41).encode() + b"\0" * (len(MPEG4HP41) % 2)
        start = data.index(old)
        data = data[: start - 2] + len(new).to_bytes(2, "little") + new + data[start + len(old) :]
        sent(client, mercy, data)
        answer = get(client, mercy, f"{place(ds)}/rendered", "video/mp4, */*;q=0.1")
        assert (answer.headers["Content-Type"], content(answer)) == ("video/mp4", b"".join(film))

    def test_what_cannot_be_shown_says_why(self, client, mercy) -> None:
        """Never a 500: 406 with the reason in words."""
        ds = ct_slice(PixelData=None)
        broken = ct_slice(PixelData=bytes(10))
        sent(client, mercy, part10(ds), part10(broken))
        for one in (ds, broken):
            answer = get(client, mercy, f"{place(one)}/rendered")
            assert answer.status_code == 406
            assert answer.json()["error"]

    def test_every_shared_file_has_an_answer(self, client, mercy) -> None:
        """"zero 500s", rendered as well: every file that can be stored has a picture, or words."""
        folder = shared_file("MANIFEST.md").parent
        house_files = [path for path in sorted(folder.rglob("*.dcm")) if path.stat().st_size < 4 << 20]
        for path in house_files:
            client.generic(
                "POST", f"/t/{mercy.slug}/dicomweb/studies", path.read_bytes(), content_type="application/dicom", headers=mercy.auth
            )
        house.index(mercy)
        with mercy.scope():
            rows = list(Instance.objects.values_list("study__study_uid", "series__series_uid", "sop_instance_uid"))
        assert rows
        for study, series, instance in rows:
            path = f"studies/{study}/series/{series}/instances/{instance}"
            assert get(client, mercy, f"{path}/rendered").status_code in {200, 406}, path
            assert get(client, mercy, f"{path}/thumbnail").status_code == 200, path


class TestThumbnails:
    def test_at_every_level(self, client, mercy, ct) -> None:
        """"thumbnail at every level", of the size asked for."""
        uids = place(ct).split("/")
        for path in ("/".join(uids[:2]), "/".join(uids[:4]), place(ct), f"{place(ct)}/frames/1"):
            assert picture(get(client, mercy, f"{path}/thumbnail")).size == (128, 128), path
            assert picture(get(client, mercy, f"{path}/thumbnail?viewport=64,40", "image/png")).size == (40, 40)

    def test_takes_no_region(self, client, mercy, ct) -> None:
        assert get(client, mercy, f"{place(ct)}/thumbnail?viewport=8,8,1,1,4,4").status_code == 400


class TestDoors:
    def test_304_and_another_look(self, client, mercy, ct) -> None:
        """"ETag and 304": of the bytes and of how they were asked for."""
        etag = get(client, mercy, f"{place(ct)}/rendered").headers["ETag"]
        assert get(client, mercy, f"{place(ct)}/rendered", **{"if-none-match": etag}).status_code == 304
        assert get(client, mercy, f"{place(ct)}/rendered?quality=50", **{"if-none-match": etag}).status_code == 200

    def test_is_audited_once(self, client, mercy, ct) -> None:
        """"one per actor, study, action and 5 minutes"."""
        for _ in range(3):
            get(client, mercy, f"{place(ct)}/rendered")
        with mercy.scope():
            assert AuditEvent.objects.filter(action="dicom.render").count() == 1

    def test_a_session_reads_and_another_hospitals_does_not(self, client, mercy, olaf, ct) -> None:
        """"bearer token or session"; 404 with a session of St. Olaf, 403 for a role that may not."""
        url = f"/t/{mercy.slug}/dicomweb/{place(ct)}/rendered"
        assert client.get(url).status_code == 401
        for hospital, role, status in ((mercy, "radiologist", 200), (mercy, "auditor", 403), (olaf, "owner", 404)):
            hospital.member(role)
            client.post("/accounts/login/", {"login": f"{role}@{hospital.slug}.example", "password": PASSWORD})
            assert client.get(url).status_code == status, role
            client.post("/accounts/logout/")

    def test_a_session_writes_with_the_csrf_token_only(self, mercy, ct) -> None:
        """"with CSRF on unsafe methods": another site's form cannot store or delete by way of somebody's browser."""
        mercy.member("owner")
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(mercy.members["owner"])
        for method, path in (("POST", "studies"), ("DELETE", place(ct))):
            answer = browser.generic(method, f"/t/{mercy.slug}/dicomweb/{path}", part10(ct), content_type="application/dicom")
            assert answer.status_code == 403, method
        assert browser.get(f"/t/{mercy.slug}/dicomweb/{place(ct)}/rendered").status_code == 200

    def test_unknown_ids_are_404(self, client, mercy, olaf, ct) -> None:
        assert get(client, mercy, f"studies/{generate_uid()}/rendered").status_code == 404
        assert get(client, olaf, f"{place(ct)}/rendered").status_code == 404


def test_a_real_ct_is_what_its_pixels_say(client, mercy) -> None:
    """A window asked for, computed here from the stored values."""
    data = with_uids("syntax/ct-implicit-le.dcm")
    sent(client, mercy, data)
    ds = dcmread(io.BytesIO(data))
    seen = pixels(get(client, mercy, f"{place(ds)}/rendered?window=-600,1500,linear-exact", "image/png"))
    real = pixel_array(shared_file("syntax/ct-implicit-le.dcm")).astype(float) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    assert np.abs(seen - np.clip((real + 600) / 1500 + 0.5, 0, 1) * 255).max() <= 1
