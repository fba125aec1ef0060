"""The anatomy that VISTA-3D labels: its numbers and names, and the SNOMED CT structure that each of ours is. Used by ai/wires/nim.py.

Numbers and names are the model's (Project MONAI's label list of VISTA3D, 132 classes). Offered are normal structures that SNOMED CT
has a code for in DICOM's own dictionaries (pydicom 3.0.2); lesions, cysts and masses are not: a label of those would be a finding.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ai.contract import PlatformError
from ai.findings import Coding

SCT = "http://snomed.info/sct"
LEFT = Coding(system=SCT, code="7771000", display="Left")
RIGHT = Coding(system=SCT, code="24028007", display="Right")
ANATOMY = Coding(system=SCT, code="91723000", display="Anatomical Structure")  # PS3.16 CID 7150


@dataclass(frozen=True, kw_only=True)
class Structure:
    """`number` and `name` are the model's. `parts`: numbers that may come in the place of a structure that the model splits."""

    number: int
    name: str
    site: Coding
    laterality: Coding | None = None
    parts: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        return self.name[:1].upper() + self.name[1:]


def _one(number: int, name: str, code: str, display: str, side: Coding | None = None, parts: tuple[int, ...] = ()) -> Structure:
    return Structure(
        number=number, name=name, site=Coding(system=SCT, code=code, display=display), laterality=side, parts=parts
    )


STRUCTURES = (
    _one(1, "liver", "10200004", "Liver structure"),
    _one(3, "spleen", "78961009", "Splenic structure"),
    _one(4, "pancreas", "15776009", "Pancreatic structure"),
    _one(5, "right kidney", "64033007", "Kidney structure", RIGHT),
    _one(6, "aorta", "15825003", "Aortic structure"),
    _one(7, "inferior vena cava", "64131007", "Inferior vena cava structure"),
    _one(8, "right adrenal gland", "23451007", "Adrenal structure", RIGHT),
    _one(9, "left adrenal gland", "23451007", "Adrenal structure", LEFT),
    _one(10, "gallbladder", "28231008", "Gallbladder structure"),
    _one(11, "esophagus", "32849002", "Esophageal structure"),
    _one(12, "stomach", "69695003", "Stomach structure"),
    _one(13, "duodenum", "38848004", "Duodenal structure"),
    _one(14, "left kidney", "64033007", "Kidney structure", LEFT),
    _one(15, "bladder", "89837001", "Urinary bladder structure"),
    _one(18, "rectum", "34402009", "Rectum structure"),
    _one(19, "small bowel", "30315005", "Small intestinal structure"),
    _one(20, "lung", "39607008", "Lung structure", parts=(28, 29, 30, 31, 32)),
    _one(28, "left lung upper lobe", "45653009", "Structure of upper lobe of lung", LEFT),
    _one(29, "left lung lower lobe", "90572001", "Structure of lower lobe of lung", LEFT),
    _one(30, "right lung upper lobe", "45653009", "Structure of upper lobe of lung", RIGHT),
    _one(31, "right lung middle lobe", "72481006", "Structure of middle lobe of right lung", RIGHT),
    _one(32, "right lung lower lobe", "90572001", "Structure of lower lobe of lung", RIGHT),
    _one(57, "trachea", "44567001", "Tracheal structure"),
    _one(62, "colon", "71854001", "Colon structure"),
    _one(115, "heart", "80891009", "Heart structure"),
    _one(118, "prostate", "41216001", "Prostatic structure"),
    _one(120, "skull", "89546000", "Bone structure of cranium"),
    _one(121, "spinal cord", "2748008", "Spinal cord structure"),
    _one(122, "sternum", "56873002", "Bone structure of sternum"),
    _one(125, "superior vena cava", "48345005", "Superior vena cava structure"),
    _one(126, "thyroid gland", "69748006", "Thyroid structure"),
)
BY_NAME = {one.name: one for one in STRUCTURES}
BY_NUMBER = {one.number: one for one in STRUCTURES}
DEFAULT = "liver, spleen, pancreas, right kidney, left kidney, gallbladder, stomach, aorta, inferior vena cava, bladder"


def structures_asked(settings: Mapping[str, str]) -> tuple[Structure, ...]:
    """The connection's choice, in the model's order. Raises PlatformError for a name that is not offered."""
    names = {name.strip().lower() for name in (settings.get("structures") or DEFAULT).split(",") if name.strip()}
    if not names or names - BY_NAME.keys():
        raise PlatformError("the setting structures holds a name that is not offered (docs/platforms.md)", is_permanent=True)
    return tuple(one for one in STRUCTURES if one.name in names)
