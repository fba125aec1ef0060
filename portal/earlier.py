"""Earlier studies of the patient, as the study page lists them: what each is and what AI made of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from ai.models import REJECTED, Report
from ai.readers import Reader
from ai.selectors import ai_states, reports_of_studies
from imaging.models import Study
from portal.panels import algorithm_card
from portal.words import StateWords, ai_words

SHORT = 160


@dataclass(frozen=True)
class EarlierRow:
    study: Study
    said: list[str]
    state: StateWords


def earlier_rows(*, studies: Sequence[Study], reader: Reader) -> list[EarlierRow]:
    """In a scope; three queries however many studies."""
    if not studies:
        return []
    reports = reports_of_studies(study_ids=[one.id for one in studies], reader=reader)
    states = ai_states(studies=studies)
    return [EarlierRow(one, [_said(report) for report in reports.get(one.id, [])], ai_words(states[one.id])) for one in studies]


def _said(report: Report) -> str:
    """The report in a line, under its algorithm's name. Of a triage algorithm the flag, of a rejected report nothing that it said."""
    card = algorithm_card(report)
    name = card.title if card else report.algorithm
    if report.status in REJECTED:
        return _("%(name)s: rejected") % {"name": name}
    if card and card.role == "triage":
        return _("%(name)s: flagged") % {"name": name} if report.content.get("is_flagged") else _("%(name)s: no flag") % {"name": name}
    words = report.conclusion.split(". ")[0]
    return f"{name}: {words if len(words) <= SHORT else words[: SHORT - 1] + chr(0x2026)}"
