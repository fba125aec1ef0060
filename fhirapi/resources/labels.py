"""What marks an AI result wherever it is read: security labels for machines, a sentence for people."""

from dataclasses import dataclass

from ai.findings import ReportContent
from fhirapi.resources.parts import AIAST, HTEST, Json, text_of

REVIEWED = "AI-generated, not a medical device"


@dataclass(frozen=True, kw_only=True)
class AiLabel:
    """`notice` is for people; it stops saying "preliminary" once a person has decided."""

    meta: Json
    notice: str


def label_of(*, content: ReportContent, status: str) -> AiLabel:
    labels = [AIAST, HTEST] if content.is_test_double else [AIAST]
    notice = text_of(content.notice) if status == "preliminary" else REVIEWED
    return AiLabel(meta={"security": labels}, notice=notice)
