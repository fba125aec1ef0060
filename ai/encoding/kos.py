"""A rejection note (IHE RAD TF-2 4.66.4.1.3, IOCM): a Key Object Selection that says which objects are not to be used, and who says so."""

from collections.abc import Sequence

import highdicom as hd
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from ai.encoding.edition import Edition, EncodingError
from ai.encoding.stamp import MAKER, TYPE_2, stamp
from ai.findings import ReportContent
from ai.review.applied import review_words

# CID 7011 has four. Quality (113001) is about images that may still be shown, a worklist entry (113038) and a retention time (113039)
# are other matters: a finding that a radiologist denies must not reach whoever treats the patient.
TITLE = CodedConcept("113037", "DCM", "Rejected for Patient Safety Reasons")


def kos_encode(*, rejected: Sequence[Dataset], source: Dataset, content: ReportContent, edition: Edition) -> Dataset:
    """`rejected`: headers of the report's objects in its earlier versions, all of the study of `source`. Raises EncodingError."""
    if not rejected or edition.verifier is None or content.review is None:
        raise EncodingError("there is nothing to reject, or nobody who does")
    person = hd.sr.PersonObserverIdentifyingAttributes(name=edition.verifier.name, organization_name=edition.verifier.organization)
    bare = [_bare(one) for one in rejected]
    dataset: Dataset = hd.ko.KeyObjectSelectionDocument(
        evidence=bare, series_instance_uid=edition.series_uid("KOS"), series_number=1, sop_instance_uid=edition.sop_uid("KOS"),
        instance_number=1, manufacturer="", transfer_syntax_uid=ExplicitVRLittleEndian, content=hd.ko.KeyObjectSelection(
            document_title=TITLE, referenced_objects=bare, observer_person_context=hd.sr.ObserverContext(codes.DCM.Person, person),
            description=review_words(content.review)[:1024],
        ),
    )  # fmt: skip
    stamp(dataset, kind="KOS", source=source, content=content, edition=edition)
    # No platform made this: a person said it here.
    dataset.Manufacturer = dataset.ManufacturerModelName = MAKER
    dataset.SeriesDescription = "Rejection of an AI result"
    for keyword in ("SoftwareVersions", "UDISequence"):
        dataset.pop(keyword, None)
    return dataset


def _bare(one: Dataset) -> Dataset:
    bare = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(bare, keyword, str(one[keyword].value))
    for keyword in TYPE_2:
        setattr(bare, keyword, "")
    return bare
