"""The goals in the issue's words, and whether a figure meets one. docs/performance.md repeats this table; a test compares them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One promise. `row` measures it, `key` is the figure that it is judged by."""

    key: str
    row: str
    what: str
    goal: str
    limit: float
    unit: str
    is_at_most: bool
    judged_by: str

    def is_met(self, value: float) -> bool:
        return value <= self.limit if self.is_at_most else value >= self.limit


def _beside_orthanc(key: str, what: str, limit: float, *, row: str = "orthanc") -> "Goal":
    return Goal(
        key=f"{row}_{key}", row=row, what=f"{what}, beside Orthanc", goal=f"{limit:g} x Orthanc", limit=limit,
        unit="x Orthanc", is_at_most=False, judged_by="median of the paired ratios",
    )  # fmt: skip


def _a_core(key: str, what: str, limit: float, unit: str = "requests") -> "Goal":
    return Goal(
        key=f"ehr_{key}", row="ehr", what=f"FHIR: {what}", goal=f"{limit:,.0f} {unit} a second and core or more", limit=limit,
        unit=f"{unit}/s and core", is_at_most=False, judged_by="the median, client included",
    )  # fmt: skip


def _overhead(key: str, words: str, limit: float) -> "Goal":
    return Goal(
        key=f"ai_{key}", row="ai", goal=f"{limit:g} s or less", limit=limit, unit="s", is_at_most=True, judged_by="one run of 100 jobs",
        what=f"Overhead of the hub per AI job, everything except the vendor's computing, at 50 studies a minute: {words}",
    )  # fmt: skip


