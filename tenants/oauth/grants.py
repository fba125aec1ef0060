"""What people granted apps, and launches from our pages. In a scope; codes and tokens are kept as digests alone."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current
from tenants.models import ApiToken, OAuthClient, OAuthGrant, OAuthLaunch, OAuthRefresh
from tenants.oauth.clients import APP
from tenants.oauth.scopes import OFFLINE, ONLINE
from tenants.services import STALE_AFTER, token_digest

CODE_LIVES = timedelta(minutes=1)
LAUNCH_LIVES = timedelta(minutes=5)
# How long a grant is renewed: when the person has left, and while they stay (which is a session's length).
LIVES = {OFFLINE: timedelta(days=90), ONLINE: timedelta(hours=12)}
SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class LaunchContext:
    """What an app is opened on: ids of FHIR resources, or nothing."""

    patient: str = ""
    study: str = ""


def launch_apps() -> list[OAuthClient]:
    """Apps of the hospital in scope that a page may open, by name."""
    rows = OAuthClient.objects.filter(tenant_id=tenant_id_current(), kind=APP, revoked_at=None).exclude(launch_url="")
    return list(rows.order_by("name", "id"))


def launch_create(*, row: OAuthClient, user_id: UUID, context: LaunchContext) -> str:
    """The `launch` value that the app brings back within five minutes, for this person alone."""
    now, text = timezone.now(), secrets.token_urlsafe(24)
    OAuthLaunch.objects.filter(expires_at__lt=now).delete()
    OAuthLaunch.objects.create(
        client_id=row.id, user_id=user_id, digest=token_digest(text), patient=context.patient, study=context.study,
        expires_at=now + LAUNCH_LIVES,
    )  # fmt: skip
    return text


def launch_read(*, row: OAuthClient, user_id: UUID, text: str) -> LaunchContext | None:
    """None for a launch that is over, of another app or of another person."""
    found = OAuthLaunch.objects.filter(
        digest=token_digest(text), client_id=row.id, user_id=user_id, expires_at__gt=timezone.now()
    ).first()
    return LaunchContext(patient=found.patient, study=found.study) if found else None


def launch_end(*, text: str) -> None:
    """It was used: good once."""
    OAuthLaunch.objects.filter(digest=token_digest(text)).delete()


def grant_add(
    *, row: OAuthClient, user_id: UUID, scopes: str, context: LaunchContext, redirect_uri: str, code: str, code_challenge: str
) -> OAuthGrant:
    """What a person has said yes to; `code` is good for a minute, once."""
    now = timezone.now()
    lives = max((LIVES[word] for word in LIVES if word in scopes.split()), default=timedelta(0))
    OAuthGrant.objects.filter(expires_at__lt=now - STALE_AFTER).delete()
    grant: OAuthGrant = OAuthGrant.objects.create(
        client_id=row.id, user_id=user_id, scopes=scopes, patient=context.patient, study=context.study, redirect_uri=redirect_uri,
        code_challenge=code_challenge, code_digest=token_digest(code), code_expires_at=now + CODE_LIVES,
        expires_at=now + max(lives, timedelta(hours=1)),
    )  # fmt: skip
    return grant


def grant_claim(*, row: OAuthClient, code: str) -> OAuthGrant | None:
    """The grant of a code, which is used up by this. A code that comes twice ends the grant (RFC 6749 4.1.2)."""
    now, digest = timezone.now(), token_digest(code)
    mine: QuerySet[OAuthGrant] = OAuthGrant.objects.filter(client_id=row.id, code_digest=digest)
    if mine.filter(code_used_at=None, revoked_at=None, code_expires_at__gt=now).update(code_used_at=now):
        return mine.first()
    used = mine.exclude(code_used_at=None).first()
    if used is not None:
        _end(used, now)
    return None


def refresh_add(*, grant: OAuthGrant) -> str:
    text = f"mr_{secrets.token_urlsafe(32)}"
    OAuthRefresh.objects.create(grant=grant, digest=token_digest(text))
    return text


def refresh_read(*, row: OAuthClient, text: str) -> OAuthRefresh | None:
    """A live one of this client. One that was used ends its grant: somebody else may hold the other."""
    now = timezone.now()
    known = OAuthRefresh.objects.select_related("grant").filter(digest=token_digest(text), grant__client_id=row.id)
    found: OAuthRefresh | None = known.first()
    if found is None or found.grant.revoked_at is not None or found.grant.expires_at <= now:
        return None
    if found.used_at is not None:
        _end(found.grant, now)
        return None
    return found


def refresh_claim(*, refresh: OAuthRefresh) -> bool:
    """Use it up; False when somebody was faster, which ends the grant."""
    now = timezone.now()
    if OAuthRefresh.objects.filter(id=refresh.id, used_at=None).update(used_at=now):
        return True
    _end(refresh.grant, now)
    return False


def refresh_grant(*, text: str) -> int | None:
    """The grant of a refresh token, used or not."""
    return OAuthRefresh.objects.filter(digest=token_digest(text)).values_list("grant_id", flat=True).first()


def refresh_app(*, text: str) -> OAuthClient | None:
    """The live app of a refresh token."""
    found = OAuthRefresh.objects.filter(digest=token_digest(text)).values_list("grant__client_id", flat=True).first()
    return OAuthClient.objects.filter(tenant_id=tenant_id_current(), id=found, revoked_at=None).first() if found else None


def grant_of_token(*, grant_id: int) -> OAuthGrant | None:
    """A live grant of the hospital in scope."""
    return OAuthGrant.objects.filter(id=grant_id, revoked_at=None).first()


def grants_live(*, rows: Sequence[OAuthClient]) -> list[OAuthGrant]:
    """Those of these apps in which a token may be had or be good, the newest first."""
    live = OAuthGrant.objects.filter(client_id__in=[row.id for row in rows], revoked_at=None, expires_at__gt=timezone.now())
    return list(live.exclude(code_used_at=None).order_by("-id")[:SHOWN])


def grant_revoke(*, actor: Actor, grant_id: int) -> bool:
    """End it, with its tokens. False when there is none to end."""
    grant = OAuthGrant.objects.filter(id=grant_id, revoked_at=None).first()
    if grant is None:
        return False
    _end(grant, timezone.now())
    audit_record(actor=actor, action="client.grant.revoke", object_type="OAuthGrant", object_id=str(grant.id))
    return True


def _end(grant: OAuthGrant, now: datetime) -> None:
    OAuthGrant.objects.filter(id=grant.id, revoked_at=None).update(revoked_at=now)
    ApiToken.objects.filter(tenant_id=grant.tenant_id, grant_id=grant.id, revoked_at=None).update(revoked_at=now)
