"""The catalogue: cards, filters in the address, two to four platforms side by side; and its twin of the API."""

import re

import pytest
from django.urls import reverse

from ai.catalogue import CatalogueQuery, catalogue_choices, catalogue_find
from ai.contract import platforms
from tests.ai.governance.rows import jobs_end, link, study_take
from tests.ai.test_api import Api
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database


def shown(page: str) -> list[str]:
    return re.findall(r'name="compare" id="compare-([\w-]+)"', page)


@pytest.fixture
def at(mercy) -> str:
    return reverse("platforms", args=[mercy.slug])


def test_a_card_says_what_a_buyer_asks(client, mercy, at) -> None:
    """"14 platforms as cards (vendor, what it is today, modality, body part, findings, role, clearance number and date with source,

    region of the data, de-identified or not, median turnaround here)".
    """
    study = study_take(mercy)
    with mercy.scope():
        jobs_end(study, link("viz-ai"), ["done"] * 20, seconds=95)
    page = signed_in(client, mercy).get(at).content.decode()
    cards = {slug: part for part in page.split('<li class="card">')[1:] for slug in shown(part)}
    assert set(cards) == set(platforms())
    assert shown(page)[0] == "viz-ai"  # what is connected comes first
    for slug, platform in platforms().items():
        card, said = platform.card, cards[slug].replace("&#x27;", "'")
        for words in (card.vendor.replace("&", "&amp;"), card.summary, *card.regions):
            assert words in said, (slug, words)
        for one in card.algorithms:
            assert all(words in said for words in (one.title, one.role, *one.findings, *one.modalities)), (slug, one.name)
            for clearance in one.clearances:
                assert f"{clearance.authority} {clearance.number}, {clearance.date or 'date not published where we looked'}" in said
                assert clearance.source.url.replace("&", "&amp;") in said
        assert ("none: nothing leaves the house" in said) is card.is_in_house
    assert "1 min 35 s" in cards["viz-ai"]
    assert "too few" in cards["aidoc"]


FILTERS = [
    ("modality=OP", {"idx-dr", "medhub-quantify"}), ("body_part=RETINA&role=autonomous", {"idx-dr"}), ("role=triage", {"aidoc", "viz-ai"}),
    ("finding=perfusion+maps", {"viz-ai"}), ("region=france", {"cloud-temple"}),
    ("connects=inference", {"medhub-quantify", "nvidia-clara"}),
    ("q=sovereign", set()), ("q=SecNumCloud+french", {"cloud-temple"}), ("connected=yes", {"viz-ai"}),
]  # fmt: skip


def test_filters_are_in_the_address(client, mercy, at) -> None:
    """"filters in the address": the page and the API take the same; stores and language models, which nothing limits, stay."""
    with mercy.scope():
        link("viz-ai")
    admin = Api(signed_in(client, mercy, "admin"), mercy, "admin")
    unlimited = {slug for slug, one in platforms().items() if any(not card.modalities for card in one.card.algorithms)}
    for query, expected in FILTERS:
        page = client.get(f"{at}?{query}").content.decode()
        items = {one["slug"] for one in admin.ask("GET", f"platforms?{query}").json()["items"]}
        assert set(shown(page)) == items, query
        assert items - (unlimited if "modality" in query else set()) == expected, query
        assert ("No platform is like that" in page) is not bool(expected), query


def test_all_conditions_hold_for_one_and_the_same_algorithm() -> None:
    """A platform that has the modality in one algorithm and the role in another is not what was asked for."""
    found = catalogue_find(query=CatalogueQuery(modality="CT", role="quantification", body_part="EYE"), connected=[])
    assert "medhub-quantify" not in {one.platform.card.slug for one in found}
    [entry] = catalogue_find(query=CatalogueQuery(finding="suspected central pulmonary embolism"), connected=[])
    assert [one.name for one in entry.algorithms] == ["pe-triage"]


