"""Every scheme against a double that checks the contract by itself: right, wrong key, ended token, clock skew."""

import json
from collections.abc import Callable, Iterator

import pytest
import time_machine

from ai.auth.apikey import ApiKeyHttp
from ai.auth.basic import BasicHttp
from ai.auth.bearer import BearerHttp
from ai.auth.entra import EntraHttp
from ai.auth.google import GoogleHttp
from ai.auth.ibm_iam import IbmIamHttp
from ai.auth.sigv4 import SigV4Http
from ai.contract import Http, PlatformError
from tenants.egress import CertificateUnusable, Egress, EgressFailed, EgressRefused
from tests.vendors import Vendors

pytestmark = pytest.mark.xdist_group("doubles-wires")  # one process of doubles for all of them

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
DICOM = "https://dicom.healthcareapis.azure.com/.default"


@pytest.fixture(autouse=True)
def _no_kept_tokens() -> None:
    from ai.auth import tokens

    tokens._kept._tokens.clear()


def aws(vendors: Vendors, secret: str = "") -> Http:
    kept = vendors.credentials
    return SigV4Http(
        Egress(), access_key=kept["aws_access"], secret_key=secret or kept["aws_secret"], region="us-east-1", service="medical-imaging"
    )


def entra(vendors: Vendors, secret: str = "", scope: str = DICOM) -> Http:
    kept = vendors.credentials
    return EntraHttp(
        Egress(), tenant="azure-login", client_id=kept["azure_client"], secret=secret or kept["azure_secret"], scope=scope,
        login=vendors.url,
    )  # fmt: skip


def google(vendors: Vendors, account: str = "") -> Http:
    return GoogleHttp(Egress(), account or vendors.google_account, scopes=(SCOPE,), token_url=f"{vendors.url}/google/token")


def ibm(vendors: Vendors, key: str = "") -> Http:
    return IbmIamHttp(Egress(), key or vendors.credentials["ibm_key"], iam=f"{vendors.url}/ibm")


Schemed = tuple[Callable[[Vendors], Http], str]
TOKENS: dict[str, Schemed] = {
    "entra": (entra, "/azure/dicom/v2/studies"),
    "google": (google, "/google/v1/projects/p1/locations/l1/datasets/d1/dicomStores/s1/dicomWeb/studies"),
    "ibm": (ibm, "/ibm/ml/v1/foundation_model_specs?version=2026-01-01"),
}
ALL: dict[str, Schemed] = {
    **TOKENS,
    "sigv4": (aws, "/aws/imaging/datastore/d1/studies?limit=1&fuzzymatching=false&x=a%2Fb%20c"),
    "bearer": (lambda v: BearerHttp(Egress(), v.credentials["chat_key"]), "/chat/v1/models"),
    "basic": (lambda v: BasicHttp(Egress(), v.credentials["fhir_user"], v.credentials["fhir_password"]), "/fhir-basic/metadata"),
    "apikey": (
        lambda v: ApiKeyHttp(Egress(), header="Authorization", key=f"Bearer {v.credentials['performer_key']}"),
        "/performer/dicomweb/studies",
    ),
}
WRONG: dict[str, Callable[[Vendors], Http]] = {
    "sigv4": lambda v: aws(v, "wrong"),
    "bearer": lambda v: BearerHttp(Egress(), "wrong"),
    "basic": lambda v: BasicHttp(Egress(), v.credentials["fhir_user"], "wrong"),
    "apikey": lambda v: ApiKeyHttp(Egress(), header="X-Api-Key", key="wrong"),
}


def ask(http: Http, url: str) -> int:
    return http.request("GET", url, headers={"Accept": "application/dicom+json"})[0]


@pytest.mark.parametrize("name", ALL)
def test_the_right_key_is_let_in(vendors, name) -> None:
    """"Auth through the vendors' own libraries: SigV4 (botocore), Entra client credentials (msal), Google service account
    (google-auth), IBM IAM, bearer, basic, API key"."""
    make, path = ALL[name]
    assert ask(make(vendors), vendors.url + path) in {200, 204}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_key_is_refused_where_it_is_used(vendors, name) -> None:
    """"tested negatively (wrong key, expired token, clock skew)": the double says 401 or 403 and the wire reads that."""
    assert ask(WRONG[name](vendors), vendors.url + ALL[name][1]) in {401, 403}


@pytest.mark.parametrize(
    "make",
    [
        lambda v: entra(v, "wrong"),
        lambda v: entra(v, scope="https://else/.default"),
        lambda v: ibm(v, "wrong"),
        lambda v: google(v, json.dumps({**json.loads(v.google_account), "client_email": "else@double.example"})),
        lambda v: google(v, json.dumps({**json.loads(v.google_account), "private_key": v.pem("stranger")[1]})),
        lambda v: google(v, "{}"),
    ],
    ids=["entra-secret", "entra-scope", "ibm", "google-account", "google-key", "google-file"],
)
def test_a_wrong_key_buys_no_token_and_is_not_repeated(vendors, make) -> None:
    """A sign-in service's refusal is permanent, and neither our key nor its words stand in what we say."""
    with pytest.raises(PlatformError) as raised:
        ask(make(vendors), f"{vendors.url}/azure/dicom/v2/studies")
    assert raised.value.is_permanent
    words = str(raised.value)
    assert words.startswith(("the sign-in service refused our key", "the service account's key"))
    assert not any(secret in words for secret in ("wrong", "repeated", "could not be found"))


