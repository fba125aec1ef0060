"""Apps that act for a person: authorization_code with PKCE (S256, for every client) and refresh_token, over what people granted."""

from typing import Any

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge

from journal.wall.scope import tenant_scope
from tenants.models import OAuthGrant, OAuthRefresh
from tenants.oauth.clients import PUBLIC
from tenants.oauth.grants import LIVES, grant_add, grant_claim, refresh_add, refresh_app, refresh_claim, refresh_read
from tenants.oauth.parties import METHODS, Client
from tenants.oauth.scopes import scopes_granted
from tenants.selectors import person_role


class Challenge(CodeChallenge):
    """Nobody without, and S256 alone (SMART App Launch 2.2, RFC 9700 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE is needed, with code_challenge_method=S256.")
        super().validate_code_challenge(grant, redirect_uri)


class Granted:
    """What a grant hands Authlib."""

    code_challenge_method = "S256"

    def __init__(self, row: OAuthGrant) -> None:
        self.row = row
        self.code_challenge = row.code_challenge

    def get_redirect_uri(self) -> str:
        return self.row.redirect_uri

    def get_scope(self) -> str:
        return self.row.scopes


class CodeGrant(AuthorizationCodeGrant):
    """`request.context` and `request.granted` are what the consent page was answered with."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def validate_requested_scope(self) -> None:
        """None of data left is no token."""
        if not self.request.client.get_allowed_scope(self.request.payload.scope):
            raise InvalidScopeError

    def save_authorization_code(self, code: str, request: Any) -> None:
        """In the scope of the page."""
        grant_add(
            row=request.client.row, user_id=request.user.pk, scopes=request.granted, context=request.context,
            redirect_uri=request.payload.redirect_uri, code=code, code_challenge=request.payload.data["code_challenge"],
        )  # fmt: skip

    def query_authorization_code(self, code: str, client: Any) -> Granted | None:
        """A try uses the code up, whether the verifier fits or not."""
        with tenant_scope(self.server.tenant.id):
            row = grant_claim(row=client.row, code=code)
        return Granted(row) if row is not None else None

    def delete_authorization_code(self, authorization_code: Granted) -> None:
        """It was used up when it was asked for."""

    def authenticate_user(self, authorization_code: Granted) -> Any:
        """Who granted it, as long as they belong to the hospital."""
        row = authorization_code.row
        self.request.grant = row
        return row.user_id if person_role(tenant_id=self.server.tenant.id, user_id=row.user_id) else None

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        status, token, headers = super().create_token_response()
        return status, token | _told(self.server.tenant.id, self.request.grant), headers


class RefreshGrant(RefreshTokenGrant):
    """A new one each time; the old one is used up."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def authenticate_token_endpoint_client(self) -> Any:
        """A public app is known by its refresh token alone where it does not say its id, as SMART's own browser client does not."""
        form = self.request.form
        if {"client_id", "client_assertion"} & set(form) or "Authorization" in self.request.headers:
            return super().authenticate_token_endpoint_client()
        with tenant_scope(self.server.tenant.id):
            row = refresh_app(text=form.get("refresh_token", ""))
        if row is None or row.auth_method != PUBLIC:
            return super().authenticate_token_endpoint_client()
        self.request.auth_method = PUBLIC
        return Client(row)

    def authenticate_refresh_token(self, refresh_token: str) -> Any:
        with tenant_scope(self.server.tenant.id):
            return _Refresh.of(refresh_read(row=self.request.client.row, text=refresh_token))

    def _validate_token_scope(self, token: "_Refresh") -> None:
        asked = self.request.payload.scope
        if asked and not scopes_granted(asked=asked, allowed=token.get_scope()):
            raise InvalidScopeError

    def authenticate_user(self, refresh_token: "_Refresh") -> Any:
        grant = refresh_token.row.grant
        if not person_role(tenant_id=self.server.tenant.id, user_id=grant.user_id):
            raise InvalidGrantError("The person is no member of the hospital any more.")
        with tenant_scope(self.server.tenant.id):
            is_first = refresh_claim(refresh=refresh_token.row)
        if not is_first:
            raise InvalidGrantError
        self.request.grant = grant
        return grant.user_id

    def issue_token(self, user: Any, refresh_token: "_Refresh") -> dict[str, Any]:
        """Within what was granted: less, when less is asked for."""
        allowed, asked = refresh_token.get_scope(), self.request.payload.scope
        wanted = " ".join(scope.text for scope in scopes_granted(asked=asked, allowed=allowed)) if asked else allowed
        token: dict[str, Any] = self.generate_token(user=user, scope=wanted, include_refresh_token=False)
        return token

    def revoke_old_credential(self, refresh_token: "_Refresh") -> None:
        """It was used up before."""

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        status, token, headers = super().create_token_response()
        return status, token | _told(self.server.tenant.id, self.request.grant), headers


class _Refresh:
    def __init__(self, row: OAuthRefresh) -> None:
        self.row = row

    @classmethod
    def of(cls, row: OAuthRefresh | None) -> "_Refresh | None":
        return cls(row) if row is not None else None

    def check_client(self, client: Any) -> bool:
        return bool(self.row.grant.client_id == client.row.id)

    def get_scope(self) -> str:
        return str(self.row.grant.scopes)


def _told(tenant_id: int, grant: OAuthGrant) -> dict[str, Any]:
    """What a token response says besides (SMART App Launch 2.2, "Launch context arrives with your access_token")."""
    told: dict[str, Any] = {}
    if grant.patient:
        told |= {"patient": grant.patient, "need_patient_banner": True}
    if grant.study:
        told["fhirContext"] = [{"reference": f"ImagingStudy/{grant.study}"}]
    if set(LIVES) & set(grant.scopes.split()):
        with tenant_scope(tenant_id):
            told["refresh_token"] = refresh_add(grant=grant)
    return told
