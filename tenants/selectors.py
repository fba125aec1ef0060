"""Reading the directory: what the doors ask before a scope exists. Each answers with ids, never with clinical data."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import connection
from django.utils import timezone

from tenants.known import TokenHolder, known_tokens
from tenants.models import ApiToken, Authority, CalledAE, DeviceCertificate, Hook, Membership, OAuthClient, Tenant, User
from tenants.services import token_digest


def tenant_get(*, tenant_id: int) -> Tenant:
    return Tenant.objects.get(id=tenant_id)


def tenant_zone(*, tenant_id: int) -> ZoneInfo:
    """The hospital's time zone; UTC where it names none that is known."""
    try:
        return ZoneInfo(tenant_get(tenant_id=tenant_id).time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def token_holder(*, text: str) -> TokenHolder | None:
    """The holder of a live key of an active hospital, or None."""
    digest = token_digest(text)
    holder = known_tokens.holder(digest=digest, read=partial(_holder_read, digest))
    if holder is not None and holder.expires_at is not None and holder.expires_at <= timezone.now():
        return None  # nobody notifies of time that has passed
    return holder


def _holder_read(digest: str) -> TokenHolder | None:
    with connection.cursor() as cursor:  # no ORM object for what is asked before a machine's requests
        cursor.execute(
            "SELECT k.id, t.id, t.slug, coalesce(m.role, k.role), k.connection_id, k.job, k.expires_at, k.scopes, "
            "coalesce(c.client_id, ''), k.user_id, k.grant_id "
            "FROM tenants_apitoken k JOIN tenants_tenant t ON t.id = k.tenant_id LEFT JOIN tenants_oauthclient c ON c.id = k.client_id "
            "LEFT JOIN tenants_user u ON u.id = k.user_id LEFT JOIN tenants_membership m ON m.user_id = k.user_id AND m.tenant_id = t.id "
            "WHERE k.digest = %s AND k.revoked_at IS NULL AND t.is_active AND (k.user_id IS NULL OR (u.is_active AND m.id IS NOT NULL))",
            [digest],
        )
        row = cursor.fetchone()
    return TokenHolder(*row) if row else None


def token_role(*, tenant_id: int, token_id: int) -> str:
    """The role of a live key of this hospital; "" once it is revoked, over, or the hospital is switched off."""
    live = ApiToken.objects.filter(id=token_id, tenant_id=tenant_id, revoked_at=None, tenant__is_active=True)
    found = live.values_list("role", "expires_at").first()
    return found[0] if found is not None and (found[1] is None or found[1] > timezone.now()) else ""


def client_scopes(*, tenant_id: int, client_id: str) -> str:
    """What a client of this hospital may be given at most; "" once it is revoked or the hospital is switched off."""
    live = OAuthClient.objects.filter(client_id=client_id, tenant_id=tenant_id, revoked_at=None, tenant__is_active=True)
    return live.values_list("scopes", flat=True).first() or ""


def membership_get(*, user_id: UUID, slug: str) -> Membership | None:
    """This person's membership in this hospital; None for strangers and for hospitals that don't exist alike."""
    return (
        Membership.objects.select_related("tenant")
        .filter(user_id=user_id, tenant__slug=slug, tenant__is_active=True)
        .first()
    )


def person_role(*, tenant_id: int, user_id: UUID) -> str:
    """The role of an active person in this hospital; "" for others."""
    found = Membership.objects.filter(tenant_id=tenant_id, user_id=user_id, user__is_active=True, tenant__is_active=True)
    return found.values_list("role", flat=True).first() or ""


def person_name(*, user_id: UUID) -> str:
    """What a person is called in what they sign: the name, else the e-mail; empty for nobody."""
    found = User.objects.filter(id=user_id, is_active=True).values_list("name", "email").first()
    return (found[0].strip() or found[1]) if found else ""


def memberships_of(*, user_id: UUID) -> list[Membership]:
    return list(
        Membership.objects.select_related("tenant").filter(user_id=user_id, tenant__is_active=True).order_by("tenant__name")
    )


def tenant_of_ae(*, ae_title: str) -> Tenant | None:
    """The hospital that our AE title belongs to."""
    called = called_ae_get(ae_title=ae_title)
    return called.tenant if called else None


def called_ae_get(*, ae_title: str) -> CalledAE | None:
    """One of our AE titles, with its hospital; None for that of an inactive one too."""
    return CalledAE.objects.select_related("tenant").filter(ae_title=ae_title, tenant__is_active=True).first()


def tenant_of_certificate(*, fingerprint: str) -> int | None:
    """The id of the hospital whose authority has issued this client certificate."""
    found = DeviceCertificate.objects.filter(fingerprint=fingerprint).values_list("tenant_id", flat=True).first()
    return int(found) if found is not None else None


def hook_tenant(*, hook_id: UUID) -> int | None:
    """The hospital of a hook's address."""
    return Hook.objects.filter(id=hook_id, tenant__is_active=True).values_list("tenant_id", flat=True).first()


def authorities_version() -> tuple[int, str]:
    """Changes whenever `authorities_trusted` does: how many, and the newest."""
    live = Authority.objects.filter(tenant__is_active=True)
    newest = live.order_by("-created_at", "fingerprint").values_list("fingerprint", flat=True).first()
    return live.count(), newest or ""


def authorities_trusted() -> list[str]:
    """The certificates of all hospitals' authorities, PEM."""
    return list(Authority.objects.filter(tenant__is_active=True).order_by("fingerprint").values_list("certificate", flat=True))


def authority_of(*, tenant_id: int) -> Authority | None:
    """The hospital's newest authority, or None while it has none."""
    return Authority.objects.filter(tenant_id=tenant_id).order_by("-created_at").first()


def tenant_ids() -> list[int]:
    return list(Tenant.objects.filter(is_active=True).values_list("id", flat=True))


def tenant_ids_all() -> list[int]:
    """Also of those that are switched off: their secrets are kept too."""
    return list(Tenant.objects.values_list("id", flat=True))


def called_aes(*, tenant_id: int) -> list[str]:
    """Those that images are sent to, and that we call as; not where AI results come back."""
    ours = CalledAE.objects.filter(tenant_id=tenant_id, connection_id=None)
    return list(ours.order_by("ae_title").values_list("ae_title", flat=True))


def return_ae_of(*, tenant_id: int, connection_id: int) -> str:
    """The AE title that a connection's results come back to; empty when it has none."""
    found = CalledAE.objects.filter(tenant_id=tenant_id, connection_id=connection_id).values_list("ae_title", flat=True)
    return found.first() or ""


def tenant_by_slug(*, slug: str) -> Tenant | None:
    return Tenant.objects.filter(slug=slug, is_active=True).first()


def member_names(*, tenant_id: int, user_ids: Sequence[str]) -> dict[str, str]:
    """Name, or e-mail where there is none, of people of this hospital, by id."""
    rows = Membership.objects.filter(tenant_id=tenant_id, user_id__in=user_ids).values_list("user_id", "user__name", "user__email")
    return {str(user_id): name or email for user_id, name, email in rows}


def members_of(*, tenant_id: int) -> list[Membership]:
    """The people of a hospital with their roles, by name."""
    return list(Membership.objects.select_related("user").filter(tenant_id=tenant_id).order_by("user__name", "user__email"))
