"""A report version as DICOM objects, in the forms that a receiver wants. CPU work: workers only, outside of a scope."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from os import fspath
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ai.delivery.dossier import Dossier, FiledMask, filed_sheet, mask_references, sources_read
from ai.encoding.capture import pdf_encode, sc_encode
from ai.encoding.edition import EncodingError
from ai.encoding.kos import kos_encode
from ai.encoding.sr import sr_encode
from ai.encoding.stamp import bytes_of
from ai.printing.pdf import PrintingError, report_pages_png, report_pdf

SR, SEG, PDF, SC, KOS = "SR", "SEG", "PDF", "SC", "KOS"
COPIES = "SEG again"
ARCHIVE_FORMS = (SR, COPIES, PDF)  # a mask was filed when its result was taken, but for the copy of one that stands again
# imaging.Node.results_as -> what is sent there: who takes an SR takes what it points at
REJECTION = (KOS,)  # instead of any other form, whatever the node takes results as
FORMS: dict[str, tuple[str, ...]] = {"sr": (SR, SEG), "pdf": (PDF,), "sc": (SC,), "sr+pdf": (SR, SEG, PDF)}


class NotEncodableError(Exception):
    """The report cannot be these objects, however often it is tried. The text holds nothing of the report."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.user_message = words


@dataclass(frozen=True, kw_only=True)
class ReportObject:
    """A Part 10 file in memory; the same report version gives the same bytes. `is_needed`: without it nothing was delivered."""

    sop_class_uid: str
    sop_uid: str
    transfer_syntax_uid: str
    data: bytes
    is_needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Made:
    """What could be made, and why the rest could not, in words: a report of nothing but documents is no SR."""

    objects: tuple[ReportObject, ...]
    missing: tuple[str, ...] = ()


def report_objects(dossier: Dossier, *, forms: Sequence[str]) -> Made:
    """Raises NotEncodableError when not one of the forms can be made, OSError while the archive is away."""
    try:
        sources = sources_read(dossier)
    except InvalidDicomError:
        raise NotEncodableError("an image that the report was computed from cannot be read") from None
    found: list[ReportObject] = []
    missing: list[str] = []
    for form in forms:
        try:
            found += _masks(dossier, form, missing) if form in (SEG, COPIES) else map(_object, _MAKERS[form](dossier, sources))
        except OSError:
            raise
        except (EncodingError, PrintingError) as error:
            missing.append(f"no {form}: {error}")
        except Exception as error:  # noqa: BLE001 - highdicom and typst raise whatever they like, and their texts quote the object
            missing.append(f"no {form}: {type(error).__name__}")
    if not found:
        raise NotEncodableError("; ".join(missing))
    return Made(objects=tuple(found), missing=tuple(missing))


def _masks(dossier: Dossier, form: str, missing: list[str]) -> list[ReportObject]:
    """As they lie in the archive, byte for byte, or under the new name of a copy; what it does not hold (any more) is said."""
    there = [mask for mask in dossier.masks if mask.path is not None]
    if form == SEG and len(there) < len(dossier.masks):
        missing.append(f"no SEG: {len(dossier.masks) - len(there)} not in the archive")
    return [
        ReportObject(
            sop_class_uid=mask.sop_class_uid, sop_uid=mask.sop_uid, transfer_syntax_uid=mask.transfer_syntax_uid,
            data=_copy(mask) if mask.copy_series_uid else Path(fspath(mask.path or "")).read_bytes(), is_needed=False,
        )
        for mask in there if form == SEG or mask.copy_series_uid
    ]  # fmt: skip


def _copy(mask: FiledMask) -> bytes:
    """The same mask as another object of another series: whoever hides the one shows the other. The same bytes each time."""
    ds = dcmread(fspath(mask.path or ""))
    ds.SOPInstanceUID, ds.SeriesInstanceUID = mask.sop_uid, mask.copy_series_uid
    return bytes_of(ds)


def _object(dataset: Dataset) -> ReportObject:
    data = bytes_of(dataset)
    return ReportObject(
        sop_class_uid=str(dataset.SOPClassUID), sop_uid=str(dataset.SOPInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID), data=data,
    )  # fmt: skip


def _sr(dossier: Dossier, sources: Sequence[Dataset]) -> list[Dataset]:
    masks = mask_references(dossier.content)
    return [sr_encode(content=dossier.content, sources=sources, edition=dossier.edition, segmentations=masks)]


def _pdf(dossier: Dossier, sources: Sequence[Dataset]) -> list[Dataset]:
    sheet = filed_sheet(dossier, sources)
    return [pdf_encode(pdf=report_pdf(sheet), sources=sources, content=dossier.content, edition=dossier.edition, title=sheet.title)]


def _sc(dossier: Dossier, sources: Sequence[Dataset]) -> list[Dataset]:
    pages = report_pages_png(filed_sheet(dossier, sources))
    return sc_encode(pages=pages, sources=sources, content=dossier.content, edition=dossier.edition)


def _kos(dossier: Dossier, sources: Sequence[Dataset]) -> list[Dataset]:
    """Names what was made of the earlier versions for any receiver: one note for all of them."""
    found: dict[str, Dataset] = {}
    forms = (SR, SEG, PDF, SC) if dossier.has_pages else (SR, SEG, PDF)
    for earlier in dossier.rejects:
        for one in report_objects(earlier, forms=forms).objects:
            header = dcmread(BytesIO(one.data), stop_before_pixels=True)
            found[str(header.SOPInstanceUID)] = header
    return [kos_encode(rejected=list(found.values()), source=sources[0], content=dossier.content, edition=dossier.edition)]


_MAKERS: dict[str, Callable[[Dossier, Sequence[Dataset]], list[Dataset]]] = {SR: _sr, PDF: _pdf, SC: _sc, KOS: _kos}
