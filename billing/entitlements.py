"""May this hospital send to AI now? Money and access fail closed; images and reading are never asked here."""

from billing.models import Entitlement


def entitlement_check() -> bool:
    """True when the hospital in scope may dispatch. No row means no."""
    return Entitlement.objects.filter(state__in=[Entitlement.State.TRIAL, Entitlement.State.ACTIVE]).exists()


def entitlement_set(*, state: str) -> None:
    """Set the state of the hospital in scope."""
    Entitlement.objects.update_or_create(defaults={"state": state})
