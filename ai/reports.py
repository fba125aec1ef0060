"""From a result to a report version, preliminary. Subscriber of result.received."""

import math
from dataclasses import asdict, fields
from typing import Any

from django.utils import timezone
from pydantic import TypeAdapter

from ai.connections import platform_name
from ai.contract import platforms
from ai.findings import NOTICE, Answer, ReportContent
from ai.governance.recalls import recall_words, recalls_standing
from ai.handles import report_to_word
from ai.models import Connection, Job, Report, Result, Stage
from journal.faults import fault
from journal.outbox import event_publish
from journal.trace import trace_id_current
from journal.types import Event

_answer = TypeAdapter(Answer)
OUR_NOTES = {"role", "not_flagged"}  # of ai.wires.roles; any other is the platform's own
CONTENT = {one.name for one in fields(ReportContent)}


def report_issue(*, event: Event) -> None:
    """One report version a result. A re-run after late images is the next version of the same report.

    A receipt makes none: a store finds nothing. Wording makes the next version of the report that it words.
    """
    result = Result.objects.select_related("job__connection", "job__study").get(id=event.ids["result_id"])
    if Report.objects.filter(result=result).exists():
        return
    answer = _answer.validate_python(result.payload)
    report = _worded(result, answer) if answer.wording else _found(result, answer)
    if report is None:
        return
    report.save(force_insert=True)
    if report.stage == Stage.LIVE:  # what is not live goes nowhere: no FHIR, no PACS
        event_publish(name="report.issued", ids={"report_id": report.id})
    fault("reports.before_commit")


def _found(result: Result, answer: Answer) -> Report | None:
    job = result.job
    if not answer.is_seen and answer.not_analysable is None:
        return None
    before = _latest(job)
    said = {name: value for name, value in asdict(answer).items() if name in CONTENT}
    content = {
        **flag_only(said, platform=job.connection.platform, algorithm=job.algorithm), "platform": platform_name(job.connection),
        "is_test_double": job.connection.is_test, "notice": NOTICE,
    }  # fmt: skip
    return _report(result, job.connection, job.algorithm, content, before)


def flag_only(content: dict[str, Any], *, platform: str, algorithm: str) -> dict[str, Any]:
    """Of a triage algorithm the flag alone, whatever came with it: it may flag, nothing more. Others' content as it is."""
    known = platforms().get(platform)
    if known is None or not any(one.name == algorithm and one.role == "triage" for one in known.card.algorithms):
        return content
    notes = [one for one in content["notes"] if one["code"] in OUR_NOTES]
    return {**content, "measurements": (), "findings": (), "regions": (), "documents": (), "wording": None, "notes": notes}


def _worded(result: Result, answer: Answer) -> Report | None:
    """The draft stands beside the findings that it words, under the name of the algorithm that found them."""
    source = report_to_word(study_id=result.job.study_id)
    if source is None:
        return None
    content = {**source.content, "wording": asdict(answer)["wording"], "review": None}
    before = source if source.status == Report.Status.PRELIMINARY else None
    return _report(result, source.connection, source.algorithm, content, before)


def _latest(job: Job) -> Report | None:
    """What a new result is the next version of. What a person has decided stays as it is: then the new result stands beside it."""
    rows = Report.objects.filter(study=job.study, connection=job.connection, algorithm=job.algorithm).order_by("id")
    found = list(rows.select_for_update())  # a verdict takes the same rows, so neither overtakes the other
    newest = rows.exclude(id__in=[one.id for one in found]).last() or (found[-1] if found else None)
    return newest if newest and newest.status == Report.Status.PRELIMINARY else None


def _recalled(result: Result, connection: Connection, algorithm: str, content: dict[str, Any]) -> dict[str, Any]:
    """What was under way when its algorithm was recalled says so in its own words, wherever they are carried."""
    standing = recalls_standing()
    makers = {(connection.platform, algorithm), (result.job.connection.platform, result.job.algorithm)}
    said = [f"issued while its algorithm was {recall_words(standing[maker])}" for maker in sorted(makers) if maker in standing]
    return {**content, "notes": [*content["notes"], *({"code": "recalled", "text": words} for words in said)]} if said else content


def _report(result: Result, connection: Connection, algorithm: str, content: dict[str, Any], before: Report | None) -> Report:
    content = _recalled(result, connection, algorithm, content)
    report = Report(
        study=result.job.study, result=result, connection=connection, algorithm=algorithm,
        version=before.version + 1 if before else 1, stage=result.job.stage, conclusion=conclusion_words(content=content), content=content,
        trace_id=trace_id_current(), issued_at=timezone.now(),
    )  # fmt: skip
    if before:
        report.uuid = before.uuid
    return report


def conclusion_words(*, content: dict[str, Any], ending: str = f"{NOTICE}.") -> str:
    """The result in one line, numbers with units, and what it is not. No diagnosis: only what was measured, or what a platform said."""
    reason = content.get("not_analysable")
    if reason:
        return f"Not analysable: {reason['text']}. {ending}"
    parts = ["Asks that this study be read first"] if content.get("is_flagged") else []
    parts += [f"{finding_words(m)} {number_words(m['value'])} {m['unit_display']}" for m in content["measurements"]]
    parts += [statement_words(f) for f in content.get("findings") or ()]
    if content.get("regions"):
        parts.append(f"{len(content['regions'])} region{'' if len(content['regions']) == 1 else 's'} outlined")
    if not parts and content.get("documents"):
        parts.append(f"{len(content['documents'])} documents, see them")
    return f"{'; '.join(parts)}. {ending}"


def statement_words(finding: dict[str, Any]) -> str:
    """ "Suspected: Pneumothorax: present (0.87)": the vendor's claim, never ours."""
    value = finding.get("value")
    stated = (value["display"] or value["code"]) if value else finding.get("words", "")
    said = f"{finding['code']['display'] or finding['code']['code']}: {stated}"
    probability = finding.get("probability")
    return f"Suspected: {said}" + (f" ({probability:.2f})" if probability is not None else "")


def finding_words(measurement: dict[str, Any]) -> str:
    """The code's display, the body site where the display alone doesn't say it, and the side: "Volume, kidney structure, left"."""
    display, site, side = measurement["code"]["display"], measurement.get("body_site"), measurement.get("laterality")
    parts = [str(display)]
    if site and site["display"].split()[0].casefold() not in display.casefold():
        parts.append(site["display"].lower())
    if side:
        parts.append(side["display"].lower())
    return ", ".join(parts)


def number_words(value: float) -> str:
    """Three significant digits, but never fewer than the whole number: 4,215 and 12.0 and 0.0312."""
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{max(2 - math.floor(math.log10(abs(value))), 0)}f}"
