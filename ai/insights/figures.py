"""The figures of the insights page and API: what was counted, as rates with intervals, times and drift; too few cases are no figure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ai.cards import AlgorithmCard
from ai.contract import platforms
from ai.insights.queries import HOPS, Counts, Span, counts_read, inputs_read, span_cut
from ai.insights.statistics import TOO_FEW, Drift, Share, drift_of, share_of

RECENT, EARLIER = timedelta(days=30), timedelta(days=90)
MAX_SPAN = timedelta(days=400)


@dataclass(frozen=True, kw_only=True)
class Hop:
    """Seconds; None where there are too few."""

    name: str
    cases: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one algorithm, or of one of its sites. `ppv` is None for an algorithm that claims nothing: it measures."""

    platform: str
    algorithm: str
    platform_name: str
    title: str
    role: str
    site: str | None
    jobs: int
    decided: int
    concordance: Share
    corrected: int
    rejected: int
    ppv: Share | None
    failures: Share
    not_analysable: Share
    hops: tuple[Hop, ...]
    drift: tuple[Drift, ...] = ()
    sites: tuple["Figures", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What people decided about the results of an algorithm. `ppv` as in Figures."""

    concordance: Share
    ppv: Share | None


def judged_read(*, now: datetime) -> dict[tuple[str, str], Judged]:
    """By platform and algorithm, of the jobs of the last ninety days, or of their last 10,000: what a platform's page tells."""
    found = [one for one in counts_read(span=span_cut(span=Span(since=now - EARLIER, until=now))) if one.site is None]
    return {(one.platform, one.algorithm): Judged(concordance=_concordance(one), ppv=_ppv(one, _card(one))) for one in found}


def insights_read(*, span: Span) -> list[Figures]:
    """Every algorithm with jobs in the span, with its sites. Drift is that of the span's last 30 days against the 90 before them.

    Of those 90 the last ones with 10,000 jobs are enough to know what was usual.
    """
    split = span.until - RECENT
    before = span_cut(span=Span(since=split - EARLIER, until=split))
    inputs = inputs_read(span=Span(since=before.since, until=span.until), split=split)
    found: list[Figures] = []
    for counts in counts_read(span=span):
        one = _figures(counts, inputs.get((counts.platform, counts.algorithm, counts.site), {}))
        if counts.site is None:
            found.append(one)
        else:
            found[-1] = replace(found[-1], sites=(*found[-1].sites, one))
    return found


def _figures(counts: Counts, inputs: dict[str, tuple[dict[str, int], dict[str, int]]]) -> Figures:
    platform, card = platforms().get(counts.platform), _card(counts)
    return Figures(
        platform=counts.platform, algorithm=counts.algorithm, platform_name=platform.card.name if platform else counts.platform,
        title=card.title if card else counts.algorithm, role=card.role if card else "", site=counts.site, jobs=counts.jobs,
        decided=_decided(counts), concordance=_concordance(counts), corrected=counts.corrected, rejected=counts.rejected,
        ppv=_ppv(counts, card),
        failures=share_of(count=counts.failed, total=counts.ended),
        not_analysable=share_of(count=counts.not_analysable, total=counts.ended), hops=tuple(_hops(counts.hops)),
        drift=tuple(drift_of(name=name, before=before, now=now) for name, (before, now) in inputs.items()),
    )  # fmt: skip


def _card(counts: Counts) -> AlgorithmCard | None:
    platform = platforms().get(counts.platform)
    return next((one for one in platform.card.algorithms if one.name == counts.algorithm), None) if platform else None


def _decided(counts: Counts) -> int:
    return counts.accepted + counts.corrected + counts.rejected


def _concordance(counts: Counts) -> Share:
    return share_of(count=counts.accepted, total=_decided(counts))


def _ppv(counts: Counts, card: AlgorithmCard | None) -> Share | None:
    if card is not None and card.role == "quantification" and not counts.claims:
        return None
    return share_of(count=counts.claims_right, total=counts.claims)


def _hops(hops: Sequence[tuple[int, float | None, float | None]]) -> list[Hop]:
    return [
        Hop(name=name, cases=cases, p50=p50 if cases >= TOO_FEW else None, p95=p95 if cases >= TOO_FEW else None)
        for name, (cases, p50, p95) in zip(HOPS, hops, strict=True)
    ]