def test_what_a_filter_cannot_mean(client, mercy, at) -> None:
    """A page leaves it out, the API says so."""
    page = signed_in(client, mercy, "admin").get(f"{at}?modality=XX&role=%3Cscript%3E").content.decode()
    assert len(shown(page)) == len(platforms())
    assert "<script>" not in page
    admin = Api(client, mercy, "admin")
    answer = admin.ask("GET", "platforms?modality=XX&region=moon")
    assert (answer.status_code, set(answer.json()["errors"])) == (400, {"modality", "region"})
    assert admin.ask("GET", "platforms?modalty=CT").json()["errors"] == {"modalty": ["unknown"]}
    assert all(catalogue_choices().values())


def test_two_to_four_side_by_side(client, mercy, at) -> None:
    """"compare 2-4 side by side": a table with a column each, checkboxes that work without JavaScript; fewer or more is said."""
    page = signed_in(client, mercy).get(f"{at}?compare=aidoc&compare=viz-ai&compare=medhub-quantify").content.decode()
    heads = re.findall(r'<th scope="col">.*?<a [^>]*>([^<]+)</a>', page)
    assert heads == ["Aidoc", "Viz.ai", "MedHub Quantify"]
    for words in ("What it is today", "Clearance", "Not for", "Performance", "Data goes", "De-identified", "Turnaround here"):
        assert f'<th scope="row">{words}</th>' in page
    assert "not published, as far as we could check" in page
    assert "within 1 %" in page
    assert client.get(f"{at}?compare=viz-ai,aidoc").content.decode().count('<th scope="col">') == 2
    for wrong in ("aidoc", "aidoc,aidoc", "aidoc,nobody", ",".join(sorted(platforms())[:5]), ""):
        assert "choose two to four platforms" in client.get(f"{at}?compare={wrong}").content.decode(), wrong
    admin = Api(client, mercy, "admin")
    assert [one["slug"] for one in admin.ask("GET", "platforms?compare=viz-ai,aidoc").json()["items"]] == ["viz-ai", "aidoc"]
    assert admin.ask("GET", "platforms?compare=aidoc").status_code == 400


def test_the_platforms_page_has_all_that_is_known(client, mercy, at) -> None:
    """"platform page (intended use, out-of-scope use, inputs required, performance with its source, versions, known limits, our local

    figures)": of every algorithm, and "not published" where nothing is known; the API says the same.
    """
    study = study_take(mercy)
    with mercy.scope():
        jobs_end(study, link("idx-dr"), ["done"], algorithm="dr-autonomous", version="4.0.1")
    signed_in(client, mercy)
    page = client.get(reverse("platform", args=[mercy.slug, "idx-dr"])).content.decode()
    for words in (
        "autonomous detection in adults of 22 years or older", "cameras other than Topcon NW400",
        "patients from 22 years, and the age stated", "device NW400 or TRC-NW400", "FDA DEN180001, 2018-04-11",
        "not published, as far as we could check", "seen here: 4.0.1", "too few",
    ):  # fmt: skip
        assert words in page, words
    quantify = client.get(reverse("platform", args=[mercy.slug, "medhub-quantify"])).content.decode()
    for words in ("volume and %LAA-950 within 1 %", "docs/quantify.md", "1.0.0", "not validated on patients", "None are needed"):
        assert words in quantify, words
    found = Api(client, mercy, "admin").ask("GET", "platforms/idx-dr").json()
    assert (found["local"]["runs"], found["local"]["median_seconds"], found["is_connected"]) == (1, None, True)
    assert "patients from 22 years, and the age stated" in found["algorithms"][0]["inputs"]
    assert found["algorithms"][0]["performance"] == []


def test_no_card_claims_what_has_no_source() -> None:
    """"what isn't known reads "not published"": no figure, number or date stands on a card without the place to check it."""
    for platform in platforms().values():
        for one in platform.card.algorithms:
            assert one.intended_use, one.name
            assert all(item.source.url for item in (*one.clearances, *one.performance))
            assert all(re.fullmatch(r"|\d{4}(-\d\d(-\d\d)?)?", item.date) for item in one.clearances)
