"""The pages of platforms: what each is, its connection's form, the secret that is shown once, the test, the switch."""

import pytest
from django.urls import reverse

from ai.connections import secrets_open
from ai.contract import platforms
from ai.models import Connection
from journal.models import AuditEvent
from portal.platformforms import PREFIX, ConnectionForm
from tests.ai.platforms.connections import terms_agree
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database

TYPED = "s3cret-typed"


def address(hospital, name: str = "platform", platform: str = "sharedmind") -> str:
    return reverse(name, args=[hospital.slug, platform])


def filled(**values: str) -> dict[str, str]:
    plain = {"contract": "C-1", "way": "ups", "answer": "pushed", "auth": "none", **values}
    return {PREFIX + name: value for name, value in plain.items()}


def test_every_platform_has_a_card_and_an_honest_page(client, mercy) -> None:
    """"A vendor without a public interface says so on its card"; history, interface, regions, clearances with their sources."""
    signed_in(client, mercy, "admin")
    cards = client.get(reverse("platforms", args=[mercy.slug])).content.decode()
    assert "No platform is connected yet" in cards
    for slug, platform in platforms().items():
        assert address(mercy, platform=slug) in cards
        page = client.get(address(mercy, platform=slug)).content.decode()
        said = [clearance.number for one in platform.card.algorithms for clearance in one.clearances]
        said += [source.url for source in platform.card.sources if source.url.startswith("http")]
        for words in said:
            assert words.replace("&", "&amp;") in page, (slug, words)
        for one in platform.settings:
            assert f'name="{PREFIX}{one.name}"' in page, (slug, one.name)
        if not platform.card.is_public and not platform.card.is_in_house:
            assert "The vendor publishes no interface" in page, slug
    assert cards.count("No public interface.") == sum(not (p.card.is_public or p.card.is_in_house) for p in platforms().values())
    assert client.get(address(mercy, platform="no-such-platform")).status_code == 404


def test_what_is_wrong_stands_beside_its_field(client, mercy) -> None:
    """Refused by the domain, said at the field; what was typed is still there, a secret is not."""
    signed_in(client, mercy, "owner")
    page = client.post(
        address(mercy, "platform-connect"), filled(contract="", way="stow", dicomweb_url="ftp://x", auth="bearer", token=TYPED)
    ).content.decode()
    assert f'id="id_{PREFIX}contract_error">Contract is needed' in page
    assert f'id="id_{PREFIX}dicomweb_url_error">Vendor&#x27;s DICOMweb cannot be that' in page
    assert 'value="ftp://x"' in page
    assert TYPED not in page
    with mercy.scope():
        assert not Connection.objects.exists()


def test_a_secret_that_we_make_is_shown_once(client, mercy) -> None:
    """"Secrets encrypted per tenant, shown once": made when left empty, on the answering page alone; an entered one on none."""
    signed_in(client, mercy, "owner")
    answer = client.post(address(mercy, "platform-connect"), {**filled(), "is_test": "on"})
    with mercy.scope():
        connection = Connection.objects.get()
        secret = secrets_open(connection)["hook_secret"]
    assert len(secret) >= 43
    assert secret in answer.content.decode()
    assert f"/hooks/ai/{connection.uuid}" in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    page = client.get(address(mercy)).content.decode()
    assert secret not in page
    assert "One is kept and not shown again" in page
    assert "A stand-in answers here" in page
    page = client.post(address(mercy, "platform-connect"), filled(auth="bearer", token=TYPED), follow=True).content.decode()
    assert TYPED not in page
    assert "Saved. Test the connection next." in page
    with mercy.scope():
        kept = secrets_open(Connection.objects.get())
        assert kept == {"hook_secret": secret, "token": TYPED}
        for event in AuditEvent.objects.filter(action="connection.set"):
            assert secret not in str(event.detail)


def test_no_secret_is_made_where_nothing_is_signed(client, mercy) -> None:
    """Answers that are asked for by DICOMweb need none."""
    signed_in(client, mercy, "owner")
    client.post(address(mercy, "platform-connect"), filled(answer="dicomweb", answer_url="https://vendor.example/dicomweb", closing="SR"))
    with mercy.scope():
        assert Connection.objects.get().secrets == ""


def test_it_is_tested_and_switched(client, mercy) -> None:
    """"Test connection (result words, when), Switch on/off"; saving leaves the switch as it is."""
    signed_in(client, mercy, "admin")
    assert client.post(address(mercy, "platform-check")).status_code == 404
    client.post(address(mercy, "platform-connect"), filled())
    assert "sends nothing: its terms are not accepted" in client.get(address(mercy)).content.decode()
    with mercy.scope():
        terms_agree("sharedmind")
    page = client.get(address(mercy)).content.decode()
    assert "connected, not tested yet" in page
    place = reverse("stages", args=[mercy.slug])
    assert f'href="{place}#sharedmind"' in page  # its place on the ladder
    assert 'id="sharedmind"' in client.get(place).content.decode()
    page = client.post(address(mercy, "platform-check"), follow=True).content.decode()
    assert "nothing to call: the vendor claims its work from our worklist" in page
    assert "Switched off" in client.post(address(mercy, "platform-switch"), {"is_enabled": "no"}, follow=True).content.decode()
    client.post(address(mercy, "platform-connect"), filled(contract="C-2"))
    with mercy.scope():
        row = Connection.objects.get()
        assert (row.is_enabled, row.settings["contract"]) == (False, "C-2")
    assert "Switched on" in client.post(address(mercy, "platform-switch"), {"is_enabled": "yes"}, follow=True).content.decode()


def test_a_test_that_fails_says_why(client, mercy) -> None:
    """An address inside our own network is refused before anything is sent there, and the card says so."""
    signed_in(client, mercy, "admin")
    client.post(address(mercy, "platform-connect"), filled(way="stow", dicomweb_url="https://127.0.0.1:9/dicomweb"))
    client.post(address(mercy, "platform-check"))
    with mercy.scope():
        row = Connection.objects.get()
    assert (row.is_check_good, bool(row.check_words)) == (False, True)
    page = client.get(reverse("platforms", args=[mercy.slug])).content.decode()
    assert "last test failed" in page
    assert row.check_words[:20] in page


def test_radiologists_read_and_change_nothing(client, mercy) -> None:
    """The permissions table: `ai.read` shows the card, `ai.write` the form."""
    signed_in(client, mercy, "radiologist")
    page = client.get(address(mercy)).content.decode()
    assert "SharedMind" in page
    assert "platform-connect" not in page
    assert "<form method=\"post\" action=\"" + address(mercy, "platform-connect") not in page
    assert client.post(address(mercy, "platform-connect"), filled()).status_code == 403


def test_conditional_fields_say_when_they_are_asked() -> None:
    """Without JavaScript every field is there, grouped under the choice that asks for it."""
    form = ConnectionForm(platform=platforms()["sharedmind"], connection=None, held=frozenset())
    groups = list(form.groups())
    shown = [field.name for group in groups for field in group.fields]
    assert shown == [PREFIX + one.name for one in platforms()["sharedmind"].settings]
    dimse = next(group for group in groups if group.value == "dimse")
    assert dimse.words == "Only when “How work goes out” is dimse"
    assert [field.name for field in dimse.fields] == [PREFIX + n for n in ("host", "port", "called_ae", "calling_ae", "dicom_tls")]
