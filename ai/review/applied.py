"""What a reviewed report says: the algorithm's content with a person's corrections. Pure; read by FHIR, DICOM, paper and pages."""

from dataclasses import asdict, dataclass, replace

from ai.findings import REVIEWED, Correction, Finding, Measurement, ReportContent, Review
from ai.reports import conclusion_words, finding_words, number_words, statement_words
from ai.review.reasons import reason_words

NOT_SO = "does not hold"


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """One correction in words: what it is about, what the algorithm said, what the person says."""

    term: str
    before: str
    after: str


def corrections_of(content: ReportContent) -> dict[str, Correction]:
    """By item; of a report that nobody corrected none."""
    return {one.item: one for one in content.review.corrections} if content.review else {}


def content_applied(content: ReportContent) -> ReportContent:
    """Corrected values in their places. An item that does not hold stands as a statement that says so, never as what it claimed.

    For encoders, which have one place for a value; `corrections_told` is for people, who are shown both.
    """
    changed = corrections_of(content)
    if not changed or content.review is None:
        return content
    measurements: list[Measurement] = []
    findings: list[Finding] = []
    for place, one in enumerate(content.measurements):
        correction = changed.get(f"measurement/{place}")
        if correction is None:
            measurements.append(one)
        elif correction.value is not None:
            measurements.append(replace(one, value=correction.value, method=f"corrected by {content.review.by}", parameters=()))
        else:
            findings.append(_denied(one, correction, content.review))
    for place, said in enumerate(content.findings):
        correction = changed.get(f"finding/{place}")
        findings.append(said if correction is None else _denied(said, correction, content.review))
    return replace(content, measurements=tuple(measurements), findings=tuple(findings))


def _denied(item: Measurement | Finding, correction: Correction, review: Review) -> Finding:
    """Without the outlines: where it does not hold there is nothing to outline."""
    return Finding(
        code=item.code, value=None, body_site=item.body_site, laterality=item.laterality, images=item.images,
        words=f"{correction.words or NOT_SO} (corrected by {review.by})", tracking_uid=item.tracking_uid,
    )  # fmt: skip


def content_shown(content: ReportContent) -> ReportContent:
    """Without what was corrected: that stands in `corrections_told`, both ways."""
    changed = corrections_of(content)
    if not changed:
        return content
    return replace(
        content,
        measurements=tuple(one for place, one in enumerate(content.measurements) if f"measurement/{place}" not in changed),
        findings=tuple(one for place, one in enumerate(content.findings) if f"finding/{place}" not in changed),
    )  # fmt: skip


def corrections_told(content: ReportContent) -> tuple[Corrected, ...]:
    """Each correction with what the algorithm said."""
    found = []
    for item, correction in corrections_of(content).items():
        kind, place = item.split("/")
        if kind == "measurement":
            one = content.measurements[int(place)]
            after = NOT_SO if correction.value is None else f"{number_words(correction.value)} {one.unit_display}"
            told = (finding_words(asdict(one)), f"{number_words(one.value)} {one.unit_display}", after)
        else:
            said = content.findings[int(place)]
            told = (said.code.display or said.code.code, statement_words(asdict(said)), NOT_SO)
        words = f"{told[2]}: {correction.words}" if correction.words else told[2]
        found.append(Corrected(term=told[0], before=told[1], after=words))
    return tuple(found)


def review_words(review: Review) -> str:
    """ "Accepted by Dr. Jane Roe", with the reason where there is one."""
    done = {"accept": "Accepted", "correct": "Corrected", "reject": "Rejected"}[review.action]
    reason = reason_words(action=review.action, code=review.reason)
    words = ": ".join(filter(None, (reason, review.words)))
    return f"{done} by {review.by}" + (f" ({words})" if words else "")


def reviewed_conclusion(content: ReportContent) -> str:
    """The result in one line after a person has decided. Of a rejected report nothing that the algorithm said."""
    review = content.review
    if review is None:
        return conclusion_words(content=asdict(content))
    if review.action == "reject":
        return f"{review_words(review)}. What the algorithm said is not to be used. {REVIEWED}."
    shown, changes = content_shown(content), [f"{one.term}: {one.after}" for one in corrections_told(content)]
    said = conclusion_words(content=asdict(shown), ending="").strip(". ")
    return f"{'; '.join(filter(None, [*changes, said]))}. {review_words(review)}. {REVIEWED}."
