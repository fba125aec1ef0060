"""`make screens`: every page at three widths into docs/screens, with real images and real numbers. Not part of `make test`."""

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser

from imaging.models import Node
from tenants.models import Membership
from tests.browser import scenes, tls_scenes, ward
from tests.browser.conftest import Visitor, context_of, portal_serve, visitor_of
from tests.conftest import PASSWORD, Hospital
from tests.quantify.serving import KEY, QuantifyServer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screens"
WIDTHS = {360: 740, 768: 1024, 1440: 900}
MAX_BYTES = 120_000


@pytest.fixture(scope="module")
def mercy_general(tmp_path_factory: pytest.TempPathFactory) -> tuple[Hospital, dict[str, str]]:
    """The busy hospital and the uuids of the studies that have pages of their own; MedHub Quantify runs for real."""
    from django.test import override_settings

    hospital = ward.hospital_open(
        slug="mercy-general", name="Mercy General Hospital", zone="America/Chicago", called="MEDHUB_MERCY", calling="MERCY_CT1"
    )
    with QuantifyServer(tmp_path_factory.mktemp("quantify")) as quantify:
        address = f"127.0.0.1:{quantify.port}"
        with override_settings(QUANTIFY_URL=f"http://{address}", QUANTIFY_KEY=KEY, EGRESS_ALLOW=[address]):
            uuids = ward.fill(hospital, tmp_path_factory.mktemp("ward"))
    ward.associations(hospital)
    return hospital, uuids


