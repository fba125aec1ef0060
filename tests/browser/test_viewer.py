"""OHIF in a real Chromium: a CT of Mercy drawn from our doors with the person's own session, and nothing of it for St. Olaf."""

import io
import os
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from django.conf import settings
from PIL import Image
from playwright.sync_api import Browser, BrowserContext
from pydicom import dcmread

from imaging.inbox import object_write
from imaging.models import Study
from portal.ohif import ohif_installed
from tests import house
from tests.browser.conftest import ARGUMENTS, Visitor, context_of, visitor_of
from tests.conftest import Hospital, hospital_make
from tests.dicom_files import ct_slice
from tests.imaging.test_wado import with_uids

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SIDE = 128
WAIT_MS = 30_000
# Without a graphics card Chromium draws WebGL on the processor, when told to.
DRAWN = (*(one for one in ARGUMENTS if one != "--disable-gpu"), "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def phantom(number: int) -> np.ndarray:
    """A body with an eccentric bright spot, so that flips, turns and windows are seen; the spot wanders with the slice."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    values = np.full((SIDE, SIDE), -1000.0)
    values[((rows - 64) / 50) ** 2 + ((columns - 60) / 56) ** 2 < 1] = 20
    values[(rows - 40) ** 2 + (columns - 40 - number) ** 2 < 150] = 300
    values[(rows - 80) ** 2 + (columns - 80) ** 2 < 300] = -700
    return (values + 1024).astype(np.uint16)


def ct_take(hospital: Hospital, count: int = 5) -> Study:
    first = ct_slice()
    common = {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID}
    house.store(hospital, [
        ct_slice(
            **common, InstanceNumber=n, ImagePositionPatient=[0, 0, 2.0 * n], Rows=SIDE, Columns=SIDE, PixelData=phantom(n).tobytes(),
            WindowCenter="40", WindowWidth="400", SeriesDescription="Axial", FrameOfReferenceUID="1.2.840.99",
        ) for n in range(1, count + 1)
    ])  # fmt: skip
    house.index(hospital)
    with hospital.scope():
        return Study.objects.get(study_uid=first.StudyInstanceUID)


def missing(words: str) -> None:
    """A named skip; a failure where everything must be there."""
    if os.environ.get("REQUIRE_PEERS") == "1":
        pytest.fail(words)
    pytest.skip(words)


@pytest.fixture(scope="module")
def viewer_context(chromium: Browser) -> Iterator[BrowserContext]:
    if not ohif_installed(folder=settings.MEDHUB_VIEWER):
        missing("the OHIF viewer is not here: make viewer")
    browser = chromium.browser_type.launch(executable_path=shutil.which("chromium"), args=DRAWN)
    context = context_of(browser)
    context.set_default_timeout(WAIT_MS)
    yield context
    browser.close()


@pytest.fixture
def viewer_visitor(viewer_context: BrowserContext, portal: str) -> Iterator[Visitor]:
    with visitor_of(viewer_context, portal) as person:
        yield person


def canvas_of(visitor: Visitor) -> np.ndarray:
    """The drawn viewport as gray values, once the image is there and stays."""
    canvas = visitor.page.locator("canvas.cornerstone-canvas").first
    canvas.wait_for()
    before = None
    for _ in range(60):
        visitor.page.wait_for_timeout(500)
        seen = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"))
        if seen.std() > 5 and before is not None and seen.shape == before.shape and (seen == before).mean() > 0.999:
            return seen
        before = seen
    raise AssertionError(f"nothing was drawn: {visitor.complaints}")


def likeness(seen: np.ndarray, wanted: np.ndarray) -> float:
    """Correlation of the square in the middle of the canvas, where the image is fitted, with what it should be."""
    side = min(seen.shape)
    top, left = (seen.shape[0] - side) // 2, (seen.shape[1] - side) // 2
    square = Image.fromarray(seen[top : top + side, left : left + side]).resize((64, 64), Image.Resampling.BOX)
    known = Image.fromarray(wanted).resize((64, 64), Image.Resampling.BOX)
    return float(np.corrcoef(np.asarray(square).ravel(), np.asarray(known).ravel())[0, 1])


def look(visitor: Visitor, hospital: Hospital, study: Study) -> tuple[np.ndarray, np.ndarray]:
    """The canvas, opened from the study's page, and our own rendering of the same study."""
    visitor.open(f"/t/{hospital.slug}/studies/{study.uuid}")
    visitor.page.get_by_role("link", name="Open in viewer").click()
    seen = canvas_of(visitor)
    address = f"{visitor.address}/t/{hospital.slug}/dicomweb/studies/{study.study_uid}/rendered?accept=image/png"
    wanted = np.asarray(Image.open(io.BytesIO(visitor.context.request.get(address).body())).convert("L"))
    # OHIF's workers and pictures of their own are no request to anybody.
    visitor.complaints = [one for one in visitor.complaints if f"blob:{visitor.address}" not in one]
    return seen, wanted


def test_opens_a_ct_of_mercy(viewer_visitor: Visitor, clinic: Hospital) -> None:
    """"a Chromium test opens a CT of Mercy, compares the drawn canvas with a known rendering": by our own /rendered."""
    seen, wanted = look(viewer_visitor.sign_in(clinic), clinic, ct_take(clinic))
    assert likeness(seen, wanted) > 0.9
    assert likeness(seen, wanted[::-1]) < 0.8
    assert "DOE" not in viewer_visitor.page.title()
    assert viewer_visitor.complaints == []


@pytest.mark.parametrize("name", ["rle", "jpegls", "j2k-lossless"])
def test_decodes_what_is_stored_compressed(viewer_visitor: Visitor, clinic: Hospital, name: str) -> None:
    """A real CT, its bytes as stored: OHIF's WebAssembly decoders run in workers under our policy."""
    data = with_uids(f"syntax/ct-{name}.dcm")
    object_write(tenant_id=clinic.tenant.id, source=0, trace_id="0" * 32, parts=[data])
    house.index(clinic)
    with clinic.scope():
        study = Study.objects.get(study_uid=dcmread(io.BytesIO(data), stop_before_pixels=True).StudyInstanceUID)
    seen, wanted = look(viewer_visitor.sign_in(clinic), clinic, study)
    assert viewer_visitor.complaints == []
    assert likeness(seen, wanted) > 0.9


def test_a_session_of_st_olaf_gets_404(viewer_visitor: Visitor, clinic: Hospital) -> None:
    """"and gets 404 with a session of St. Olaf": the page, its configuration, our link and every door behind it."""
    study = ct_take(clinic, count=1)
    olaf = hospital_make("olaf")
    stranger = viewer_visitor.sign_in(olaf)
    for path in (
        f"studies/{study.uuid}/viewer", "viewer/", f"viewer/viewer?StudyInstanceUIDs={study.study_uid}", "viewer/app-config.js",
        f"dicomweb/studies/{study.study_uid}/metadata", f"dicomweb/studies/{study.study_uid}",
        f"dicomweb/studies/{study.study_uid}/rendered", f"dicomweb/studies/{study.study_uid}/thumbnail",
    ):  # fmt: skip
        assert stranger.context.request.get(f"{stranger.address}/t/{clinic.slug}/{path}").status == 404, path
    assert stranger.context.request.get(f"{stranger.address}/t/{olaf.slug}/studies/{study.uuid}/viewer").status == 404
