"""Objects of one study with a person's data everywhere, made with pydicom, and the walk through the engine."""

from datetime import date
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from ai.deident.engine import Done, object_deidentify
from ai.deident.mapping import Mapping, mapping_build
from ai.deident.profile import DEFAULT, Profile
from ai.deident.surrogates import Keys
from tests.dicom_files import ct_slice

KEYS = Keys(b"one connection of one hospital..")
OTHER_KEYS = Keys(b"another connection of a hospital")
SENT_ON = date(2026, 3, 2)
STUDY, SERIES, FRAME = (f"1.2.826.0.1.3680043.8.498.770{n}" for n in (1, 2, 9))
SR, SEG, PR, KO, SC = (
    UID(f"1.2.840.10008.5.1.4.1.1.{suffix}") for suffix in ("88.33", "66.4", "11.1", "88.59", "7")
)  # fmt: skip


def slices(count: int, **attributes: Any) -> list[Dataset]:
    """CT slices of the study in one frame of reference."""
    common = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "FrameOfReferenceUID": FRAME, **attributes}
    return [
        ct_slice(**common, SOPInstanceUID=f"{SERIES}.{n}", InstanceNumber=n, ImagePositionPatient=[0, 0, 2 * n])
        for n in range(1, count + 1)
    ]


def dataset(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    return dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def reference(image: Dataset) -> Dataset:
    return dataset(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def derived(image: Dataset, sop_class: UID, modality: str, **attributes: Any) -> Dataset:
    """An object of the same person and study, in a series of its own."""
    made = Dataset()
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime", "AccessionNumber"):
        made[keyword] = image[keyword]
    made.SOPClassUID, made.SOPInstanceUID, made.SeriesInstanceUID = sop_class, generate_uid(), generate_uid()
    made.Modality, made.SeriesNumber, made.InstanceNumber = modality, 9, 1
    made.PatientBirthDate, made.PatientSex = image.get("PatientBirthDate", ""), image.get("PatientSex", "")
    made.StudyID, made.ReferringPhysicianName = image.get("StudyID", ""), image.get("ReferringPhysicianName", "")
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def evidence(images: list[Dataset]) -> list[Dataset]:
    series = dataset(SeriesInstanceUID=images[0].SeriesInstanceUID, ReferencedSOPSequence=[reference(image) for image in images])
    return [dataset(StudyInstanceUID=images[0].StudyInstanceUID, ReferencedSeriesSequence=[series])]


def structured_report(images: list[Dataset]) -> Dataset:
    """Container > person name, text, date, tracking UID, number > image: what TID 1500 is made of."""
    image = images[0]
    number = dataset(
        RelationshipType="CONTAINS", ValueType="NUM", ConceptNameCodeSequence=[code("118565006", "Volume", "SCT")],
        MeasuredValueSequence=[dataset(NumericValue="12.5", MeasurementUnitsCodeSequence=[code("ml", "ml", "UCUM")])],
        ContentSequence=[dataset(RelationshipType="INFERRED FROM", ValueType="IMAGE", ReferencedSOPSequence=[reference(image)])],
    )  # fmt: skip
    uid_items = [
        dataset(RelationshipType="HAS OBS CONTEXT", ValueType="UIDREF", ConceptNameCodeSequence=[code(value, meaning)], UID=uid)
        for value, meaning, uid in (
            ("112040", "Tracking Unique Identifier", generate_uid()), ("110180", "Study Instance UID", image.StudyInstanceUID),
        )
    ]  # fmt: skip
    return derived(
        image, SR, "SR", ValueType="CONTAINER", ContinuityOfContent="SEPARATE", CompletionFlag="COMPLETE", VerificationFlag="UNVERIFIED",
        ContentDate="20260301", ContentTime="120000", ConceptNameCodeSequence=[code("126000", "Imaging Measurement Report")],
        CurrentRequestedProcedureEvidenceSequence=evidence(images),
        ContentSequence=[
            dataset(
                RelationshipType="HAS OBS CONTEXT", ValueType="PNAME", ConceptNameCodeSequence=[code("121008", "Person Observer Name")],
                PersonName="Planted^Observer",
            ),
            dataset(
                RelationshipType="CONTAINS", ValueType="TEXT", ConceptNameCodeSequence=[code("121106", "Comment")],
                TextValue="Planted text about DOE^JANE",
            ),
            dataset(
                RelationshipType="CONTAINS", ValueType="DATE", ConceptNameCodeSequence=[code("111060", "Study Date")], Date="20260301",
            ),
            *uid_items, number,
        ],
    )  # fmt: skip


def segmentation(images: list[Dataset], **attributes: Any) -> Dataset:
    """One frame for each slice, in the frame of reference and matrix of the images."""
    image, count = images[0], len(images)
    shared = dataset(
        PixelMeasuresSequence=[dataset(PixelSpacing=list(image.PixelSpacing), SliceThickness=2)],
        PlaneOrientationSequence=[dataset(ImageOrientationPatient=list(image.ImageOrientationPatient))],
    )
    frames = [
        dataset(
            DerivationImageSequence=[dataset(SourceImageSequence=[reference(one)])],
            PlanePositionSequence=[dataset(ImagePositionPatient=list(one.ImagePositionPatient))],
        )
        for one in images
    ]
    made = {
        "Rows": image.Rows, "Columns": image.Columns, "NumberOfFrames": count, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0,
        "PixelRepresentation": 0, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "SegmentationType": "BINARY",
        "FrameOfReferenceUID": image.FrameOfReferenceUID, "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames, "PixelData": bytes(image.Rows * image.Columns * count // 8),
        "ReferencedSeriesSequence": [
            dataset(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedInstanceSequence=[reference(one) for one in images])
        ],
        "SegmentSequence": [dataset(SegmentNumber=1, SegmentLabel="Lung", SegmentAlgorithmType="AUTOMATIC", TrackingUID=generate_uid())],
        "DimensionOrganizationSequence": [dataset(DimensionOrganizationUID=generate_uid())],
    }  # fmt: skip
    return derived(image, SEG, "SEG", **(made | attributes))


def presentation(images: list[Dataset]) -> Dataset:
    """With a text drawn over the image."""
    series = dataset(SeriesInstanceUID=images[0].SeriesInstanceUID, ReferencedImageSequence=[reference(image) for image in images])
    text = dataset(
        BoundingBoxAnnotationUnits="PIXEL", UnformattedTextValue="Planted text", AnchorPoint=[1, 1], AnchorPointVisibility="N",
    )  # fmt: skip
    return derived(
        images[0], PR, "PR", ContentLabel="PLANTED", ContentCreatorName="Planted^Creator", ReferencedSeriesSequence=[series],
        PresentationCreationDate="20260301", PresentationCreationTime="120000",
        GraphicAnnotationSequence=[dataset(GraphicLayer="ONE", TextObjectSequence=[text])],
    )  # fmt: skip


def key_objects(images: list[Dataset]) -> Dataset:
    return derived(
        images[0], KO, "KO", ValueType="CONTAINER", ConceptNameCodeSequence=[code("113000", "Of Interest")],
        ContentDate="20260301", ContentTime="120000", CurrentRequestedProcedureEvidenceSequence=evidence(images),
        ContentSequence=[dataset(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[reference(images[0])])],
    )  # fmt: skip


def write(ds: Dataset, path: Path, *, syntax: UID = ExplicitVRLittleEndian) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return path


def clean(
    ds: Dataset, folder: Path, *, profile: Profile = DEFAULT, keys: Keys = KEYS, syntax: UID = ExplicitVRLittleEndian,
) -> tuple[Dataset, Done]:  # fmt: skip
    """(what a platform gets, what was done). Raises Blocked."""
    source, target = write(ds, folder / f"in-{ds.SOPInstanceUID}", syntax=syntax), folder / f"out-{ds.SOPInstanceUID}"
    done = object_deidentify(source, target, profile=profile, keys=keys)
    return dcmread(target), done


def job(images: list[Dataset], folder: Path, **options: Any) -> tuple[list[Dataset], Mapping]:
    """The study as sent, and its mapping."""
    cleaned = [clean(image, folder, **options) for image in images]
    return [ds for ds, _ in cleaned], mapping_build([done for _, done in cleaned], sent_on=SENT_ON)
