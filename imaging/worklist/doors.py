"""What a modality asks by C-FIND of the Modality Worklist class (PS3.4 K.4.1): matches as encoded data sets."""

from imaging.dimse.contract import Admission, Found, Inquiry, InquiryRefused
from imaging.dimse.messages import IDENTIFIER_MISMATCH, PENDING, PENDING_WITH_WARNING
from imaging.query.answers import UTF8, CharacterSet, DatasetEncoder, UnfitError, character_set_make
from imaging.query.doors import answers_make, find_audit
from imaging.query.keys import QueryError
from imaging.query.match import Value
from imaging.worklist.attributes import STEPS
from imaging.worklist.query import Row, WorklistQuery, worklist_parse, worklist_rows


def worklist_find(*, admission: Admission, inquiry: Inquiry) -> Found:
    """Raises InquiryRefused here, or while the answers are taken."""
    try:
        query = worklist_parse(inquiry.identifier, transfer_syntax_uid=inquiry.transfer_syntax_uid)
    except QueryError as error:
        raise InquiryRefused(IDENTIFIER_MISMATCH, error.comment) from None
    encoder = WorklistEncoder(query, transfer_syntax_uid=inquiry.transfer_syntax_uid)
    pages = worklist_rows(
        query, tenant_id=admission.tenant_id,
        at_start=lambda: find_audit(admission, "WORKLIST", action="dicom.worklist"),
    )  # fmt: skip
    return Found(PENDING_WITH_WARNING if query.has_unsupported else PENDING, answers_make(admission, pages, encoder.encode))


class WorklistEncoder:
    """Matches to data sets with one item of the sequence of steps; in one character set, that asked for if it holds all text."""

    def __init__(self, query: WorklistQuery, *, transfer_syntax_uid: str) -> None:
        self._asked = character_set_make(query.character_set)
        self._order = DatasetEncoder(query.answers, transfer_syntax_uid=transfer_syntax_uid, constants={})
        self._step = DatasetEncoder(query.step_answers or (), transfer_syntax_uid=transfer_syntax_uid, constants={})
        self._place = next((at for at, (key, _) in enumerate(query.answers) if key.tag == STEPS), None)

    def encode(self, row: Row) -> bytes:
        try:
            return self._encoded(row, self._asked)
        except UnfitError:
            return self._encoded(row, CharacterSet(UTF8))

    def _encoded(self, row: Row, charset: CharacterSet | None) -> bytes:
        values: list[Value | bytes] = list(row.values)
        if self._place is not None:
            values[self._place] = self._step.dataset(row.step_values, charset, is_item=True)
        return self._order.dataset(values, charset)
