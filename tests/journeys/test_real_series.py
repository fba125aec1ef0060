"""The real series of shared/dicom through ingest, routing and the running MedHub Quantify, in the order of DESIGN section 3."""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai.models import Decision, Job, Report
from ai.services import connection_create, rule_set
from billing.entitlements import entitlement_set
from medhub.stack import ROOT
from tests import house
from tests.dicom_files import shared_file, shared_series

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def quantify_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """The real Quantify process."""
    key = secrets.token_hex(8)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder: Path = tmp_path_factory.mktemp("quantify")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "quantify.server:app", "--worker-class", "gthread", "--bind", f"127.0.0.1:{port}"],
        cwd=ROOT, env={"QUANTIFY_KEY": key, "QUANTIFY_DIR": str(folder), "PATH": ""}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield port, key
    process.terminate()
    process.wait(20)


@pytest.fixture
def hospital(mercy, settings, quantify_port):
    port, key = quantify_port
    settings.QUANTIFY_URL, settings.QUANTIFY_KEY = f"http://127.0.0.1:{port}", key
    settings.EGRESS_ALLOW = [f"127.0.0.1:{port}"]
    with mercy.scope():
        entitlement_set(state="active")
        rule_set(
            name="chest", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask",
            conditions=[{"fact": "modality", "is": ["CT"]}],
        )  # fmt: skip
    return mercy


def test_the_2_mm_series_yields_numbers(hospital) -> None:
    """"`chest-ct-lidc-0314-2mm.zip` ... yields numbers": plausible, with unit and method."""
    house.store(hospital, shared_series("chest-ct-lidc-0314-2mm"))
    house.settle(hospital, seconds=90)
    with hospital.scope():
        report = Report.objects.get()
    values = {item["code"]["code"]: item["value"] for item in report.content["measurements"]}
    assert 1000 < values["118565006"] < 10_000
    assert 0 <= values["laa-950"] < 20
    assert -1000 < values["perc15"] < -700
    assert report.content["not_analysable"] is None


def test_the_head_ct_is_refused_for_what_it_is(hospital) -> None:
    """"the head CT and the chest X-ray are refused for what they are": no job, no report, the reason is there."""
    house.store(hospital, shared_series("head-ct-ge"))
    house.settle(hospital, seconds=60)
    with hospital.scope():
        reasons = [one["reason"] for row in Decision.objects.all() for one in row.outcomes]
        reasons += list(Job.objects.values_list("reason", flat=True))
        assert any("HEAD" in reason for reason in reasons), reasons
        assert not Report.objects.filter(result__is_analysable=True).exists()


@pytest.mark.parametrize("name", ["real/cxr-nih-1024.dcm", "real/cxr-mono1-440.dcm"])
def test_the_chest_x_ray_is_refused_for_what_it_is(hospital, name) -> None:
    """The rule wants CT; the reason names what came."""
    from imaging.inbox import object_write

    object_write(tenant_id=hospital.tenant.id, source=0, trace_id="0" * 32, parts=[shared_file(name).read_bytes()])
    house.settle(hospital, seconds=30)
    with hospital.scope():
        assert Job.objects.count() == 0
        reason = Decision.objects.get().outcomes[0]["reason"]
    assert reason.startswith("modality is ")
    assert "CT" in reason
