"""Acknowledgements (HL7 v2.5.1 2.9): AA, AE, AR; in the enhanced mode CA, CE, CR and then those, as MSH-15 and MSH-16 ask."""

import re
from dataclasses import dataclass

from django.utils import timezone

from imaging.hl7.frames import frame
from imaging.hl7.reading import Told
from journal.wall.ids import id_new

ALWAYS, NEVER, ERRORS, SUCCESSES = "AL", "NE", "ER", "SU"  # table 0155
SUCCESS = "AA"
_SAFE = re.compile(r"[^\w .:,;()/<>'-]")  # ours: nothing of a message's encoding characters


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a message. `where` is like OBR-18."""

    code: str = SUCCESS
    where: str = ""
    words: str = ""


def acks_make(told: Told | None, outcome: Outcome) -> bytes:
    """What is sent back, framed: nothing, one message or two."""
    accept, application = (told.value("MSH", 15), told.value("MSH", 16)) if told else ("", "")
    if not accept and not application:
        return frame(_ack(told, outcome))
    sent = b""
    is_good = outcome.code == SUCCESS
    if _is_wanted(accept, is_good=is_good):
        sent += frame(_ack(told, Outcome(code="C" + outcome.code[1], where=outcome.where, words=outcome.words)))
    if _is_wanted(application, is_good=is_good):
        sent += frame(_ack(told, outcome))
    return sent


def _is_wanted(asked: str, *, is_good: bool) -> bool:
    return asked == ALWAYS or asked == (SUCCESSES if is_good else ERRORS)


def _ack(told: Told | None, outcome: Outcome) -> bytes:
    header = {n: _clean(told.value("MSH", n)) for n in (3, 4, 5, 6, 10, 11, 12)} if told else {}
    kind = _clean(told.kind.partition("^")[2]) if told else ""
    now = timezone.now().strftime("%Y%m%d%H%M%S+0000")
    version = header.get(12) or "2.5.1"
    lines = [
        f"MSH|^~\\&|{header.get(5, '')}|{header.get(6, '')}|{header.get(3, '')}|{header.get(4, '')}|{now}||ACK{'^' + kind if kind else ''}|"
        f"{id_new()}|{header.get(11) or 'P'}|{version}||||||UNICODE UTF-8",
        f"MSA|{outcome.code}|{header.get(10, '')}|{_clean(outcome.words)[:80]}",
    ]
    if outcome.code[1] != "A":
        segment, _, field = outcome.where.partition("-")
        place = f"{segment}^1^{field}" if field else segment
        condition = "200^Unsupported message type" if outcome.where == "MSH-9" else "207^Application internal error"
        lines.append(f"ERR||{place}|{condition}^HL70357|E||||{_clean(outcome.words)}")
    return "\r".join(lines).encode() + b"\r"


def _clean(text: str) -> str:
    return _SAFE.sub(" ", text)[:200]