def test_a_foreign_private_key_is_refused_by_the_signature(vendors) -> None:
    """The double checks RS256 by itself: another key's signature is no key."""
    from sandbox.vendors.authority import rsa_pem

    account = json.dumps({**json.loads(vendors.google_account), "private_key": rsa_pem()[0]})
    with pytest.raises(PlatformError, match=r"refused our key \(400\)"):
        ask(google(vendors, account), vendors.url)


@pytest.mark.parametrize("name", TOKENS)
def test_an_ended_token_is_fetched_anew_once(vendors, name) -> None:
    """"expired token": a 401 drops the kept token, a fresh one is tried once, and the request goes through."""
    make, path = TOKENS[name]
    assert ask(make(vendors), vendors.url + path) in {200, 204}
    vendors.control("POST", "tokens")  # every token that was given has ended
    assert ask(make(vendors), vendors.url + path) in {200, 204}
    vendors.fault("status", path=path.partition("?")[0], status=401, times=2)
    assert ask(make(vendors), vendors.url + path) == 401  # only once


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_is_kept_until_a_minute_before_it_ends(vendors, name) -> None:
    """One sign-in for many requests; within its last minute it is not used any more."""
    make, path = TOKENS[name]
    sign_in = {"entra": "/azure-login/oauth2.*", "google": "/google/token", "ibm": "/ibm/identity/token"}[name]
    vendors.control("POST", "tokens", {"seconds": 600})
    assert ask(make(vendors), vendors.url + path) in {200, 204}
    vendors.fault("status", path=sign_in, status=403, times=3)
    assert ask(make(vendors), vendors.url + path) in {200, 204}  # nobody signed in again
    with time_machine.travel(_in(545)), pytest.raises(PlatformError, match=r"sign-in service refused our key \(403\)"):
        ask(make(vendors), vendors.url + path)
    vendors.control("POST", "tokens")


def test_two_keys_never_share_a_token(vendors) -> None:
    """Kept by a hash of credential and scope: the right key's token does not let the wrong key in."""
    path = TOKENS["ibm"][1]
    assert ask(ibm(vendors), vendors.url + path) == 200
    with pytest.raises(PlatformError):
        ask(ibm(vendors, "wrong"), vendors.url + path)


@pytest.mark.parametrize("seconds", [-400, 400])
def test_a_clock_that_is_wrong_is_refused_by_aws(vendors, seconds) -> None:
    """"clock skew": more than five minutes and the signature is worth nothing."""
    with time_machine.travel(_in(seconds)):
        assert ask(aws(vendors), vendors.url + ALL["sigv4"][1]) == 403


def test_a_clock_that_is_wrong_is_refused_by_google(vendors) -> None:
    """An assertion from the future buys nothing."""
    with time_machine.travel(_in(1000)), pytest.raises(PlatformError, match="refused our key"):
        ask(google(vendors), vendors.url)


def test_a_streamed_body_is_hashed_before_it_is_sent(vendors) -> None:
    """SigV4 over a body that is made twice; a body that can be read once only is refused here, not sent unsigned."""

    def parts() -> Iterator[bytes]:
        yield b'{"resourceType": '
        yield b'"Patient"}'

    kept = vendors.credentials
    http = SigV4Http(
        Egress(), access_key=kept["aws_access"], secret_key=kept["aws_secret"], region="us-east-1", service="healthlake"
    )
    url = f"{vendors.url}/aws/healthlake/datastore/d1/r4/Patient"
    assert http.request("POST", url, headers={"Content-Type": "application/fhir+json"}, content=parts)[0] == 201
    with pytest.raises(PlatformError, match="read once only"):
        http.request("POST", url, headers={}, content=parts())


def test_the_sign_in_service_is_asked_through_egress_alone(vendors, settings) -> None:
    """msal and google-auth have no HTTP of their own here: a private address that is not allowed is refused to them too."""
    settings.EGRESS_ALLOW = []
    for make in (entra, google, ibm):
        with pytest.raises(EgressRefused):
            ask(make(vendors), vendors.url)


def test_a_service_account_cannot_choose_where_its_token_comes_from(vendors) -> None:
    """The file's own token_uri (a private address here) is not followed: the connection's address is."""
    assert "169.254.169.254" in vendors.google_account
    assert ask(google(vendors), vendors.url + TOKENS["google"][1]) in {200, 204}


def test_mutual_tls(vendors) -> None:
    """"mutual TLS": our certificate is shown; without one, or with a stranger's, nothing is said."""
    url = f"{vendors.addresses['mutual_url']}/performer/healthz"
    assert Egress(certificate=vendors.pem("client")).request("GET", url, headers={})[0] == 200
    for certificate in (None, vendors.pem("stranger")):
        with pytest.raises(EgressFailed):
            Egress(certificate=certificate).request("GET", url, headers={})


def test_a_certificate_that_is_none_is_said_so(vendors) -> None:
    """A certificate with another's key, or no PEM at all: permanent, in words."""
    for certificate in ((vendors.pem("client")[0], vendors.pem("stranger")[1]), ("no", "pem")):
        with pytest.raises(CertificateUnusable):
            Egress(certificate=certificate).request("GET", vendors.url, headers={})


def test_a_header_that_frames_the_request_is_no_api_key(vendors) -> None:
    """The name of the key's header comes from a form: it cannot take over the request."""
    for name in ("Host", "Content-Length", "X\r\nY", "Transfer-Encoding", ""):
        with pytest.raises(PlatformError):
            ApiKeyHttp(Egress(), header=name, key="k")


def _in(seconds: float) -> float:
    import time

    return time.time() + seconds
