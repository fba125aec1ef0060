"""What passwords rest under."""

from django.conf import settings
from django.contrib.auth.hashers import check_password, identify_hasher, make_password


def test_passwords_rest_under_scrypt() -> None:
    """The product's only hasher (the tests' own stands in front of it here), at Django's work factor or above."""
    hashers = settings.PASSWORD_HASHERS[1:]
    assert hashers == ["django.contrib.auth.hashers.ScryptPasswordHasher"]
    found = make_password("a long enough secret", hasher="scrypt")
    assert found.split("$")[:2] >= ["scrypt", "16384"]
    assert identify_hasher(found).algorithm == "scrypt"
    assert check_password("a long enough secret", found)
