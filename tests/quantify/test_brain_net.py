"""Brain volume with its network: run with `-m brain` where the optional part is installed (docs/quantify.md)."""

import base64
import json
import os
import uuid
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from quantify.brain import MODEL, analyse
from quantify.models import missing_of
from quantify.outcome import finding
from sandbox.phantoms.objects import mr_stack
from tests.quantify.series import with_values
from tests.quantify.serving import RELATED, QuantifyServer, body_of

pytestmark = pytest.mark.brain
TEMPLATE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@pytest.fixture(scope="module")
def template() -> tuple[list[bytes], np.ndarray]:
    """The MNI152 T1 template of the nilearn wheel (BRAIN_TEMPLATE: its folder) as a series, and its own outline."""
    folder = os.environ.get("BRAIN_TEMPLATE", "")
    assert not missing_of(MODEL)
    image = nibabel.as_closest_canonical(nibabel.load(Path(folder) / TEMPLATE))
    grey = np.asarray(image.dataobj, dtype=np.float32)
    assert image.header.get_zooms() == (1.0, 1.0, 1.0)
    return mr_stack("brain", np.rint(grey / grey.max() * 1000), spacing=1.0), grey > 0


def voxels(found: dict[str, Any]) -> np.ndarray:
    """The mask as (right, front, up)."""
    mask = found["mask"]
    shape = len(mask["sop_uids"]), mask["rows"], mask["columns"]
    bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(mask["bits"])), np.uint8), count=int(np.prod(shape)))
    return bits.reshape(shape).astype(bool)[:, ::-1, ::-1].transpose(0, 2, 1)


def test_the_template(template: tuple[list[bytes], np.ndarray]) -> None:
    """"for the brain: the MNI152 template of the nilearn wheel": its volume within 5 %, its outline with a Dice of 0.96 or more."""
    parts, drawn = template
    found = finding(analyse(parts), is_masked=True)
    assert found["status"] == "done"
    (volume,) = found["measurements"]
    assert (volume["code"]["code"], volume["body_site"]["code"], volume["unit"]) == ("118565006", "12738006", "mL")
    assert volume["value"] == pytest.approx(drawn.sum() / 1000, rel=0.05)
    brain = voxels(found)
    assert brain.sum() / 1000 == pytest.approx(volume["value"], abs=0.1)
    assert 2 * (brain & drawn).sum() / (brain.sum() + drawn.sum()) >= 0.96


def test_same_pixels_same_bytes(template: tuple[list[bytes], np.ndarray]) -> None:
    """"same pixels, same bytes": whatever order the instances come in, the mask included."""
    one, other = (json.dumps(finding(analyse(parts), is_masked=True)) for parts in (template[0], template[0][::-1]))
    assert one == other


def test_half_a_head_is_refused(template: tuple[list[bytes], np.ndarray]) -> None:
    """"each with gate": a brain that leaves the stack is not whole."""
    reason = analyse(template[0][:120]).reason
    assert reason is not None
    assert reason.code in {"brain_cut", "no_brain"}


def test_a_head_of_half_the_size_is_refused(template: tuple[list[bytes], np.ndarray]) -> None:
    """"each with gate": a volume that no grown brain has."""
    reason = analyse(with_values(template[0], PixelSpacing=[0.5, 0.5])).reason
    assert reason is not None
    assert reason.code == "no_brain"


def test_within_the_limits_of_a_job(template: tuple[list[bytes], np.ndarray], tmp_path: Path) -> None:
    """"limits on memory/time as the worker has them": the server's defaults are enough."""
    with QuantifyServer(tmp_path, {"QUANTIFY_MODELS": os.environ["QUANTIFY_MODELS"]}) as server:
        assert server.ask("GET", "/healthz", headers={}).json["not_installed"] == []
        headers = {"Content-Type": RELATED, "Idempotency-Key": uuid.uuid4().hex}
        reply = server.ask("POST", "/v1/jobs?algorithm=brain-volume", body=body_of(template[0]), headers=headers)
        assert server.ended(reply.json["job_id"])["status"] == "done"
