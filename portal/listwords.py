"""Rows of the worklist in words, made once so that the template only writes them out: two hundred are rendered while somebody waits."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.worklist import AiRow
from imaging.models import Study
from portal import words

AI_WORDS = {
    **words.AI_WORDS, "late": gettext_lazy("late"), "off": gettext_lazy("switched off"), "flagged": gettext_lazy("done, flag"),
    "not_flagged": gettext_lazy("done, no flag"), "hidden": gettext_lazy("not shown"),
}  # fmt: skip
HIDDEN = gettext_lazy("its platform is in shadow or pilot")
PRIORITIES = {"stat": gettext_lazy("STAT"), "urgent": gettext_lazy("Urgent"), "routine": gettext_lazy("Routine")}


# A row as it is sent, written here and not in a template: two hundred of them took forty milliseconds there, and take three here.
# Every value is escaped by format_html; what stands in an attribute without quotes is a number, a UUID or a word of ours.
# Addresses are relative to the page, and ends of rows and cells are left to the parser: 200 rows stay under 150 KB.
ROW = (
    "<tr data-v={mark}><td>{raised}<span data-since>{since}</span><time datetime={utc}>{when}</time>"
    "<td><a id=s{id} data-row-link href=studies/{uuid}>{name}</a> <span>{sex_age}</span><small>{line}</small>"
    "<td><b>{modalities}</b> {description}<small>{exam}</small>"
    "<td>{images}<a href=studies/{uuid}/viewer>{look}</a>"
    '<td><a class="mh-state mh-state-{kind}" href=worklist/{uuid}><svg aria-hidden=true><use href=#k-{kind} /></svg>'
    "<span>{word}{reason}</span></a>"
)


@dataclass(frozen=True, slots=True)
class ListRow:
    """A row: `html` is what the page shows of it."""

    id: int
    html: SafeString


def facts_of(study: Study, row: AiRow) -> str:
    """Everything that the row's words are made of and that may change while the page is open."""
    patient = study.patient
    return "|".join(map(str, (
        study.version, study.number_of_instances, study.state, study.priority, row.kind, row.key, row.reason, row.done, row.jobs,
        row.flags, study.modalities, study.description, study.study_date, patient.name, patient.patient_id, patient.birth_date,
        patient.sex,
    )))  # fmt: skip


def mark_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:7]


def list_rows(studies: Sequence[Study], ai: dict[int, AiRow]) -> list[ListRow]:
    said = tuple(str(one) for one in words.SINCE)
    look, urgent, now = _("view"), format_html("<b class=mh-flag>★ {}</b> ", _("Urgent (AI)")), timezone.now()
    return [ListRow(study.id, _row(study, ai[study.id], now, said, look, urgent)) for study in studies]


def _row(study: Study, row: AiRow, now: datetime, said: tuple[str, ...], look: str, urgent: SafeString) -> SafeString:
    arrived = timezone.localtime(study.first_received_at)
    priority = format_html("<b class=mh-stat>{}</b> ", PRIORITIES[study.priority]) if study.priority in ("stat", "urgent") else ""
    reason = ai_reason(row)
    return format_html(
        ROW, mark=mark_of(facts_of(study, row)), raised=format_html("{}{}", priority, urgent if row.flags else ""),
        since=words.elapsed_words((now - study.first_received_at).total_seconds(), said),
        when=f"{arrived:%d} {words.MONTHS[arrived.month - 1]} {arrived:%Y %H:%M:%S %Z}",
        utc=f"{arrived.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", id=study.id, uuid=study.uuid,
        name=words.patient_name(study.patient.name), sex_age=words.sex_age(study),
        line=words.patient_line(study), modalities=study.modalities.replace(",", ", "),
        description=study.description or _("(no description)"), exam=words.exam_time(study), images=study.number_of_instances, look=look,
        kind=row.kind, word=AI_WORDS[row.key], reason=format_html("<small>{}</small>", reason) if reason else "",
    )  # fmt: skip


def ai_reason(row: AiRow) -> str:
    """Why, since when, how many of several, and who flags."""
    parts = [", ".join(dict.fromkeys(row.flags))] if row.flags else []
    if row.key == "hidden":
        parts.append(str(HIDDEN))
    if row.reason:
        parts.append(row.reason)
    if row.since is not None:
        parts.append(_("since %(clock)s") % {"clock": f"{timezone.localtime(row.since):%H:%M:%S}"})
    if row.jobs > 1:
        parts.append(_("%(done)s of %(jobs)s done") % {"done": row.done, "jobs": row.jobs})
    return " · ".join(parts)
