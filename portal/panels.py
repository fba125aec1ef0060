"""What the AI panels of a study page show: each report with its items, pictures, decisions and the forms to decide."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from pydantic import TypeAdapter

from ai.cards import AlgorithmCard
from ai.contract import platforms
from ai.delivery.selectors import deliveries_of, has_outlines
from ai.findings import ReportContent
from ai.governance.recalls import Flag, report_flags
from ai.models import REJECTED, Report, Verdict
from ai.reports import finding_words
from ai.review.applied import Corrected, corrections_of, corrections_told
from ai.review.reasons import REASONS, reason_words
from ai.review.selectors import verdicts_of
from ai.review.services import standing
from imaging.selectors import SlicePlace, slice_places
from portal.deliveries import DeliveryRow, delivery_row

MAX_PICTURES = 4  # links an item: more are in the viewer
ROLE_WORDS = {
    "triage": gettext_lazy("triage"), "detection": gettext_lazy("detection"), "quantification": gettext_lazy("quantification"),
    "autonomous": gettext_lazy("autonomous"),
}  # fmt: skip
DONE = {
    "accept": gettext_lazy("Accepted"), "correct": gettext_lazy("Corrected"), "reject": gettext_lazy("Rejected"),
    "undo": gettext_lazy("Taken back"),
}  # fmt: skip
STANDARDS = {"http://snomed.info/sct": "SNOMED CT", "http://dicom.nema.org/resources/ontology/DCM": "DCM", "http://loinc.org": "LOINC"}
_content = TypeAdapter(ReportContent)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A measurement or a finding: `data` as the report keeps it, `key` as a correction names it."""

    key: str
    data: dict[str, Any]
    label: str
    number: str = ""  # of a measurement, as a field's value
    code: str = ""  # SNOMED CT 36118008: what machines read
    places: tuple[SlicePlace, ...] = ()
    more: int = 0  # pictures without a link
    corrected: Corrected | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One verdict in words."""

    verdict: Verdict
    done: str
    why: str
    is_standing: bool


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A verdict that was not taken: what was wrong, and what the person had entered, so that nothing is lost."""

    words: str
    action: str
    field: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Panel:
    report: Report
    content: dict[str, Any]
    card: AlgorithmCard | None
    role: str
    is_flag_only: bool
    measurements: tuple[Item, ...]
    findings: tuple[Item, ...]
    decisions: tuple[Decision, ...]
    deliveries: tuple[DeliveryRow, ...]
    has_overlay: bool
    flags: tuple[Flag, ...]  # recalls of its algorithm, told before everything that it says
    refused: Refused | None = None
    reject_reasons: tuple[tuple[str, str], ...] = tuple(REASONS["reject"].items())
    correct_reasons: tuple[tuple[str, str], ...] = tuple(REASONS["correct"].items())

    @property
    def is_rejected(self) -> bool:
        return self.report.status in REJECTED

    @property
    def may_accept(self) -> bool:
        return bool(self.report.status == Report.Status.PRELIMINARY)

    @property
    def may_undo(self) -> bool:
        return any(one.is_standing for one in self.decisions)

    @property
    def items(self) -> tuple[Item, ...]:
        return (*self.measurements, *self.findings)


def panels_of(*, reports: Sequence[Report], refused: dict[object, Refused] | None = None) -> list[Panel]:
    """In a scope; a constant number of queries, and one more for each series that pictures are linked in."""
    uuids = [report.uuid for report in reports]
    sent, verdicts = deliveries_of(report_uuids=uuids), verdicts_of(report_uuids=uuids)
    flags = report_flags(report_ids=[report.id for report in reports])
    uids = {uid for report in reports for uid in _pictured(report.content)}
    places = slice_places(study_id=reports[0].study_id, sop_uids=sorted(uids)) if uids else {}
    return [
        _panel(
            report, places, verdicts[report.uuid], deliveries=tuple(delivery_row(one) for one in sent[report.uuid]),
            flags=flags.get(report.id, ()), refused=(refused or {}).get(report.uuid),
        )
        for report in reports
    ]  # fmt: skip


