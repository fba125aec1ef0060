"""Verdicts: accept, correct, reject, take back. Each is a row, and makes the next version of the report. Pages and API call it.

preliminary -accept-> final; -correct-> amended; -reject-> cancelled, or entered-in-error once it was final; -undo-> as it was before.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from pydantic import TypeAdapter

from ai.findings import Correction, ReportContent, Review
from ai.flags import flag_settle
from ai.models import REJECTED, Report, Stage, Verdict
from ai.readers import Reader, reports_shown
from ai.review.applied import reviewed_conclusion
from ai.review.masks import masks_kept, masks_renewed
from ai.review.reasons import REASONS
from journal.audit import Actor, audit_record
from journal.outbox import event_publish
from journal.trace import trace_id_current
from tenants.selectors import person_name

Status, Action = Report.Status, Verdict.Action
MAX_WORDS = 1000
_content = TypeAdapter(ReportContent)


class VerdictRefused(Exception):
    """The verdict cannot be taken. `field`: the value that is wrong; without one, things stand otherwise than the person saw."""

    def __init__(self, words: str, *, field: str = "") -> None:
        super().__init__(words)
        self.user_message, self.field = words, field


def verdict_give(
    *, report_uuid: UUID, version: int, action: str, actor: Actor, reader: Reader, reason: str = "", words: str = "",
    corrections: Sequence[Correction] = (),
) -> Report | None:  # fmt: skip
    """The version that comes of it; None where no such report is shown to this reader. Raises VerdictRefused.

    `version` is the one that the person saw. `reason`: a code of ai.review.reasons, needed to reject and to correct.
    """
    by = _person(actor)
    newest = _newest(report_uuid, reader)
    if newest is None:
        return None
    _seen(newest, version)
    words = words.strip()
    if len(words) > MAX_WORDS:
        raise VerdictRefused(f"at most {MAX_WORDS} characters", field="words")
    if action == Action.UNDO:
        return _undo(newest, by, actor, words)
    content = _content.validate_python(newest.content)
    _checked(newest, content, action, reason, words, corrections)
    now = timezone.now()
    review = Review(
        action=action, by=by[1], by_id=by[0], at=now.isoformat(timespec="seconds"),  # type: ignore[arg-type]
        reason=reason, words=words, corrections=tuple(corrections),
    )  # fmt: skip
    decided = replace(content, review=review)
    made = _version(newest, _status(newest, action), asdict(decided), reviewed_conclusion(decided), now)
    verdict = Verdict(action=action, reason=reason, words=words, items=[asdict(one) for one in corrections])
    return _kept(verdict, newest, made, by, actor)


def standing(*, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those of one report that were not taken back, oldest first. `verdicts` in their order."""
    found: list[Verdict] = []
    for one in verdicts:
        if one.action == Action.UNDO:
            found = [kept for kept in found if kept.id != one.undoes]
        else:
            found.append(one)
    return found


def _person(actor: Actor) -> tuple[str, str]:
    """Id and name. A verdict is a person's: a machine's key gives none."""
    kind, _, key = actor.name.partition(":")
    name = person_name(user_id=UUID(key)) if kind == "user" else ""
    if not name:
        raise VerdictRefused("a verdict is a person's: sign in as the one who decides")
    return key, name


def _newest(report_uuid: UUID, reader: Reader) -> Report | None:
    """Locked, so that of two verdicts, or a verdict and a new result, one waits for the other and sees what it made."""
    rows = reports_shown(Report.objects.filter(uuid=report_uuid), reader).order_by("version")
    if not list(rows.select_for_update(of=("self",))):
        return None
    found: Report | None = rows.select_related("study", "connection", "result").last()
    return found


def _seen(newest: Report, version: int) -> None:
    if version != newest.version:
        raise VerdictRefused(f"there is a newer version: {newest.version}, {newest.get_status_display().lower()}. Look at it first")


