"""The insights page, its cases and their twin in the API."""

import re

import pytest
from django.urls import reverse

from tests.ai.insights.crowd import crowd_make
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database


def test_figures_and_the_cases_behind_them(client, mercy, olaf) -> None:
    """"Concordance, PPV with interval, turnaround p50/p95 per hop": each figure, and the jobs that it counts."""
    crowd_make(mercy, count=18, action="accept", is_positive=True)
    crowd_make(mercy, count=4, action="reject", reason="false-positive", is_positive=True, institution="North")
    signed_in(client, mercy)
    page = client.get(reverse("insights", args=[mercy.slug])).content.decode()
    assert "<title>Insights - MedHub</title>" in page
    for words in ("Lung density mask", "82\u00a0% (61 to 93\u00a0%)", "Agreement", "Positive predictive value", "p95", "22 jobs"):
        assert words in page, words
    links = {one.replace("&amp;", "&") for one in re.findall(r'href="(/t/[^"]*insights/cases\?[^"]*)"', page)}
    accepted = next(one for one in links if "kind=accepted" in one and "site=" not in one)
    cases = client.get(accepted).content.decode()
    assert cases.count("Accepted") >= 18
    assert "NOBODY" not in page + cases
    assert all(client.get(one).status_code == 200 for one in sorted(links)[:4])
    assert client.get(reverse("insights-cases", args=[mercy.slug]), {"kind": "x"}).status_code == 404
    wrong = client.get(reverse("insights", args=[mercy.slug]), {"from": "2026-13-01"})
    assert (wrong.status_code, "a day, as in" in wrong.content.decode()) == (422, True)
    client.logout()
    signed_in(client, olaf)
    assert "No algorithm had a study in these days" in client.get(reverse("insights", args=[olaf.slug])).content.decode()
    assert "No job of these days is of this kind" in client.get(accepted.replace(mercy.slug, olaf.slug)).content.decode()


def test_a_platforms_page_has_our_local_figures(client, mercy, olaf) -> None:
    """"platform page (... our local figures)": agreement and predictive value of the last ninety days, of this hospital alone."""
    crowd_make(mercy, count=18, action="accept", is_positive=True)
    crowd_make(mercy, count=4, action="reject", reason="false-positive", is_positive=True)
    crowd_make(olaf, count=3, action="reject", reason="false-positive", is_positive=True)
    signed_in(client, mercy)
    page = client.get(reverse("platform", args=[mercy.slug, "medhub-quantify"])).content.decode()
    assert "agreement: 82\u00a0% (61 to 93\u00a0%)" in page
    assert "positive predictive value: 82\u00a0% (61 to 93\u00a0%)" in page
    client.logout()
    signed_in(client, olaf)
    page = client.get(reverse("platform", args=[olaf.slug, "medhub-quantify"])).content.decode()
    assert 'agreement: too few <span class="mh-muted">(0/3)</span>' in page


def test_too_few_is_said(client, mercy) -> None:
    """"fewer than 20 cases shows "too few"": on the page in words, in the API as null."""
    crowd_make(mercy, count=19, action="accept", is_positive=True)
    signed_in(client, mercy)
    page = client.get(reverse("insights", args=[mercy.slug])).content.decode()
    assert "too few" in page
    assert "100\u00a0%" not in page
    [item] = client.get(f"/t/{mercy.slug}/api/v1/insights", headers=mercy.auth).json()["items"]
    assert item["concordance"] == {"count": 19, "total": 19, "value": None, "low": None, "high": None}
    assert {hop["p50"] for hop in item["hops"]} == {None}


def test_the_api_has_the_same_figures(client, mercy, olaf) -> None:
    """"Each page has its twin under `/t/<slug>/api/v1`"."""
    crowd_make(mercy, count=25, action="accept")
    base = f"/t/{mercy.slug}/api/v1/insights"
    [item] = client.get(base, headers=mercy.auth).json()["items"]
    assert (item["algorithm"], item["jobs"], item["concordance"]["value"], item["ppv"]) == ("lung-density-mask", 25, 1.0, None)
    assert [site["site"] for site in item["sites"]] == ["Mercy"]
    asked = {"platform": "medhub-quantify", "algorithm": "lung-density-mask", "kind": "accepted", "limit": 10}
    page = client.get(f"{base}/cases", asked, headers=mercy.auth).json()
    found = [one["job"] for one in page["items"]]
    while page["next"]:
        page = client.get(page["next"], headers=mercy.auth).json()
        found += [one["job"] for one in page["items"]]
    assert len(found) == len(set(found)) == 25
    assert client.get(f"{base}/cases", {"kind": "x"}, headers=mercy.auth).status_code == 400
    assert client.get(base, {"from": "2020-01-01"}, headers=mercy.auth).status_code == 400
    assert client.get(f"/t/{olaf.slug}/api/v1/insights", headers=olaf.auth).json() == {"items": []}
