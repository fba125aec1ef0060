"""Brain volume without its network: the gate, and what is said where the optional part is not installed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantify.brain import MODEL, NAME, analyse
from quantify.models import ModelError, missing_of, model_read
from sandbox.phantoms.objects import mr_stack
from tests.quantify.series import with_values
from tests.quantify.serving import QuantifyServer


@pytest.fixture(scope="module")
def blob() -> list[bytes]:
    """A ball in a head-sized stack: enough for the gate, which looks at no pixel."""
    grid = np.mgrid[-45:45, -20:20, -20:20]
    return mr_stack("brain", (np.sqrt((grid**2).sum(axis=0)) < 18) * 500, spacing=1.4)


@pytest.fixture(autouse=True)
def _no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTIFY_MODELS", str(tmp_path))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Modality": "CT"}, "not_mr"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1"}, "multiframe"),
        ({"BodyPartExamined": "KNEE"}, "not_head"),
        ({"BodyPartExamined": None, "StudyDescription": "MR Knee"}, "not_head"),
        ({"ContrastBolusAgent": "Gadobutrol"}, "contrast"),
        ({"SeriesInstanceUID": ""}, "no_uids"),
        ({"ImagePositionPatient": None}, "no_position"),
        ({"PixelSpacing": None}, "no_pixel_spacing"),
        ({"PixelSpacing": [1.8, 1.8]}, "spacing"),
        ({"SliceThickness": "3"}, "spacing"),
        ({"MRAcquisitionType": "2D"}, "not_3d"),
        ({"EchoTime": "90"}, "not_t1"),
        ({"EchoTime": None}, "not_t1"),
        ({"ScanningSequence": "SE"}, "not_t1"),
    ],
    ids=str,
)
def test_refused_attribute(blob: list[bytes], values: dict[str, object], code: str) -> None:
    """"each with gate"."""
    analysis = analyse(with_values(blob, **values))
    assert analysis.reason is not None
    assert (analysis.reason.code, analysis.measurements) == (code, ())


def test_without_the_network_it_is_not_analysable(blob: list[bytes]) -> None:
    """"without it the algorithm answers "not installed" as not analysable, never an error"."""
    analysis = analyse(blob)
    assert analysis.reason is not None
    assert analysis.reason.code == "not_installed"
    assert analysis.reason.text == "the optional part is not installed: the network was not made"


def test_no_folder_is_not_installed(blob: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUANTIFY_MODELS")
    assert missing_of(MODEL) == "the optional part is not installed: no folder of networks"
    reason = analyse(blob).reason
    assert reason is not None
    assert reason.code == "not_installed"


def test_a_changed_network_is_not_loaded(tmp_path: Path) -> None:
    """"kept under MEDHUB_HOME with its sha256": other bytes than those that were made are refused."""
    (tmp_path / "a.onnx").write_bytes(b"other")
    (tmp_path / f"{MODEL}.json").write_text(json.dumps({"model": MODEL, "sha256": {"a.onnx": "0" * 64}}))
    with pytest.raises(ModelError, match=r"spoilt|no ONNX Runtime"):
        model_read(MODEL)
    (tmp_path / "a.onnx").unlink()
    with pytest.raises(ModelError, match="was not made"):
        model_read(MODEL)


def test_the_server_says_what_is_not_installed(server: QuantifyServer) -> None:
    """"the card and `check` say when it isn't installed": /healthz names it, with the reason."""
    (absent,) = server.ask("GET", "/healthz", headers={}).json["not_installed"]
    assert absent["name"] == NAME
    assert absent["reason"].startswith("the optional part is not installed")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("real/mr-brain-lgg.dcm", "1 slice, at least 80"),
        ("real/emri-10f.dcm", "only MR Image Storage slices are read: no multi-frame, no derived objects"),
        ("real/lung-ct-lctsc.dcm", "modality CT: not a magnetic resonance"),
    ],
)
def test_real_files_that_are_refused(shared: Callable[[str], Path], name: str, text: str) -> None:
    """"a single slice must be refused"; "every gate with a real file that must be refused"."""
    reason = analyse([shared(name).read_bytes()]).reason
    assert reason is not None
    assert reason.text == text
