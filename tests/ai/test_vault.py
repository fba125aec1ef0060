"""Changing the vault key: whatever a hospital keeps sealed is sealed anew, and opens with the new key alone."""

import io

import pytest
from django.apps import apps
from django.core.management import call_command

from ai.connections import connection_keys, connection_set, secrets_open
from ai.models import Connection
from journal.audit import Actor
from tenants.crypto import SecretLostError

pytestmark = pytest.mark.database
FORM = {
    "contract": "C-1", "way": "stow", "dicomweb_url": "https://vendor.example/dicomweb", "answer": "pushed", "auth": "bearer",
    "token": "only the vendor knows it",
}  # fmt: skip
SEALED = {
    "imaging.AuthorityKey.sealed_key", "imaging.Certificate.sealed_key", "imaging.Node.web_secret", "ai.Connection.secrets",
    "ai.Connection.pseudonyms",
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


def test_every_sealed_column_is_one_that_is_rotated() -> None:
    """A column whose name or comment says sealed, and that vault_rotate does not know, would be lost with the old key."""
    named = {
        f"{model._meta.app_label}.{model.__name__}.{field.name}"
        for model in apps.get_models()
        for field in model._meta.local_fields
        if any(word in field.name for word in ("sealed", "secret", "pseudonyms"))
    }
    assert named == SEALED