GOALS = (
    Goal(
        key="ct_ratio", row="ct", limit=0.25, unit="of storescp", is_at_most=False, judged_by="median of the paired ratios",
        what="CT by C-STORE with one association: instances per second, beside dcmtk `storescp` on the same machine when dcmtk "
        "is installed",
        goal="A quarter of `storescp`",
    ),
    Goal(
        key="report_seconds", row="report", limit=3.0, unit="s", is_at_most=True, judged_by="the worst repetition",
        what="Time from the last C-STORE response to a readable DiagnosticReport, less the quiet time",
        goal="3 s or less",
    ),
    _overhead("p50", "50th percentile", 1.0),
    _overhead("p95", "95th percentile", 3.0),
    _beside_orthanc("ct_1", "C-STORE 500-slice CT, 1 association", 2.0),
    _beside_orthanc("ct_4", "C-STORE 500-slice CT, 4 associations", 2.0),
    _beside_orthanc("small_1", "C-STORE tiny objects, 1 association", 2.0),
    _beside_orthanc("small_4", "C-STORE tiny objects, 4 associations", 2.5),
    _beside_orthanc("large_1", "C-STORE 30-40 MB objects", 2.5),
    _beside_orthanc("find_id", "C-FIND by PatientID", 2.0),
    _beside_orthanc("find_name", "C-FIND by name", 4.0),
    _beside_orthanc("find_date", "C-FIND by date", 4.0),
    _beside_orthanc("move", "C-MOVE 500 slices", 0.8),
    _beside_orthanc("get", "C-GET 500 slices", 0.8),
    _beside_orthanc("echo", "C-ECHO on an open association", 0.8),
    Goal(
        key="orthanc_lag", row="orthanc", limit=2.0, unit="s", is_at_most=True, judged_by="the worst of all C-STORE rows",
        what="Time from the last C-STORE response until C-FIND returns the last instance",
        goal="2 s or less",
    ),
    Goal(
        key="orthanc_stock", row="orthanc", limit=1.0, unit="s", is_at_most=True, judged_by="one run",
        what="150 tiny files from a stock storescu, without TCP_NODELAY",
        goal="less than 1 s",
    ),
    Goal(
        key="receiver_mb", row="orthanc", limit=300.0, unit="MB", is_at_most=True, judged_by="the larger receiver",
        what="Memory of a listener process behind all rows",
        goal="300 MB or less",
    ),
    _beside_orthanc("stow_ct", "STOW-RS CT, 25 a request", 2.5, row="web"),
    _beside_orthanc("stow_small_1", "STOW-RS tiny, 1 a request", 1.3, row="web"),
    _beside_orthanc("stow_small_50", "STOW-RS tiny, 50 a request", 3.0, row="web"),
    _beside_orthanc("qido_id", "QIDO by PatientID", 3.0, row="web"),
    _beside_orthanc("qido_name", "QIDO by name wildcard", 30.0, row="web"),
    _beside_orthanc("qido_date", "QIDO by date range", 30.0, row="web"),
    _beside_orthanc("qido_page", "QIDO page (limit, offset)", 50.0, row="web"),
    _beside_orthanc("qido_instances", "QIDO 500 instances of a series", 20.0, row="web"),
    _beside_orthanc("metadata", "series metadata, 500 instances", 20.0, row="web"),
    _beside_orthanc("instance", "WADO instance", 1.7, row="web"),
    _beside_orthanc("frame", "WADO frame", 2.2, row="web"),
    _beside_orthanc("frame_multi", "frame of a multi-frame object", 60.0, row="web"),
    _beside_orthanc("rendered", "rendered 512x512", 4.0, row="web"),
    _beside_orthanc("study", "whole-study WADO", 0.8, row="web"),
    _beside_orthanc("viewer", "OHIF: click to first image of a 500-slice CT, scripts in the cache", 1.5, row="web"),
    Goal(
        key="web_lag", row="web", limit=2.0, unit="s", is_at_most=True, judged_by="the worst of all STOW rows",
        what="Time from the last STOW-RS response until QIDO returns the last instance",
        goal="2 s or less",
    ),
    _a_core("reads", "read by id", 400),
    _a_core("creates", "create, validated", 250),
    _a_core("searches", "search by patient and category, sorted", 250),
    _a_core("bundles", "transaction bundles", 1000, "resources"),
    _a_core("import", "`manage.py fhir_import`, validated", 1500, "resources"),
    Goal(
        key="ehr_p95", row="ehr", limit=20.0, unit="ms", is_at_most=True, judged_by="the slowest of the listed searches",
        what="FHIR: p95 of the listed searches at 300,000 resources", goal="20 ms or less",
    ),
    Goal(
        key="bulk_rate", row="bulk", limit=20_000.0, unit="resources/CPU s", is_at_most=False, judged_by="the median",
        what="FHIR: bulk export made and fetched over HTTP", goal="20,000 resources a second and core or more",
    ),
    Goal(
        key="demo_seconds", row="demo", limit=30.0, unit="s", is_at_most=True, judged_by="the slower run",
        what="`make demo ONCE=1` on a warm .venv",
        goal="30 s or less",
    ),
    Goal(
        key="deident_seconds", row="deident", limit=3.0, unit="s", is_at_most=True, judged_by="the worst repetition",
        what="De-identification of a 500-slice CT, pixel bytes not re-encoded", goal="3 s or less on one core",
    ),
    Goal(
        key="routing_seconds", row="routing", limit=1.0, unit="s", is_at_most=True, judged_by="the median",
        what="Routing 10,000 studies against 100 rules", goal="1 s or less",
    ),
    Goal(
        key="dry_run_seconds", row="routing", limit=2.0, unit="s", is_at_most=True, judged_by="the median",
        what="Dry run over 1,000 studies", goal="2 s or less",
    ),
    Goal(
        key="worklist_p95", row="worklist", limit=150.0, unit="ms", is_at_most=True, judged_by="the worst repetition, 50 and 200 rows",
        what="Worklist: p95 with 100,000 studies", goal="150 ms or less",
    ),
    Goal(
        key="worklist_kb", row="worklist", limit=150.0, unit="kB", is_at_most=True, judged_by="one page, uncompressed",
        what="Worklist: 200 rows", goal="150 KB or less",
    ),
    Goal(
        key="quantify_seconds", row="quantify", limit=3.0, unit="s", is_at_most=True, judged_by="the worst repetition",
        what="MedHub Quantify: density mask of a 138-slice CT", goal="3 s or less of compute",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A goal and what became of it; `value` is None when its row did not run or could not."""

    goal: Goal
    value: float | None

    @property
    def word(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.goal.is_met(self.value) else "MISSED"


def verdicts(measured: Mapping[str, float]) -> list[Verdict]:
    """One verdict for each goal, in order."""
    return [Verdict(goal, measured.get(goal.key)) for goal in GOALS]
