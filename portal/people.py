"""Who did something, in words: an actor's name ("user:<id>") as the person's own."""

from django.utils.translation import gettext as _

from tenants.models import Tenant
from tenants.selectors import members_of


class People:
    """The members of one hospital, read when first asked for."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant_id = tenant.id
        self._names: dict[str, str] | None = None

    def words(self, actor: str) -> str:
        """A former member and a machine have no name here."""
        kind, _sep, key = actor.partition(":")
        if kind == "token":
            return _("a machine's key")
        if kind != "user":
            return _("the system") if actor else ""
        if self._names is None:
            self._names = {str(one.user_id): one.user.name or one.user.email for one in members_of(tenant_id=self._tenant_id)}
        return self._names.get(key, _("a former member"))
