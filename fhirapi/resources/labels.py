"""What marks an AI result wherever it is read: security labels for machines, a sentence for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from ai.findings import REVIEWED, ReportContent
from ai.governance.recalls import Flag
from fhirapi.resources.parts import AIAST, HTEST, OURS, Json, text_of

RECALLED = {"system": f"{OURS}/CodeSystem/report-flag", "code": "recalled", "display": "Algorithm recalled by the hospital"}


@dataclass(frozen=True, kw_only=True)
class AiLabel:
    """`notice` is for people; it stops saying "preliminary" once a person has decided."""

    meta: Json
    notice: str


def label_of(*, content: ReportContent, status: str, flags: Sequence[Flag] = ()) -> AiLabel:
    labels = [AIAST, HTEST] if content.is_test_double else [AIAST]
    notice = text_of(content.notice) if status == "preliminary" else REVIEWED
    tags = {"tag": [RECALLED]} if flags else {}
    return AiLabel(meta={"security": labels, **tags}, notice=notice)


def flag_words(flag: Flag) -> str:
    """For people: an EHR that knows no tag still shows the conclusion."""
    return f"RECALLED: the hospital stopped this algorithm on {flag.since:%Y-%m-%d}: {text_of(flag.reason)}"
