"""The coded concepts MedHub Quantify speaks; used by the algorithms, published in docs/quantify.md.

SNOMED CT and DCM codes were looked up in the dictionaries of pydicom 3.0.2; what has no standard code is local.
"""

from dataclasses import dataclass

SCT = "http://snomed.info/sct"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
LOCAL = "https://medicalcloudaihub.com/fhir/CodeSystem/quantify"


@dataclass(frozen=True)
class Code:
    """A code as FHIR's Coding has it."""

    system: str
    code: str
    display: str


@dataclass(frozen=True)
class Unit:
    """A UCUM unit: the code for machines, the text for people."""

    code: str
    display: str


VOLUME = Code(SCT, "118565006", "Volume")
LUNG = Code(SCT, "39607008", "Lung structure")
# PS3.16 Annex D: 112032 is "Threshold Attenuation Coefficient"; the plain "Threshold Value" is another code (122411).
THRESHOLD = Code(DCM, "112032", "Threshold Attenuation Coefficient")
LAA_950 = Code(LOCAL, "laa-950", "Low attenuation area below -950 HU, share of lung voxels")
PERC15 = Code(LOCAL, "perc15", "15th percentile of lung attenuation")
HEART = Code(SCT, "80891009", "Heart")
# SCT 450360000 "Coronary artery calcium score" is left to scores of the coronary arteries: ours is of all between the lungs.
AGATSTON_LIKE = Code(LOCAL, "agatston-like", "Agatston-like score of the tissue between the lungs")
AGATSTON_THRESHOLD = Code(DCM, "122657", "Agatston Score Threshold")
CALCIUM_VOLUME = Code(DCM, "122660", "Calcium Volume")
BRAIN = Code(SCT, "12738006", "Brain")
HYPERDENSE_VOLUME = Code(LOCAL, "hyperdense-volume", "Volume of hyperdensity inside the skull")
ATTENUATION = Code(DCM, "112031", "Attenuation Coefficient")
BREAST = Code(SCT, "76752008", "Breast")
FIBROGLANDULAR = Code(DCM, "111046", "Percent Fibroglandular Tissue")
RETINA = Code(SCT, "5665001", "Retina")
VESSEL_INDEX = Code(LOCAL, "relative-vessel-index", "Relative vessel index of a fundus photograph")

MILLILITRE = Unit("mL", "mL")
PERCENT = Unit("%", "%")
HOUNSFIELD = Unit("[hnsf'U]", "HU")
CUBIC_MILLIMETRE = Unit("mm3", "mm3")
SCORE = Unit("{score}", "score")
INDEX = Unit("{index}", "index")
