"""Changing the vault key: whatever a hospital keeps sealed is sealed anew, and opens with the new key alone."""

import io
from functools import partial

import pytest
from django.apps import apps
from django.core.management import call_command
from django.utils import timezone

from ai.connections import connection_keys, connection_set, secrets_open
from ai.models import Connection
from fhirapi.models import EhrServer, Subscriber
from journal.audit import Actor
from tenants.crypto import SecretLostError, secret_open, secret_seal

pytestmark = pytest.mark.database
FORM = {
    "contract": "C-1", "way": "stow", "dicomweb_url": "https://vendor.example/dicomweb", "answer": "pushed", "auth": "bearer",
    "token": "only the vendor knows it",
}  # fmt: skip
SEALED = {
    "imaging.AuthorityKey.sealed_key", "imaging.Certificate.sealed_key", "imaging.Node.web_secret", "ai.Connection.secrets",
    "ai.Connection.pseudonyms", "fhirapi.EhrServer.secret",
}  # fmt: skip


def test_secrets_of_connections_outlive_a_change_of_the_vault_key(mercy, settings) -> None:
    """"Secrets encrypted per tenant": the new key in front, vault_rotate, the old one away; pseudonyms stay what they were."""
    with mercy.scope():
        made = connection_set(platform="aidoc", values=FORM, actor=Actor(name="user:a"))
        before, keys = secrets_open(made), connection_keys(made, job_uuid="")
    assert before["token"] == FORM["token"]
    old = settings.MEDHUB_VAULT_KEYS
    settings.MEDHUB_VAULT_KEYS = ["another long random text", *old]
    try:
        call_command("vault_rotate", "--hospital", mercy.slug, stdout=io.StringIO())
        settings.MEDHUB_VAULT_KEYS = ["another long random text"]
        with mercy.scope():
            row = Connection.objects.get(id=made.id)
            assert secrets_open(row) == before
            assert connection_keys(row, job_uuid="") == keys
            with pytest.raises(SecretLostError):
                secrets_open(made)
    finally:
        settings.MEDHUB_VAULT_KEYS = [*old, "another long random text"]
        call_command("vault_rotate", "--hospital", mercy.slug, stdout=io.StringIO())


def test_what_fhir_keeps_sealed_outlives_it_too(mercy, settings) -> None:
    """How we sign in at an EHR, our private key for it, and the headers of a subscriber."""
    seal = partial(secret_seal, tenant_id=mercy.tenant.id)
    with mercy.scope():
        now = timezone.now()
        server = EhrServer.objects.create(
            name="x", base_url="https://x.example", created_at=now, secret=seal(b"s"), private_key=seal(b"k")
        )
        watcher = Subscriber.objects.create(
            fhir_id="s1", rtype="Patient", endpoint="https://x.example", content="empty", state="off", creator="-", role="-",
            created_at=now, headers=seal(b"h"),
        )  # fmt: skip
    old = settings.MEDHUB_VAULT_KEYS
    settings.MEDHUB_VAULT_KEYS = ["another long random text", *old]
    call_command("vault_rotate", "--hospital", mercy.slug, stdout=io.StringIO())
    settings.MEDHUB_VAULT_KEYS = ["another long random text"]
    with mercy.scope():
        server.refresh_from_db()
        watcher.refresh_from_db()
    opened = [secret_open(text, tenant_id=mercy.tenant.id) for text in (server.secret, server.private_key, watcher.headers)]
    assert opened == [b"s", b"k", b"h"]


def test_every_sealed_column_is_one_that_is_rotated() -> None:
    """A column whose name or comment says sealed, and that vault_rotate does not know, would be lost with the old key."""
    named = {
        f"{model._meta.app_label}.{model.__name__}.{field.name}"
        for model in apps.get_models()
        for field in model._meta.local_fields
        if any(word in field.name for word in ("sealed", "secret", "pseudonyms")) and not field.name.endswith("_digest")
    }
    assert named == SEALED
