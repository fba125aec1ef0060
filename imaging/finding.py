"""What the DIMSE listener asks at a C-FIND (`app.conf.medhub_dimse`): the worklist or the archive, by SOP class."""

from imaging.dimse.contexts import WORKLIST_FIND
from imaging.dimse.contract import Admission, Found, Inquiry
from imaging.query import doors
from imaging.worklist.doors import worklist_find


def identifier_find(*, admission: Admission, inquiry: Inquiry) -> Found:
    """Raises InquiryRefused here, or while the answers are taken."""
    find = worklist_find if inquiry.sop_class_uid == WORKLIST_FIND else doors.identifier_find
    return find(admission=admission, inquiry=inquiry)
