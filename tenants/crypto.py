"""Secrets of a hospital at rest: sealed with a key that MEDHUB_VAULT_KEYS and the hospital's id make together (Fernet)."""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class SecretLostError(Exception):
    """No key of MEDHUB_VAULT_KEYS opens it: a key was taken away too early, or the row is another hospital's."""


def secret_seal(secret: bytes, *, tenant_id: int) -> str:
    """Text for a column. What is sealed for one hospital cannot be opened as another's."""
    return _box(tenant_id).encrypt(secret).decode()


def secret_open(sealed: str, *, tenant_id: int) -> bytes:
    """Raises SecretLostError."""
    try:
        return _box(tenant_id).decrypt(sealed.encode())
    except InvalidToken:
        raise SecretLostError("no vault key opens this secret") from None


def secret_rotate(sealed: str, *, tenant_id: int) -> str:
    """The same secret under the first key. Raises SecretLostError."""
    try:
        return _box(tenant_id).rotate(sealed.encode()).decode()
    except InvalidToken:
        raise SecretLostError("no vault key opens this secret") from None


def _box(tenant_id: int) -> MultiFernet:
    return MultiFernet([_fernet(key, tenant_id) for key in settings.MEDHUB_VAULT_KEYS])


def _fernet(key: str, tenant_id: int) -> Fernet:
    # an expansion, not a stretching: the keys are random text, never somebody's password
    made = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"medhub vault 1 tenant {tenant_id}".encode()).derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(made))
