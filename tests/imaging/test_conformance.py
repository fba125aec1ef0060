"""The conformance statement: in the usual form, its tables are the code's, and the listener offers what it says."""

import re
from pathlib import Path

from imaging.conformance import statement_fill, statement_parts
from imaging.dimse import contexts
from imaging.dimse.associate import Proposal, request_bytes
from medhub.celery import app
from tests.imaging.test_dimse_peers import connected, next_pdu
from tests.imaging.test_query_peers import serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance" / "dicom.md"


def test_the_generated_parts_are_up_to_date() -> None:
    """"generated from the code where it can be": run `manage.py conformance_write` when this fails."""
    page = PAGE.read_text(encoding="utf-8")
    assert statement_fill(page) == page
    assert set(re.findall(r"<!-- generated: ([a-z-]+) -->", page)) == set(statement_parts())


def test_the_statement_has_the_usual_form() -> None:
    """"the conformance statement in the usual form": the chapters of PS3.2."""
    page = PAGE.read_text(encoding="utf-8")
    for chapter in (
        "1 Overview", "2 Introduction", "3 Networking", "3.1 Implementation model", "3.2 Application entity", "3.3 Network interfaces",
        "3.4 Configuration", "4 Media interchange", "5 Character sets", "6 Security",
    ):  # fmt: skip
        assert re.search(rf"^##+ {re.escape(chapter)}", page, re.MULTILINE), chapter


def test_what_the_statement_offers_is_accepted_and_nothing_else(mercy) -> None:
    """"and tested against it": each class and syntax of the page is negotiated over the wire, a class that is not on it is not."""
    page = PAGE.read_text(encoding="utf-8")
    parts = {name: re.findall(r"\| ([0-9.]+) \|$", text, re.MULTILINE) for name, text in statement_parts().items()}
    assert all(uid in page for name in parts for uid in parts[name])
    asked = [(uid, contexts.EXPLICIT_LITTLE) for uid in parts["storage-classes"]]
    asked += [(asked[1][0], syntax) for syntax in parts["transfer-syntaxes"]]
    asked += [(uid, contexts.IMPLICIT_LITTLE) for uid in parts["query-classes"]]
    never = [("1.2.840.10008.5.1.1.9", contexts.IMPLICIT_LITTLE), ("1.2.840.10008.3.1.2.3.3", contexts.IMPLICIT_LITTLE)]
    with serving() as listener:
        assert results(listener.port, mercy, asked) == {0}
        assert results(listener.port, mercy, never) == {3}
    assert app.conf.medhub_dimse["find"], "what `serving` offers is what the worker offers"


def results(port: int, hospital, proposals) -> set[int]:
    """The answers of the negotiation to these (class, syntax) pairs, over as many associations as they need."""
    found = set()
    for start in range(0, len(proposals), 100):
        share = [Proposal(uid, [syntax]) for uid, syntax in proposals[start : start + 100]]
        with connected(port) as sock:
            sock.sendall(request_bytes(hospital.called_ae, hospital.calling_ae, share, 16384))
            kind, body = next_pdu(sock)
            assert kind == 2
        at, seen = 68, 0
        while at + 4 <= len(body):
            length = int.from_bytes(body[at + 2 : at + 4], "big")
            if body[at] == 0x21:
                found.add(body[at + 6])
                seen += 1
            at += 4 + length
        assert seen == len(share)
    return found
