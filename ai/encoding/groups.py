"""Measurements, findings and regions as measurement groups of TID 1500 (PS3.16 TID 1501, 1410, 1411). Called by encoding/sr.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from ai.encoding.edition import Edition, EncodingError, uid_of
from ai.encoding.stamp import cut
from ai.findings import Algorithm, Coding, Finding, ImageRef, Measurement, Outline, Region, ReportContent
from ai.reading.said import FINDING
from ai.reading.schemes import HUB, SCT, designator_of

METHOD = CodedConcept("370129005", "SCT", "Measurement Method")
LATERALITY = CodedConcept("272741003", "SCT", "Laterality")
COMMENT = CodedConcept("121106", "DCM", "Comment")
REGION = CodedConcept("111030", "DCM", "Image Region")
CERTAINTY = CodedConcept("111012", "DCM", "Certainty of Finding")
ANALYSIS = Coding(system=HUB, code="image-analysis", display="Image analysis by an algorithm")
FLAG = Coding(system=HUB, code="flagged", display="Flagged to be read early")
PRESENT = Coding(system=SCT, code="52101004", display="Present")
PERCENT = CodedConcept("%", "UCUM", "%")
MOD, CONTAINS = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD, hd.sr.RelationshipTypeValues.CONTAINS
Group = hd.sr.MeasurementsAndQualitativeEvaluations
AnyGroup = (
    Group | hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations | hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)


def concept(coding: Coding) -> CodedConcept:
    """A coding as DICOM writes it; a meaning longer than an LO is cut, the code stays whole."""
    return CodedConcept(coding.code, designator_of(coding.system), cut(coding.display) or coding.code)


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Makes the groups of one report. `classes`: SOP Instance UID -> SOP Class UID of each image that may be referred to."""

    content: ReportContent
    algorithm: Algorithm
    edition: Edition
    classes: Mapping[str, str]

    def all(self, segmentations: Sequence[Dataset]) -> list[AnyGroup]:
        """In the order of the report: not analysable or the flag, findings, measurements, regions."""
        content = self.content
        groups: list[AnyGroup] = []
        if content.not_analysable:
            said = Coding(system=HUB, code=content.not_analysable.code, display="Not analysable")
            groups.append(self._statement("Not analysable", ANALYSIS, said, content.not_analysable.text))
        if content.is_flagged:
            groups.append(self._statement("Flag", FLAG, PRESENT, ""))
        groups += [self._finding(place, item) for place, item in enumerate(content.findings)]
        groups += [self._measurement(place, item) for place, item in enumerate(content.measurements)]
        masks = {str(item.SOPInstanceUID): item for item in segmentations}
        groups += [self._region(item, masks[item.sop_uid]) for item in content.regions if item.sop_uid in masks]
        return groups

    def _statement(self, title: str, code: Coding, value: Coding, text: str) -> AnyGroup:
        evaluation = hd.sr.QualitativeEvaluation(concept(code), concept(value))
        group = Group(self._tracking(title, ""), algorithm_id=self._made_by(), qualitative_evaluations=[evaluation])
        return _with(group, _text(COMMENT, text, CONTAINS))

    def _finding(self, place: int, item: Finding) -> AnyGroup:
        evaluations, kind, words = [], None, item.words
        extra: list[hd.sr.ContentItem] = []
        if item.code == FINDING:
            kind = concept(item.value) if item.value else None
        elif item.value:
            evaluations = [hd.sr.QualitativeEvaluation(concept(item.code), concept(item.value))]
        else:
            extra, words = _text(concept(item.code), words or item.code.display, CONTAINS), ""
        if item.probability is not None:
            value = item.probability * 100
            extra.append(hd.sr.NumContentItem(CERTAINTY, value, PERCENT, relationship_type=CONTAINS))
        group = self._group(f"Finding {place + 1}", item, finding_type=kind, qualitative_evaluations=evaluations or None)
        return _with(group, [*extra, *_text(COMMENT, words, CONTAINS)])

    def _measurement(self, place: int, item: Measurement) -> AnyGroup:
        unit = CodedConcept(item.unit, "UCUM", cut(item.unit_display) or item.unit)
        number = hd.sr.Measurement(concept(item.code), float(item.value), unit)
        below = _text(METHOD, item.method, MOD)
        for parameter in item.parameters:
            in_unit = CodedConcept(parameter.unit, "UCUM", parameter.unit)
            below.append(hd.sr.NumContentItem(concept(parameter.code), float(parameter.value), in_unit,
                                              relationship_type=hd.sr.RelationshipTypeValues.INFERRED_FROM))  # fmt: skip
        if below:
            number[0].ContentSequence = hd.sr.ContentSequence([*number[0].get("ContentSequence", []), *below])
        return self._group(f"Measurement {place + 1}", item, measurements=[number])

    def _region(self, item: Region, mask: Dataset) -> AnyGroup:
        series = mask.ReferencedSeriesSequence[0].SeriesInstanceUID
        segment = hd.sr.ReferencedSegment(
            mask.SOPClassUID, mask.SOPInstanceUID, item.segment_number,
            source_series=hd.sr.SourceSeriesForSegmentation(series),
        )  # fmt: skip
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            self._tracking(item.label, item.tracking_uid or uid_of(self.edition.report_uuid, "SEG", item.segment_number)),
            referenced_segment=segment, finding_category=concept(item.category), algorithm_id=self._made_by(),
            finding_sites=[hd.sr.FindingSite(concept(item.body_site))] if item.body_site else None,
        )  # fmt: skip

    def _group(self, title: str, item: Finding | Measurement, **said: Any) -> AnyGroup:
        common: dict[str, Any] = {
            "tracking_identifier": self._tracking(title, item.tracking_uid), "algorithm_id": self._made_by(),
            "finding_sites": self._sites(item), **said,
        }  # fmt: skip
        shapes = [self._region_of(outline) for outline in item.outlines if _encloses(outline)]
        extra: list[hd.sr.ContentItem] = [
            self._image(hd.sr.SourceImageForMeasurementGroup, image) for image in item.images
        ]
        extra += [self._drawn(outline) for outline in item.outlines if not _encloses(outline)]
        if item.laterality and not item.body_site:
            extra.append(hd.sr.CodeContentItem(LATERALITY, concept(item.laterality), relationship_type=MOD))
        group: AnyGroup
        if len(shapes) > 1:
            group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(**common, referenced_regions=shapes)
        elif shapes:
            group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(**common, referenced_region=shapes[0])
        else:
            group = Group(**common)
        return _with(group, extra)

    def _tracking(self, title: str, uid: str) -> hd.sr.TrackingIdentifier:
        return hd.sr.TrackingIdentifier(uid or uid_of(self.edition.report_uuid, "TRACK", title), cut(title))

    def _made_by(self) -> hd.sr.AlgorithmIdentification:
        return hd.sr.AlgorithmIdentification(self.algorithm.name, self.algorithm.version)

    def _sites(self, item: Finding | Measurement) -> list[hd.sr.FindingSite] | None:
        if item.body_site is None:
            return None
        return [hd.sr.FindingSite(concept(item.body_site), laterality=concept(item.laterality) if item.laterality else None)]

    def _image(self, kind: Any, image: ImageRef) -> Any:
        if image.sop_uid not in self.classes:
            raise EncodingError("the report refers to an image that is not among its sources")
        return kind(self.classes[image.sop_uid], image.sop_uid, list(image.frames) or None)

    def _region_of(self, outline: Outline) -> hd.sr.ImageRegion:
        return hd.sr.ImageRegion(outline.graphic, _points(outline), self._image(hd.sr.SourceImageForRegion, outline.image))

    def _drawn(self, outline: Outline) -> hd.sr.ScoordContentItem:
        """A line or loose points enclose nothing: they stand in the group as what they are."""
        item = hd.sr.ScoordContentItem(REGION, outline.graphic, _points(outline), relationship_type=CONTAINS)
        item.ContentSequence = hd.sr.ContentSequence([self._image(hd.sr.SourceImageForRegion, outline.image)])
        return item


def _points(outline: Outline) -> Any:
    return np.array(outline.points, dtype=np.float32)


def _encloses(outline: Outline) -> bool:
    """Fit for TID 1410: a point, a circle, an ellipse, a closed line."""
    is_open = outline.graphic == "POLYLINE" and outline.points[0] != outline.points[-1]
    return outline.graphic != "MULTIPOINT" and not is_open


def _with(group: AnyGroup, items: Sequence[hd.sr.ContentItem]) -> AnyGroup:
    """TID 1501 may be extended: more items below the group's container."""
    for item in items:
        group[0].ContentSequence.append(item)
    return group


def _text(name: CodedConcept, text: str, relation: hd.sr.RelationshipTypeValues) -> list[hd.sr.ContentItem]:
    return [hd.sr.TextContentItem(name, text, relationship_type=relation)] if text.strip() else []


