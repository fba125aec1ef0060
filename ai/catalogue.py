"""The catalogue: what there is, looked through by what an algorithm is for. Cards only; of the hospital just what it has connected.

Portal and API ask with the same parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from ai.cards import AlgorithmCard, Card
from ai.contract import Platform, platforms

MOST_COMPARED, LEAST_COMPARED = 4, 2
LONGEST = 80
CONNECTED = ("yes", "no")


@dataclass(frozen=True, kw_only=True)
class CatalogueQuery:
    """Empty asks for nothing. The first four must hold for one and the same algorithm."""

    modality: str = ""
    body_part: str = ""
    finding: str = ""
    role: str = ""
    region: str = ""  # Card.residence
    connects: str = ""  # Platform.wire
    connected: str = ""  # here: yes, no
    q: str = ""

    @property
    def kept(self) -> dict[str, str]:
        """As parameters of an address."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name))}


@dataclass(frozen=True)
class Entry:
    """A platform and those of its algorithms that were asked for."""

    platform: Platform
    algorithms: tuple[AlgorithmCard, ...]


class CatalogueRefused(Exception):
    """`problems`: parameter -> words."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


def catalogue_choices() -> dict[str, list[str]]:
    """What each parameter may be, but for the words to look for."""
    found = platforms().values()
    algorithms = [one for platform in found for one in platform.card.algorithms]
    return {
        "modality": sorted({name for one in algorithms for name in one.modalities}),
        "body_part": sorted({name for one in algorithms for name in one.body_parts}),
        "finding": sorted({name for one in algorithms for name in one.findings}, key=str.lower),
        "role": sorted({one.role for one in algorithms}),
        "region": sorted({platform.card.residence for platform in found}),
        "connects": sorted({platform.wire for platform in found}),
        "connected": list(CONNECTED),
    }


def catalogue_query(*, params: Mapping[str, str], is_strict: bool = False) -> CatalogueQuery:
    """From an address. What means nothing is left out, or with `is_strict` refused (CatalogueRefused)."""
    choices = catalogue_choices()
    asked = {name: params.get(name, "").strip() for name in choices}
    wrong = {name: f"one of {', '.join(choices[name])}" for name, value in asked.items() if value and value not in choices[name]}
    words = params.get("q", "").strip()
    if len(words) > LONGEST:
        wrong["q"] = f"at most {LONGEST} characters"
    if is_strict:  # a filter that nobody knows would be answered with everything
        wrong |= {name[:64]: "unknown" for name in sorted(set(params) - {*choices, "q"})[:20]}
    if wrong and is_strict:
        raise CatalogueRefused(wrong)
    return CatalogueQuery(q=words[:LONGEST], **{name: value for name, value in asked.items() if name not in wrong})


def catalogue_find(*, query: CatalogueQuery, connected: Sequence[str]) -> list[Entry]:
    """By name. `connected`: slugs of the platforms that the hospital has connected."""
    entries = []
    for platform in sorted(platforms().values(), key=lambda one: one.card.name.lower()):
        card = platform.card
        algorithms = tuple(one for one in card.algorithms if _is_for(one, query) and _has_words(card, one, query.q))
        if (
            algorithms
            and query.region in ("", card.residence)
            and query.connects in ("", platform.wire)
            and query.connected in ("", "yes" if card.slug in connected else "no")
        ):
            entries.append(Entry(platform, algorithms))
    return entries


def compare_of(*, text: str) -> list[Platform]:
    """The platforms of "a,b,c", in that order. Raises CatalogueRefused unless they are two to four that exist."""
    slugs = list(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    known = platforms()
    if not LEAST_COMPARED <= len(slugs) <= MOST_COMPARED or any(slug not in known for slug in slugs):
        raise CatalogueRefused({"compare": f"{LEAST_COMPARED} to {MOST_COMPARED} platforms of the catalogue, with commas between them"})
    return [known[slug] for slug in slugs]


def _is_for(one: AlgorithmCard, query: CatalogueQuery) -> bool:
    """What is not limited takes anything: it is no reason to hide a store or a language model."""
    return (
        (not query.modality or not one.modalities or query.modality in one.modalities)
        and (not query.body_part or not one.body_parts or query.body_part in one.body_parts)
        and (not query.finding or query.finding in one.findings)
        and query.role in ("", one.role)
    )


def _has_words(card: Card, one: AlgorithmCard, words: str) -> bool:
    """Every word, anywhere on the card or in this algorithm."""
    text = " ".join((
        card.name, card.vendor, card.summary, card.history, card.interface, card.limits, one.title, one.name, one.intended_use,
        one.clearance, *one.findings, *one.modalities, *one.body_parts,
    )).casefold()  # fmt: skip
    return all(word in text for word in words.casefold().split())


def inputs_words(one: AlgorithmCard) -> tuple[str, ...]:
    """What images must be, as the label is held to when a study is routed (ai.eligibility)."""
    lines = [
        f"modality {' or '.join(sorted(one.modalities))}" if one.modalities else "any modality",
        f"body part {' or '.join(sorted(one.body_parts))}" if one.body_parts else "any body part",
        {True: "with contrast agent, and that stated", False: "without contrast agent, and that stated", None: ""}[one.is_contrast],
        _years(one),
        f"{one.min_instances} images or more" if one.min_instances > 1 else "",
        f"slices {one.max_slice_spacing_mm:g} mm apart or less" if one.max_slice_spacing_mm is not None else "",
        f"slices {one.max_slice_thickness_mm:g} mm thick or less" if one.max_slice_thickness_mm is not None else "",
        f"{' or '.join(sorted(one.orientations)).lower()} slices" if one.orientations else "",
        f"device {' or '.join(sorted(one.camera_models))}" if one.camera_models else "",
        f"{one.min_priors} earlier studies of the patient or more" if one.min_priors else "",
    ]  # fmt: skip
    return tuple(line for line in lines if line)


def _years(one: AlgorithmCard) -> str:
    if one.min_age_years is None and one.max_age_years is None:
        return ""
    low = f"from {one.min_age_years:g} years" if one.min_age_years is not None else ""
    high = f"to {one.max_age_years:g} years" if one.max_age_years is not None else ""
    return f"patients {' '.join(filter(None, (low, high)))}, and the age stated"
