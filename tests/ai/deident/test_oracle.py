"""dicom-anonymizer, which others wrote over the same table, as an oracle: what it takes away, we take away."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions_2024b
from pydicom import Dataset, dcmread
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.uid import generate_uid

from ai.deident.blocks import Blocked
from ai.deident.engine import object_deidentify
from ai.deident.profile import Profile
from ai.deident.rules import table
from ai.deident.surrogates import uid_is_standard
from tests.ai.deident.objects import KEYS, slices, write
from tests.dicom_files import SHARED, shared_file

# Where we agree to differ, each with its reason.
AGREED = {
    "ContentSequence": "it blanks every item; ours keeps the tree and blanks texts and names (113104), references are mapped",
    "ReferencedImageSequence": "X/Z/U*: it empties the items, ours maps the UIDs in them",
    "SourceImageSequence": "likewise",
    "FlowIdentifierSequence": "its items are cleaned by their own actions",
    "VerifyingObserverSequence": "its items are cleaned by their own actions",
}
FILES = (
    "real/lung-ct-lctsc.dcm", "real/mr-brain-lgg.dcm", "real/pet-breast-icons.dcm", "real/mammo-ge-mlo.dcm", "real/rf-fluoro.dcm",
    "real/xa-96f.dcm", "real/emri-10f.dcm", "real/ecg-12lead.dcm", "objects/seg-for-sr.dcm",
    "objects/sr-tid1500.dcm", "objects/rtplan.dcm", "objects/gsps.dcm", "syntax/ct-implicit-le.dcm",
)  # fmt: skip


def _differences(before: Dataset, theirs: Dataset, ours: Dataset, where: str = "") -> list[str]:
    """Elements that the oracle removed or changed and that we left as they were."""
    found = []
    for element in before:
        keyword, tag = keyword_for_tag(element.tag) or str(element.tag), element.tag
        if keyword in AGREED or tag not in ours:
            continue
        if element.VR == "SQ":
            if tag in theirs:
                pairs = zip(element.value, theirs[tag].value, ours[tag].value, strict=False)
                for one, two, three in pairs:
                    found += _differences(one, two, three, f"{where}{keyword}.")
            elif ours[tag].value and ours[tag] == element:
                found.append(f"{where}{keyword}")
            continue
        is_touched = tag not in theirs or theirs[tag].value != element.value
        if is_touched and ours[tag].value == element.value and element.value not in ("", None) and not _is_fine(element):
            found.append(f"{where}{keyword}")
    return found


def _is_fine(element: Any) -> bool:
    """Standard UIDs mean everybody, and who de-identified the file before us wrote the same word."""
    if element.value == "REMOVED":
        return True
    return element.VR == "UI" and all(uid_is_standard(uid) for uid in ([element.value] if element.VM == 1 else element.value))


def _both(source: Path) -> tuple[Dataset, Dataset, Dataset]:
    before = dcmread(source)
    theirs = copy.deepcopy(before)
    anonymize_dataset(theirs, base_rules_gen=initialize_actions_2024b)
    with tempfile.TemporaryDirectory() as folder:
        object_deidentify(source, Path(folder) / "out", profile=Profile(), keys=KEYS)
        ours = dcmread(Path(folder) / "out")
        str(ours)
    return before, theirs, ours


@pytest.mark.parametrize("name", FILES)
def test_what_the_oracle_takes_from_a_real_file_we_take(name: str) -> None:
    before, theirs, ours = _both(shared_file(name))
    assert _differences(before, theirs, ours) == []


def test_what_the_oracle_takes_from_every_attribute_we_take(tmp_path: Path) -> None:
    """Every attribute of the table at once, filled."""
    [image] = slices(1)
    for name in table():
        tag = int(name, 16) if name != "private" and "x" not in name else 0
        vr = DicomDictionary.get(tag, ("",))[0]
        value = {
            "DA": "20260301", "DT": "20260301101500", "TM": "101500", "UI": generate_uid(), "AS": "044Y", "OB": b"ab", "UN": b"ab",
            "DS": "1", "IS": "1", "US": 1, "SQ": [], "UR": "http://a.example",
        }.get(vr, "SOMETHING")  # fmt: skip
        if vr and tag >> 16 > 4 and tag not in image and name != "00420011":
            image.add_new(tag, vr, value)
    before, theirs, ours = _both(write(image, tmp_path / "in"))
    assert len(before) > 580
    assert _differences(before, theirs, ours) == []


def test_the_oracle_itself_takes_something() -> None:
    """A differential test against somebody who does nothing would always pass."""
    before, theirs, _ = _both(shared_file("real/lung-ct-lctsc.dcm"))
    assert theirs.StudyInstanceUID != before.StudyInstanceUID
    assert SHARED.exists()
    with pytest.raises(Blocked):
        _both(shared_file("objects/pdf.dcm"))