def _panel(report: Report, places: dict[str, SlicePlace], verdicts: list[Verdict], **beside: Any) -> Panel:
    """`beside`: fields of a Panel that other tables fill."""
    card = algorithm_card(report)
    content = report.content
    role = card.role if card else ""
    is_flag_only = role == "triage"  # whatever else came with it: triage may flag, nothing more
    typed = _content.validate_python(content)
    told = dict(zip(corrections_of(typed), corrections_told(typed), strict=True))
    kept = {one.id for one in standing(verdicts=verdicts)}
    measurements = [_measurement(place, one, places, told) for place, one in enumerate(content["measurements"])]
    findings = [_finding(place, one, places, told) for place, one in enumerate(content.get("findings") or ())]
    return Panel(
        report=report, content=content, card=card, role=str(ROLE_WORDS.get(role, role)), is_flag_only=is_flag_only,
        measurements=() if is_flag_only else tuple(measurements), findings=() if is_flag_only else tuple(findings),
        decisions=tuple(_decision(one, one.id in kept) for one in verdicts),
        has_overlay=not is_flag_only and (has_outlines(content) or any(one["kind"] == "SEG" for one in content.get("documents") or ())),
        **beside,
    )  # fmt: skip


def algorithm_card(report: Report) -> AlgorithmCard | None:
    """None when its platform no longer offers it."""
    platform = platforms().get(report.connection.platform)
    cards = platform.card.algorithms if platform else ()
    return next((card for card in cards if card.name == report.algorithm), None)


def _decision(verdict: Verdict, is_standing: bool) -> Decision:
    reason = reason_words(action=verdict.action, code=verdict.reason)
    why = ": ".join(filter(None, (reason, verdict.words)))
    return Decision(verdict=verdict, done=str(DONE[verdict.action]), why=why, is_standing=is_standing)


def _measurement(place: int, one: dict[str, Any], places: dict[str, SlicePlace], told: dict[str, Corrected]) -> Item:
    key = f"measurement/{place}"
    shown, more = _places(one, places)
    return Item(
        key=key, data=one, label=finding_words(one), number=f"{one['value']:.6g}", code=_code(one["code"]), places=shown, more=more,
        corrected=told.get(key),
    )  # fmt: skip


def _finding(place: int, one: dict[str, Any], places: dict[str, SlicePlace], told: dict[str, Corrected]) -> Item:
    key = f"finding/{place}"
    shown, more = _places(one, places)
    value, label = one.get("value"), one["code"]["display"] or _("Finding")
    code = value if one["code"]["code"] == "121071" and value else one["code"]
    label = f"{label}: {value['display'] or value['code']}" if value else label
    return Item(key=key, data=one, label=label, code=_code(code), places=shown, more=more, corrected=told.get(key))


def _code(coding: dict[str, str]) -> str:
    """The coded term with its system; a private one by its code alone."""
    return f"{STANDARDS.get(coding['system'], '')} {coding['code']}".strip()


def _uids(one: dict[str, Any]) -> list[str]:
    shown = [image["sop_uid"] for image in one.get("images") or ()]
    shown += [outline["image"]["sop_uid"] for outline in one.get("outlines") or ()]
    return list(dict.fromkeys(shown))


def _pictured(content: dict[str, Any]) -> list[str]:
    return [uid for one in (*content["measurements"], *(content.get("findings") or ())) for uid in _uids(one)[:MAX_PICTURES]]


def _places(one: dict[str, Any], places: dict[str, SlicePlace]) -> tuple[tuple[SlicePlace, ...], int]:
    uids = _uids(one)
    return tuple(places[uid] for uid in uids[:MAX_PICTURES] if uid in places), max(len(uids) - MAX_PICTURES, 0)
