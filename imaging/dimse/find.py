"""C-FIND responses (PS3.4 C.4.1.3, PS3.7 9.1.2): each Pending one by itself, C-CANCEL looked for before it.

`serving` calls it. A match costs a few microseconds here: its command set is the same for the whole query, and the peer reads
one answer while the next one is written.
"""

from imaging.dimse import messages
from imaging.dimse.inquiries import Session


def find_serve(session: Session) -> None:
    """Raises InquiryRefused, behind the answers made so far if there were any."""
    responder, find = session.responder, session.services.find
    assert find is not None  # noqa: S101 - contexts are offered only with it
    found = find(admission=session.admission, inquiry=session.inquiry)
    pending, send = responder.pending(found.pending_status), session.wire.send
    for identifier in found.identifiers:
        if responder.is_cancelled():
            responder.respond(messages.CANCELLED)
            return
        send(pending(identifier))
    responder.respond(messages.CANCELLED if responder.is_cancelled() else messages.SUCCESS)
