"""IBM Cloud IAM: an API key becomes a bearer token at /identity/token (ibm.com/docs, "Getting an IBM Cloud IAM token")."""

from urllib.parse import urlencode

from ai.auth.tokens import TokenHttp, form_token, key_of
from ai.contract import Http

IAM = "https://iam.cloud.ibm.com"
GRANT = "urn:ibm:params:oauth:grant-type:apikey"


class IbmIamHttp(TokenHttp):
    """`iam` is the address without a path; another one for a private cloud."""

    def __init__(self, http: Http, api_key: str, *, iam: str = IAM) -> None:
        url = f"{iam.rstrip('/')}/identity/token"
        body = urlencode({"grant_type": GRANT, "apikey": api_key}).encode()
        super().__init__(http, key=key_of("ibm", url, api_key), fetch=lambda: form_token(http, url, body))