def _checked(
    newest: Report, content: ReportContent, action: str, reason: str, words: str, corrections: Sequence[Correction]
) -> None:
    """Raises VerdictRefused."""
    if action not in {Action.ACCEPT, Action.CORRECT, Action.REJECT}:
        raise VerdictRefused("accept, correct, reject or undo", field="action")
    if newest.status in REJECTED:
        raise VerdictRefused("it was rejected: take that back first")
    if action == Action.ACCEPT and newest.status != Status.PRELIMINARY:
        raise VerdictRefused("it has been decided already: take that back first, or correct it")
    known = REASONS.get(action, {})
    if known and reason not in known:
        raise VerdictRefused("choose a reason", field="reason")
    if not known and reason:
        raise VerdictRefused("what is accepted needs no reason", field="reason")
    if known and reason == "other" and not words:
        raise VerdictRefused("say which", field="words")
    if action != Action.CORRECT and corrections:
        raise VerdictRefused("only who corrects names other values", field="corrections")
    if action == Action.CORRECT and not corrections and not words:
        raise VerdictRefused("say what is right: change a value, or write it in words", field="words")
    _corrections_checked(content, corrections)


def _corrections_checked(content: ReportContent, corrections: Sequence[Correction]) -> None:
    counts = {"measurement": len(content.measurements), "finding": len(content.findings)}
    if len({one.item for one in corrections}) != len(corrections):
        raise VerdictRefused("each item once", field="corrections")
    for one in corrections:
        kind, _, place = one.item.partition("/")
        if not (place.isascii() and place.isdigit() and int(place) < counts.get(kind, 0)):
            raise VerdictRefused("the report has no such item", field="corrections")
        if one.value is not None and (kind != "measurement" or not math.isfinite(one.value)):
            raise VerdictRefused("a number, of a measurement", field="corrections")
        if len(one.words) > MAX_WORDS:
            raise VerdictRefused(f"at most {MAX_WORDS} characters", field="corrections")


def _status(newest: Report, action: str) -> str:
    if action == Action.ACCEPT:
        return str(Status.FINAL)
    if action == Action.CORRECT:
        return str(Status.AMENDED)
    was_final = Report.objects.filter(uuid=newest.uuid, status__in=[Status.FINAL, Status.AMENDED]).exists()
    return str(Status.ENTERED_IN_ERROR if was_final else Status.CANCELLED)


def _undo(newest: Report, by: tuple[str, str], actor: Actor, words: str) -> Report:
    verdicts = Verdict.objects.filter(report__uuid=newest.uuid).select_related("report").order_by("id")
    open_ones = standing(verdicts=list(verdicts))
    if not open_ones:
        raise VerdictRefused("there is nothing to take back")
    last = open_ones[-1]
    before = last.report
    made = _version(newest, before.status, _again(newest, before.content), before.conclusion, timezone.now())
    return _kept(Verdict(action=Action.UNDO, words=words, undoes=last.id), newest, made, by, actor)


def _again(newest: Report, content: dict[str, Any]) -> dict[str, Any]:
    """The content that stands again. What a rejection note named may be hidden for good: its masks are new objects from now on."""
    if newest.stage != Stage.LIVE:  # nothing went out, and no note either
        return content
    if newest.status in REJECTED:
        return masks_renewed(content, report_uuid=newest.uuid, version=newest.version + 1)
    return masks_kept(content, newest=newest.content)


def _version(newest: Report, status: str, content: dict[str, Any], conclusion: str, now: datetime) -> Report:
    return Report(
        uuid=newest.uuid, study=newest.study, result=newest.result, connection=newest.connection, algorithm=newest.algorithm,
        version=newest.version + 1, status=status, stage=newest.stage, is_by_person=True, conclusion=conclusion, content=content,
        trace_id=trace_id_current(), issued_at=now,
    )  # fmt: skip


def _kept(verdict: Verdict, judged: Report, made: Report, by: tuple[str, str], actor: Actor) -> Report:
    """Rows, the worklist's flag, audit and event in the caller's transaction."""
    made.save(force_insert=True)
    verdict.report, verdict.made_version, verdict.at = judged, made.version, made.issued_at
    verdict.by_id, verdict.by_name = by
    verdict.save(force_insert=True)
    flag_settle(study_id=made.study_id)
    audit_record(
        actor=actor, action=f"report.review.{verdict.action}", object_type="Study", object_id=str(made.study.uuid),
        detail={"report": str(made.uuid), "version": made.version, "reason": verdict.reason},
    )  # fmt: skip
    if made.stage == Stage.LIVE:  # in the pilot a verdict counts, and goes nowhere
        event_publish(name="report.issued", ids={"report_id": made.id})
    return made
