"""The rows of the insights page: each figure in words, as a bar, and with the address of its cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.insights.figures import Figures, Hop, Judged
from ai.insights.statistics import Drift, Share
from ai.models import Job
from portal.aiwords import job_state_words
from portal.panels import DONE, ROLE_WORDS
from portal.words import duration_words

HOPS = {
    "received-completed": gettext_lazy("first image to study complete"), "completed-sent": gettext_lazy("complete to sent"),
    "sent-answered": gettext_lazy("sent to answered"), "answered-issued": gettext_lazy("answered to report"),
    "issued-reviewed": gettext_lazy("report to decision"),
}  # fmt: skip
KINDS = {
    "all": gettext_lazy("all"), "ended": gettext_lazy("ended"), "failed": gettext_lazy("failed"),
    "not-analysable": gettext_lazy("not analysable"), "decided": gettext_lazy("decided"), "accepted": gettext_lazy("accepted"),
    "corrected": gettext_lazy("corrected"), "rejected": gettext_lazy("rejected"), "claims": gettext_lazy("claims that were judged"),
    "claims-right": gettext_lazy("claims that hold"), **HOPS,
}  # fmt: skip
INPUTS = {
    "thickness": gettext_lazy("slice thickness"), "kernel": gettext_lazy("kernel"), "manufacturer": gettext_lazy("manufacturer"),
    "age": gettext_lazy("age"),
}  # fmt: skip
DRIFT = {
    "steady": ("ok", gettext_lazy("as before")), "shifting": ("note", gettext_lazy("shifting")),
    "changed": ("bad", gettext_lazy("changed")), "too-few": ("off", gettext_lazy("too few")),
}  # fmt: skip
MAX_BINS = 6


@dataclass(frozen=True)
class Bar:
    """Of a drawing 100 wide: where it begins, how long it is, where its mark stands. As SVG wants numbers."""

    x: str
    width: str
    mark: str = ""


@dataclass(frozen=True)
class RateRow:
    label: str
    words: str
    count: int
    total: int
    count_kind: str
    total_kind: str
    bar: Bar | None


@dataclass(frozen=True)
class HopRow:
    label: str
    kind: str
    cases: int
    p50: str
    p95: str
    bar: Bar | None


@dataclass(frozen=True)
class BinRow:
    label: str
    now: str
    before: str
    bar_now: Bar
    bar_before: Bar


@dataclass(frozen=True)
class DriftRow:
    label: str
    kind: str
    word: str
    index: str
    bins: list[BinRow]


@dataclass(frozen=True)
class Card:
    figures: Figures
    role: str
    rates: list[RateRow]
    hops: list[HopRow]
    drift: list[DriftRow]
    sites: list["Card"]
    where: str  # the query of its cases, without the kind

    @property
    def site(self) -> str:
        return self.figures.site or _("not stated")


def card_of(figures: Figures, *, since: str, until: str) -> Card:
    """`since`, `until`: days, as the address has them."""
    asked = {"platform": figures.platform, "algorithm": figures.algorithm, "from": since, "to": until}
    if figures.site is not None:
        asked["site"] = figures.site
    return Card(
        figures=figures, role=str(ROLE_WORDS.get(figures.role, figures.role)), rates=_rates(figures), hops=_hops(figures.hops),
        drift=[_drift(one) for one in figures.drift], sites=[card_of(one, since=since, until=until) for one in figures.sites],
        where=urlencode(asked),
    )  # fmt: skip


def judged_rows(judged: Judged | Figures) -> list[RateRow]:
    """Agreement and, where something is claimed, the positive predictive value."""
    rows = [_rate(_("Agreement"), judged.concordance, "accepted", "decided")]
    if judged.ppv is not None:
        rows.append(_rate(_("Positive predictive value"), judged.ppv, "claims-right", "claims"))
    return rows


def _rates(figures: Figures) -> list[RateRow]:
    rows = judged_rows(figures)
    rows.append(_rate(_("Failed"), figures.failures, "failed", "ended"))
    rows.append(_rate(_("Not analysable"), figures.not_analysable, "not-analysable", "ended"))
    return rows


def _rate(label: str, share: Share, count_kind: str, total_kind: str) -> RateRow:
    if share.value is None or share.low is None or share.high is None:
        return RateRow(label, _("too few"), share.count, share.total, count_kind, total_kind, None)
    words = _("%(value)s (%(low)s to %(high)s)") % {
        "value": percent(share.value), "low": percent(share.low, has_sign=False), "high": percent(share.high),
    }  # fmt: skip
    bar = Bar(f"{100 * share.low:.2f}", f"{max(100 * (share.high - share.low), 0.5):.2f}", f"{100 * share.value:.2f}")
    return RateRow(label, words, share.count, share.total, count_kind, total_kind, bar)


def percent(share: float, *, has_sign: bool = True) -> str:
    value = 100 * share
    return (f"{value:.1f}" if 0 < value < 10 or 99 < value < 100 else f"{value:.0f}") + ("\u00a0%" if has_sign else "")


def _hops(hops: Sequence[Hop]) -> list[HopRow]:
    longest = max((hop.p95 for hop in hops if hop.p95), default=0.0)
    return [_hop(hop, longest) for hop in hops]


def _hop(hop: Hop, longest: float) -> HopRow:
    if hop.p50 is None or hop.p95 is None:
        return HopRow(str(HOPS[hop.name]), hop.name, hop.cases, _("too few"), "", None)
    bar = Bar("0", f"{100 * max(hop.p50, 0) / longest:.2f}", f"{100 * max(hop.p95, 0) / longest:.2f}") if longest else None
    words = [duration_words(timedelta(seconds=max(one, 0))) for one in (hop.p50, hop.p95)]
    return HopRow(str(HOPS[hop.name]), hop.name, hop.cases, words[0], words[1], bar)


def _drift(drift: Drift) -> DriftRow:
    kind, word = DRIFT[drift.word]
    now, before = sum(drift.now.values()), sum(drift.before.values())
    keys = sorted(drift.now.keys() | drift.before.keys(), key=lambda key: -drift.now.get(key, 0) - drift.before.get(key, 0))
    bins = [] if drift.index is None else [_bin(key, drift, now, before) for key in keys[:MAX_BINS]]
    return DriftRow(str(INPUTS[drift.name]), kind, str(word), "" if drift.index is None else f"{drift.index:.2f}", bins)


def _bin(key: str, drift: Drift, now: int, before: int) -> BinRow:
    shares = drift.now.get(key, 0) / now, drift.before.get(key, 0) / before
    return BinRow(key, percent(shares[0]), percent(shares[1]), Bar("0", f"{100 * shares[0]:.2f}"), Bar("0", f"{100 * shares[1]:.2f}"))


def state_words(state: str, action: str) -> str:
    """How far a case came: the job's state, or what a person decided."""
    return str(DONE[action]) if action in DONE else job_state_words(Job.State(state))


def day_text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")
