"""Part of row `web`: from the click to the first image of a 500-slice CT in OHIF, the same build in the same Chromium, ours and Orthanc's.

Ours is clicked on the study's page, signed in as a radiologist. Orthanc has no such page: a bare link is clicked, the page of the
viewer is handed to the browser without asking Orthanc, and its scripts come from Orthanc's ServeFolders plug-in. Nobody signs in there.
"""

import importlib.util
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from bench.context import Bench
from bench.figures import Figure, Outcome, paired_ratios
from bench.house import BenchError
from bench.peer_orthanc import SERVE_FOLDERS
from bench.sides import Sides
from imaging.selectors import study_by_uid
from portal.ohif import ROOT, VERSION, ohif_installed
from tenants.services import member_create

ARGUMENTS = [
    "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
WAIT_MS = 120_000
PASSWORD, EMAIL = "only-on-loopback-9", "reader@bench.example"
THEIR_ROOT = "/look"
# Anything but one gray in the first viewport.
DRAWN = """() => {
  const canvas = document.querySelector("canvas.cornerstone-canvas");
  if (!canvas || canvas.width < 50) return false;
  const row = canvas.getContext("2d").getImageData(0, canvas.height >> 1, canvas.width, 1).data;
  let low = 255, high = 0;
  for (let at = 0; at < row.length; at += 4) { low = Math.min(low, row[at]); high = Math.max(high, row[at]); }
  return high - low > 20;
}"""


def missing() -> list[str]:
    """What is not here of all that this part needs."""
    lacks = [] if shutil.which("chromium") else ["chromium"]
    lacks += [] if importlib.util.find_spec("playwright") else ["playwright"]
    lacks += [] if SERVE_FOLDERS.exists() else ["Orthanc's ServeFolders"]
    return lacks if ohif_installed(folder=settings.MEDHUB_VIEWER) else [*lacks, "the OHIF viewer"]


def viewer_measure(bench: Bench, sides: Sides, outcome: Outcome) -> None:
    """A new profile for each repetition: the first click fetches the scripts, the second finds them in the browser's cache."""
    lacks = missing()
    if lacks:
        outcome.notes.append(f"click to first image not measured: {', '.join(lacks)} not here")
        return
    member_create(tenant=sides.hospital.tenant, email=EMAIL, password=PASSWORD, role="radiologist")
    for target in (sides.ours, sides.theirs):
        sides.context.load(target)
    path = _study_path(sides)
    firsts: dict[bool, list[float]] = {True: [], False: []}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with _chromium() as browser:
        for rep in range(bench.reps(3)):
            for is_ours in (True, False) if rep % 2 == 0 else (False, True):
                first, again = _visit(browser, sides, path, is_ours=is_ours)
                firsts[is_ours].append(first)
                seconds[is_ours].append(again)
    for words, found in (("first visit", firsts), ("scripts in the cache", seconds)):
        outcome.figures += [
            Figure(f"OHIF {VERSION}: click to first image of 500, {words}", paired_ratios(found[False], found[True]), "x Orthanc"),
            Figure("  ours", found[True], "s"),
            Figure("  Orthanc", found[False], "s"),
        ]
    outcome.measured["web_viewer"] = outcome.figures[-3].median


@contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # of the development requirements: not every bench has it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


def _visit(browser: Any, sides: Sides, path: str, *, is_ours: bool) -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    start = _ours_prepare(page, sides, path) if is_ours else _theirs_prepare(page, sides)
    taken = []
    for _ in range(2):
        page.goto(start)
        page.wait_for_load_state("networkidle")
        link = page.get_by_role("link", name="Open in viewer")
        link.wait_for()
        began = time.perf_counter()
        link.click()
        page.wait_for_function(DRAWN, polling=30)
        taken.append(time.perf_counter() - began)
        page.wait_for_load_state("networkidle")
    context.close()
    return taken[0], taken[1]


def _study_path(sides: Sides) -> str:
    """Asked before the browser starts: beside its event loop Django refuses to."""
    with sides.hospital.scope():
        study = study_by_uid(study_uid=sides.context.s("ct_study"))
    if study is None:
        raise BenchError("the CT is not there")
    return f"/t/{sides.hospital.tenant.slug}/studies/{study.uuid}"


def _ours_prepare(page: Any, sides: Sides, path: str) -> str:
    host = sides.ours["dicomweb"].split("/t/")[0].replace("127.0.0.1", "localhost")
    page.goto(f"{host}/accounts/login/")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/accounts/" not in url)
    return host + path


def _theirs_prepare(page: Any, sides: Sides) -> str:
    host = sides.theirs["dicomweb"].rsplit("/dicom-web", 1)[0].replace("127.0.0.1", "localhost")
    viewer = f"{THEIR_ROOT}/viewer?StudyInstanceUIDs={sides.context.s('ct_study')}"
    bodies = {"/start": f'<!doctype html><a href="{viewer}">Open in viewer</a>', "/viewer": _their_page()}

    def answer(route: Any) -> None:
        path = route.request.url.split("?")[0]
        route.fulfill(body=bodies["/viewer" if path.endswith("/viewer") else "/start"], content_type="text/html")

    page.route(f"{host}{THEIR_ROOT}/**", answer)
    return f"{host}{THEIR_ROOT}/start"


def _their_page() -> str:
    """Our page of the viewer with Orthanc's addresses, and with what OHIF's documentation says of Orthanc."""
    source = {
        "friendlyName": "Orthanc", "name": "orthanc", "qidoRoot": "/dicom-web", "wadoRoot": "/dicom-web", "wadoUriRoot": "/wado",
        "qidoSupportsIncludeField": False, "supportsReject": False, "supportsFuzzyMatching": False, "supportsWildcard": True,
        "supportsStow": False, "imageRendering": "wadors", "thumbnailRendering": "wadors", "enableStudyLazyLoad": True,
        "dicomUploadEnabled": False, "singlepart": "pdf,video", "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True},
    }  # fmt: skip
    config = {
        "routerBasename": THEIR_ROOT, "extensions": [], "modes": [], "customizationService": {}, "showStudyList": False,
        "maxNumberOfWebWorkers": 3, "showWarningMessageForCrossOrigin": False, "showCPUFallbackMessage": False,
        "showLoadingIndicator": True, "strictZSpacingForVolumeViewport": True, "investigationalUseDialog": {"option": "never"},
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25}, "defaultDataSourceName": "orthanc",
        "dataSources": [{
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb", "sourceName": "orthanc", "configuration": source,
        }],
    }  # fmt: skip
    app = ohif_installed(folder=settings.MEDHUB_VIEWER)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="stylesheet" href="{ROOT}app.bundle.css">'
        "<style>html, body, #root { height: 100%; margin: 0; }</style>"
        f'<script>window.PUBLIC_URL = "{ROOT}"; window.config = {json.dumps(config)};'
        "window.browserImportFunction = (name) => import(name);"
        'localStorage.setItem("shownTours", JSON.stringify(["basicViewerTour"]));</script>'
        f'<script src="{ROOT}{app}" defer></script></head><body><div id="react-portal"></div><div id="root"></div></body></html>'
    )
