"""Words for states and people: what the pages say. Every text goes through gettext."""

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.selectors import AiState
from imaging.models import Study

AI_WORDS = {
    "waiting": gettext_lazy("waiting for images"),
    "routing": gettext_lazy("being routed"),
    "submitted": gettext_lazy("submitted"),
    "running": gettext_lazy("running"),
    "done": gettext_lazy("done"),
    "not_analysable": gettext_lazy("not analysable"),
    "not_eligible": gettext_lazy("not eligible"),
    "refused": gettext_lazy("not sent"),
    "failed": gettext_lazy("failed"),
    "quarantined": gettext_lazy("answer kept back"),
}
SEXES = {"M": gettext_lazy("M"), "F": gettext_lazy("F")}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class StateWords:
    """What components/state.html shows."""

    kind: str
    word: str
    reason: str = ""


def ai_words(state: AiState) -> StateWords:
    return StateWords(state.kind, str(AI_WORDS[state.key]), state.reason)


def patient_name(name: str) -> str:
    """DOE, Jane: family name, given name, of the first group that says something; other groups follow in brackets."""
    groups = [_group(group) for group in name.split("=") if group.strip("^ ")]
    if not groups:
        return _("(no name)")
    return groups[0] + "".join(f" ({group})" for group in groups[1:])


def _group(group: str) -> str:
    family, _sep, rest = group.partition("^")
    given = " ".join(part for part in rest.split("^")[:2] if part)
    return f"{family}, {given}" if given else family


def patient_line(study: Study) -> str:
    """MRN ...1234  F 54 y: what stands beside the name."""
    patient = study.patient
    number = patient.patient_id
    parts = [
        _("no patient number") if not number else f"MRN …{number[-4:]}" if len(number) > 4 else f"MRN {number}",
        str(SEXES.get(patient.sex, "")),
        date_words(patient.birth_date),
    ]
    return "  ".join(part for part in parts if part)


def date_words(text: str) -> str:
    """03 Mar 2026 of a DA value; what is not a whole date is shown as it came."""
    if len(text) == 8 and text.isdigit() and 1 <= int(text[4:6]) <= 12:
        return f"{text[6:]} {MONTHS[int(text[4:6]) - 1]} {text[:4]}"
    return text


def exam_time(study: Study) -> str:
    """Date and time as the modality wrote them; without an offset they are local to the device and marked so."""
    time = study.study_time
    clock = f" {time[:2]}:{time[2:4]}" if len(time) >= 4 and time[:4].isdigit() else ""
    zone = f" {study.utc_offset}" if study.utc_offset else f" ({_('device time')})" if clock else ""
    return f"{date_words(study.study_date)}{clock}{zone}".strip() or _("not stated")