@pytest.fixture(scope="module")
def st_olaf() -> Hospital:
    """The quiet one: nothing has arrived."""
    return ward.hospital_open(
        slug="st-olaf", name="St. Olaf Regional Medical Center and Children's Clinic", zone="America/New_York",
        called="MEDHUB_OLAF", calling="OLAF_CT1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(chromium: Browser) -> Iterator[str]:
    """Port 8000 when it is free, so that the pictures of the hospital's page stay alike."""
    with socket.socket() as probe:
        is_free = probe.connect_ex(("127.0.0.1", 8000)) != 0
    with portal_serve(8000 if is_free else 0) as served:
        yield served


def picture(visitor: Visitor, name: str) -> list[str]:
    """The whole page at each width, as a palette PNG. Returns the lines to print."""
    lines = []
    for width, height in WIDTHS.items():
        visitor.page.set_viewport_size({"width": width, "height": height})
        visitor.page.wait_for_timeout(120)
        image = Image.open(io.BytesIO(visitor.page.screenshot(full_page=True))).convert("RGB")
        assert image.width == width, f"{name} is {image.width} px wide in a window of {width}"
        path = FOLDER / f"{name}-{width}.png"
        for greys in (128, 64, 32, 16):
            image.quantize(palette=palette(image, greys), dither=Image.Dither.NONE).save(path, optimize=True)
            if path.stat().st_size < MAX_BYTES:
                break
        lines.append(f"{path.relative_to(FOLDER.parents[1])}  {image.width} x {image.height}  {path.stat().st_size // 1024} kB")
    return lines


def palette(image: Image.Image, greys: int) -> Image.Image:
    """The page's own colours exactly, its tints nearly, and as many greys for the pictures: greys alone would win by number."""
    counted = sorted(image.getcolors(image.width * image.height) or [], reverse=True)
    exact = [colour for _, colour in counted[:48]]
    tinted = [colour for _, colour in counted[48:4096] if max(colour) - min(colour) > 24] or exact
    strip = Image.new("RGB", (len(tinted), 1))
    strip.putdata(tinted)
    tints = strip.quantize(64).convert("RGB").getcolors() or []
    steps = [(round(255 * at / (greys - 1)),) * 3 for at in range(greys)]
    flat = [part for colour in [*exact, *(tint for _, tint in tints), *steps] for part in colour]
    made = Image.new("P", (1, 1))
    made.putpalette(flat[: 256 * 3])
    return made


Steps = dict[str, Callable[[Visitor], object]]


def test_screens(chromium: Browser, address: str, mercy_general, st_olaf, capsys) -> None:
    """Every page, every width, and no page wider than its window."""
    mercy, uuids = mercy_general
    Membership.objects.create(tenant=st_olaf.tenant, user=mercy.member("radiologist"), role="radiologist")
    Membership.objects.create(tenant=st_olaf.tenant, user=mercy.member("admin"), role="admin")
    with mercy.scope():
        first = scenes.nodes_make(mercy)
        tls_scenes.certificates_make(first)
        scenes.query_tags_make()
        ehr, push = scenes.ehr_make()
        node = first.id
    rule = scenes.rules_make(mercy)
    with st_olaf.scope():
        Node.objects.all().delete()
    lines: list[str] = []
    at = f"/t/{mercy.slug}"
    plans: list[tuple[str, Steps]] = [
        ("", {"login": lambda v: v.open("/accounts/login/"), "login-error": _wrong_password}),
        ("radiologist", {
            "home": lambda v: v.open("/"),
            "worklist": lambda v: v.open(f"{at}/worklist"),
            "worklist-empty": lambda v: v.open(f"/t/{st_olaf.slug}/worklist"),
            "study-report": lambda v: v.open(f"{at}/studies/{uuids['report']}"),
            "study-not-analysable": lambda v: v.open(f"{at}/studies/{uuids['not_analysable']}"),
            "study-not-eligible": lambda v: v.open(f"{at}/studies/{uuids.get('xray', uuids['routing'])}"),
            "study-receiving": lambda v: v.open(f"{at}/studies/{uuids['receiving']}"),
            "403": lambda v: v.open(f"{at}/attention"),
            "404": lambda v: v.open("/t/somewhere-else/worklist"),
        }),
        ("auditor", {"hospital-auditor": lambda v: v.open(f"{at}/")}),
        ("owner", {
            "platforms": lambda v: v.open(f"{at}/platforms"),
            "platforms-ct-triage": lambda v: v.open(f"{at}/platforms?modality=CT&role=triage"),
            "platforms-compare": lambda v: v.open(f"{at}/platforms?compare=aidoc,viz-ai,medhub-quantify"),
            "platform": lambda v: v.open(f"{at}/platforms/viz-ai"), "algorithms": lambda v: v.open(f"{at}/algorithms"),
            "algorithm": lambda v: v.open(f"{at}/algorithms/medhub-quantify/calcium-agatston-like"),
            "usage": lambda v: v.open(f"{at}/usage"), "disclosures": lambda v: v.open(f"{at}/disclosures"),
        }),
        ("admin", {
            "nodes": lambda v: v.open(f"{at}/nodes"), "node": lambda v: v.open(f"{at}/nodes/{node}"),
            "node-form": lambda v: v.open(f"{at}/nodes/{node}/edit"), "nodes-empty": lambda v: v.open(f"/t/{st_olaf.slug}/nodes"),
            "rules": lambda v: v.open(f"{at}/rules"), "rules-draft": lambda v: v.open(f"{at}/rules/draft"),
            "rule-edit": lambda v: v.open(f"{at}/rules/draft/{rule}"), "dry-run": lambda v: _tried(v, at),
            "stages": lambda v: v.open(f"{at}/stages"),
            "certificates": lambda v: v.open(f"{at}/certificates"),
            "query-tags": lambda v: v.open(f"{at}/query-tags"),
            "ehr": lambda v: v.open(f"{at}/ehr"), "ehr-form": lambda v: v.open(f"{at}/ehr/servers/{ehr}"),
            "ehr-push": lambda v: v.open(f"{at}/ehr/reports/{push}"), "ehr-empty": lambda v: v.open(f"/t/{st_olaf.slug}/ehr"),
            "subscriptions": lambda v: v.open(f"{at}/subscriptions"),
            "query-tags-empty": lambda v: v.open(f"/t/{st_olaf.slug}/query-tags"),
            "certificates-empty": lambda v: v.open(f"/t/{st_olaf.slug}/certificates"), "certificate-made": lambda v: _key_made(v, at),
        }),
        ("admin", {
            "hospital": lambda v: v.open(f"{at}/"), "attention": lambda v: (ward.trouble(mercy), v.open(f"{at}/attention")),
            "workitem-conflict": lambda v: v.open(f"{at}/attention/items/{ward.conflict(mercy)}"),
            "workitem-duplicate": lambda v: v.open(f"{at}/attention/items/{ward.duplicate(mercy)}"),
        }),
    ]  # fmt: skip
    for role, steps in plans:
        with visitor_of(context_of(chromium), address) as visitor:
            if role:
                visitor.sign_in(mercy, role)
            for name, step in steps.items():
                step(visitor)
                lines += picture(visitor, name)
    with visitor_of(context_of(chromium), address) as visitor:
        visitor.sign_in(mercy, "admin").open(f"/t/{st_olaf.slug}/attention")
        lines += picture(visitor, "attention-empty")
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201 what `make screens` is asked for


def _tried(visitor: Visitor, at: str) -> None:
    visitor.open(f"{at}/rules/dry-run")
    visitor.page.get_by_role("button", name="Try", exact=True).click()
    visitor.page.get_by_role("heading", name="What would happen").wait_for()


def _key_made(visitor: Visitor, at: str) -> None:
    visitor.open(f"{at}/certificates")
    visitor.page.locator("#make_name").fill("CT 7")
    visitor.page.get_by_role("button", name="Make a key").click()
    visitor.page.get_by_role("heading", name="Key and certificate of CT 7").wait_for()
    # a real key: not for a picture that is kept
    visitor.page.evaluate("() => { const box = document.querySelector('#pem'); box.value = box.value.replace(/^[^-]+$/gm, '(base64)'); }")


def _wrong_password(visitor: Visitor) -> None:
    visitor.open("/accounts/login/")
    visitor.page.get_by_label("E-mail").fill("rhea@mercy-general.example")
    visitor.page.get_by_label("Password").fill(f"not {PASSWORD}")
    visitor.page.get_by_role("button", name="Sign in").click()
    visitor.page.get_by_role("alert").wait_for()
