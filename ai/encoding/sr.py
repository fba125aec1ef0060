"""A report version as a structured report by TID 1500, in Comprehensive 3D SR (IHE AIR) or Comprehensive SR."""

from collections.abc import Sequence

import highdicom as hd
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from ai.encoding.edition import Edition, EncodingError, uid_of
from ai.encoding.groups import Grouping, concept
from ai.encoding.stamp import cut, evidence_of, maker_of, stamp
from ai.findings import REVIEWED, Algorithm, Coding, ReportContent
from ai.reading.part10 import items_of
from ai.reading.schemes import HUB, coding_of
from ai.review.applied import content_applied, corrections_told, review_words

NOTICE = Coding(system=HUB, code="notice", display="Notice")
DRAFT = Coding(system=HUB, code="draft-wording", display="Draft wording by a language model, not a finding")
GENERIC = CodedConcept("18748-4", "LN", "Diagnostic imaging study")
COMMENT = CodedConcept("121106", "DCM", "Comment")
UDI = CodedConcept("128739", "DCM", "UDI")


def sr_encode(
    *, content: ReportContent, sources: Sequence[Dataset], edition: Edition, segmentations: Sequence[Dataset] = (), is_3d: bool = True
) -> Dataset:
    """The SR document of this version: UNVERIFIED, PARTIAL and PRELIMINARY until a person has decided; then VERIFIED by that person.

    `sources`: headers of the images that were computed from, all of one study; each is evidence. `segmentations`: masks that
    belong to the report. `is_3d=False` for receivers that do not take Comprehensive 3D SR. Raises EncodingError.
    """
    classes = {str(source.SOPInstanceUID): str(source.SOPClassUID) for source in sources}
    algorithm = _algorithm(content)
    groups = Grouping(content=content_applied(content), algorithm=algorithm, edition=edition, classes=classes).all(segmentations)
    if not groups:
        raise EncodingError("the report has no measurement, finding or reason that an SR could say")
    evidence = evidence_of([*sources, *segmentations])
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=_observer(algorithm), observer_person_context=_corrector(content, edition)
        ),
        procedure_reported=_procedure(sources[0]), imaging_measurements=groups, title=codes.DCM.ImagingMeasurementReport,
    )  # fmt: skip
    report[0].ContentSequence.extend(_remarks(content))
    kind = hd.sr.Comprehensive3DSR if is_3d else hd.sr.ComprehensiveSR
    verifier = edition.verifier
    dataset: Dataset = kind(
        evidence=evidence, content=report, series_instance_uid=edition.series_uid("SR"), series_number=1,
        sop_instance_uid=edition.sop_uid("SR"), instance_number=1, manufacturer="", is_final=edition.is_final,
        is_complete=verifier is not None, is_verified=verifier is not None,
        verifying_observer_name=verifier.name if verifier else None, verifying_organization=verifier.organization if verifier else None,
        transfer_syntax_uid=ExplicitVRLittleEndian, specific_character_set="ISO_IR 192",
    )  # fmt: skip
    dataset.CompletionFlagDescription = cut(REVIEWED if verifier else content.notice)
    if verifier:  # the moment of the decision, not of the encoding: a retry makes the same bytes
        dataset.VerifyingObserverSequence[0].VerificationDateTime = verifier.at.strftime("%Y%m%d%H%M%S%z")
    if edition.replaces:
        dataset.PredecessorDocumentsSequence = [_predecessor(dataset, edition)]
    stamp(dataset, kind="SR", source=sources[0], content=content, edition=edition)
    return dataset


def _algorithm(content: ReportContent) -> Algorithm:
    """As the device that observes: a stand-in under its own name."""
    made_by = content.algorithm
    return Algorithm(name=made_by.name, version=made_by.version, manufacturer=maker_of(content), udi=made_by.udi)


def _corrector(content: ReportContent, edition: Edition) -> hd.sr.ObserverContext | None:
    """Beside the device, who changed what it said (TID 1003). Who only agreed has observed nothing: that is the verification."""
    if edition.verifier is None or content.review is None or content.review.action != "correct":
        return None
    person = hd.sr.PersonObserverIdentifyingAttributes(name=edition.verifier.name, organization_name=edition.verifier.organization)
    return hd.sr.ObserverContext(codes.DCM.Person, person)


def _observer(algorithm: Algorithm) -> hd.sr.ObserverContext:
    """TID 1004; the UID stands for this version of this algorithm, whichever report it wrote."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of("DEVICE", algorithm.manufacturer, algorithm.name, algorithm.version, algorithm.udi),
        name=f"{algorithm.name} {algorithm.version}".strip(), manufacturer_name=algorithm.manufacturer, model_name=algorithm.name,
    )  # fmt: skip
    if algorithm.udi:
        relation = hd.sr.RelationshipTypeValues.HAS_OBS_CONTEXT
        device.append(hd.sr.TextContentItem(UDI, algorithm.udi, relationship_type=relation))
    return hd.sr.ObserverContext(codes.DCM.Device, device)


def _procedure(source: Dataset) -> CodedConcept:
    """What the study says it was, else what every imaging study is."""
    found = [coding_of(item, {}) for item in items_of(source, "ProcedureCodeSequence")]
    return concept(found[0]) if found and found[0] else GENERIC


def _remarks(content: ReportContent) -> list[hd.sr.ContentItem]:
    """TID 1500 may be extended: the notice, notes and a draft stand at the root, where every viewer shows them."""
    said = [(concept(NOTICE), REVIEWED if content.review else content.notice), *((COMMENT, note.text) for note in content.notes)]
    if content.review:
        told = [f"{one.term}: {one.after}; the algorithm said: {one.before}" for one in corrections_told(content)]
        said += [(COMMENT, text) for text in (review_words(content.review), *told)]
    if content.wording:
        said.append((concept(DRAFT), f"{content.wording.text} ({content.wording.model})"))
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    return [hd.sr.TextContentItem(name, text, relationship_type=contains) for name, text in said if text.strip()]


def _predecessor(dataset: Dataset, edition: Edition) -> Dataset:
    """Predecessor Documents Sequence (PS3.3 C.17.2): the version that this one replaces."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = dataset.SOPClassUID
    instance.ReferencedSOPInstanceUID = edition.sop_uid("SR", version=edition.replaces)
    series.ReferencedSOPSequence, series.SeriesInstanceUID = [instance], edition.series_uid("SR")
    study.ReferencedSeriesSequence, study.StudyInstanceUID = [series], dataset.StudyInstanceUID
    return study
