"""C-FIND responses (PS3.4 C.4.1.3, PS3.7 9.1.2): Pending ones a few at a time, C-CANCEL looked for before each.

A worklist is short and asked for by a person who waits: each of its answers goes by itself.

`serving` calls it. A match costs a few microseconds here: its command set is the same for the whole query.
"""

from imaging.dimse import messages
from imaging.dimse.contexts import WORKLIST_FIND
from imaging.dimse.contract import InquiryRefused
from imaging.dimse.inquiries import Session

SEND_BYTES = 4 << 10  # a dozen answers: waking the peer costs more than an answer, and it reads them while others are made


def find_serve(session: Session) -> None:
    """Raises InquiryRefused, behind the answers made so far if there were any."""
    responder, find = session.responder, session.services.find
    assert find is not None  # noqa: S101 - contexts are offered only with it
    found = find(admission=session.admission, inquiry=session.inquiry)
    pending, send = responder.pending(found.pending_status), session.wire.send
    send_bytes = 0 if session.request.abstract_syntax == WORKLIST_FIND else SEND_BYTES
    unsent = bytearray()
    try:
        for identifier in found.identifiers:
            if responder.is_cancelled():
                responder.respond(messages.CANCELLED)
                return
            unsent += pending(identifier)
            if len(unsent) > send_bytes:
                send(unsent)
                unsent = bytearray()
    except InquiryRefused:
        send(unsent)
        raise
    if responder.is_cancelled():
        responder.respond(messages.CANCELLED)
    else:
        send(unsent + responder.encoded(messages.SUCCESS))
