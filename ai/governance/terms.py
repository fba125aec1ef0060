"""The terms of a platform: what is sent, where, under which profile, and who answers for it. Made from its card, so they cannot drift.

Their version is of the words: whoever accepted other words is asked again, and until then no study goes there. What computes in the
house has none, for nothing leaves it.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from ai.cards import Card
from ai.contract import Platform, platforms
from ai.deident.profile import BASIC, MEANINGS, NOT_OFFERED
from ai.models import Connection, TermsAcceptance
from ai.outgoing import PROFILES
from journal.audit import Actor, audit_record

EDITION = 1  # of the sentences below; raise it when their meaning changes
NOT_ACCEPTED = "the platform's terms are not accepted"
SENT = {
    "storage": "the images of the study's series that a rule or a person chooses, and a record of the study, both without identity",
    "wording": "findings that others gave, as text: no image, no identity",
}
IMAGES = "the images of the one series that a rule or a person chooses, without identity"


@dataclass(frozen=True)
class Clause:
    title: str
    text: str


@dataclass(frozen=True)
class Terms:
    version: str
    clauses: tuple[Clause, ...]

    @property
    def text(self) -> str:
        return "\n".join(f"{one.title}: {one.text}" for one in self.clauses)


@dataclass(frozen=True)
class TermsState:
    """`accepted`: the newest acceptance of whatever version; `is_accepted`: it is of the words as they stand."""

    terms: Terms | None  # None: nothing leaves the house
    accepted: TermsAcceptance | None
    is_accepted: bool


class TermsRefused(Exception):
    """They cannot be accepted like that."""

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message)
        self.user_message = user_message


def terms_of(platform: Platform) -> Terms | None:
    """None for what computes in the house."""
    card = platform.card
    if card.is_in_house:
        return None
    clauses = (
        Clause("What is sent", "; ".join(dict.fromkeys(SENT.get(one.role, IMAGES) for one in card.algorithms)) + "."),
        Clause("Where it goes", f"To {card.vendor}. {_where(card)}"),
        Clause("How it is de-identified", _how(platform)),
        Clause(
            "What MedHub does", "Sends what the hospital's active rules or its people choose, and nothing else; writes each disclosure "
            "down before the first byte leaves; keeps the way back to the person inside the hospital.",
        ),
        Clause(
            "What the hospital answers for", "That it may send this to this vendor, by a contract with it and by the law that holds for "
            "the hospital; and that a person reads what comes back. No platform's answer is a decision about a patient.",
        ),
        Clause("What the vendor answers for", "Its product, within its own intended use. MedHub does not vouch for it."),
    )  # fmt: skip
    words = "\n".join(f"{one.title}: {one.text}" for one in clauses)
    return Terms(version=f"{EDITION}-{hashlib.sha256(words.encode()).hexdigest()[:8]}", clauses=clauses)


def _where(card: Card) -> str:
    return f"Place: {', '.join(card.regions)}." if card.regions else "Place: where the hospital's contract with the vendor says."


def _how(platform: Platform) -> str:
    if all(one.role == "wording" for one in platform.card.algorithms):
        return "Names, numbers, UIDs, dates and the vendor's own words are left out; no DICOM object is sent."
    codes = PROFILES[platform.deidentification].options
    options = ", ".join(f"{MEANINGS[code]} ({code})" for code in sorted(codes))
    return (
        f"DICOM PS3.15 {MEANINGS[BASIC]} ({BASIC}) with {options}. UIDs are replaced by ones that only the hospital can turn back. "
        f"Pixels are not changed: images that may bear burned-in text are not sent, and {NOT_OFFERED['113102']}."
    )


def terms_are_accepted(connection: Connection) -> bool:
    """Of the words as they stand now. A platform that is not known any more asks for none."""
    found = platforms().get(connection.platform)
    terms = terms_of(found) if found else None
    return terms is None or connection.terms == terms.version


def terms_state(*, platform: Platform) -> TermsState:
    terms = terms_of(platform)
    accepted = terms and TermsAcceptance.objects.filter(platform=platform.card.slug).order_by("-id").first()
    return TermsState(terms, accepted or None, terms is None or bool(accepted and accepted.version == terms.version))


def terms_accept(*, platform: str, version: str, actor: Actor, now: datetime | None = None) -> TermsAcceptance:
    """Keep who accepted which words, when. Accepting the same once more keeps the first. Raises TermsRefused for other words."""
    found = platforms().get(platform)
    terms = terms_of(found) if found else None
    if terms is None:
        raise TermsRefused("there is nothing to accept: nothing leaves the house")
    if version != terms.version:
        raise TermsRefused("these are not the terms as they stand: read them again")
    before = TermsAcceptance.objects.filter(platform=platform).order_by("-id").first()
    Connection.objects.filter(platform=platform).update(terms=version)
    if before is not None and before.version == version:
        return before
    row = TermsAcceptance(
        platform=platform, version=version, text=terms.text, by=actor.name[:64], at=now or timezone.now()
    )
    row.save(force_insert=True)
    audit_record(
        actor=actor, action="connection.terms", object_type="Platform", object_id=platform, detail={"version": version}
    )
    return row


def terms_accepted_version(*, platform: str) -> str:
    """Of the newest acceptance: what a new connection begins with."""
    return TermsAcceptance.objects.filter(platform=platform).order_by("-id").values_list("version", flat=True).first() or ""
