"""Where a node's DICOMweb is: what a person typed never becomes more than the address of a server."""

from urllib.parse import urlsplit

from django.conf import settings

MAX_URL = 500


class AddressError(ValueError):
    """The text is ours; it is shown to whoever typed the address."""


def address_check(text: str) -> str:
    """The root of a DICOMweb service, as in https://pacs.example/dicom-web, without a slash at its end. Raises AddressError.

    http is taken only where EGRESS_ALLOW names the very host and port: a credential is never sent in the clear by mistake.
    """
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise AddressError("that is no address") from None
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressError(f"an address has at most {MAX_URL} ASCII characters")
    if parts.scheme not in {"https", "http"} or not host:
        raise AddressError("an address starts with https:// and names a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise AddressError("an address holds no user, no ? and no #")
    if parts.scheme == "http" and f"{host}:{port or 80}" not in settings.EGRESS_ALLOW:
        raise AddressError("http only where EGRESS_ALLOW names the host and port; else https")
    return url


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: a secret is kept for one of these alone."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
