"""What every walled model is made of: a tenant id, a snowflake id, a manager that refuses to work without a scope."""

from typing import Any, TypeVar

from django.db import models

from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current

M = TypeVar("M", bound=models.Model)


class TenantManager(models.Manager[M]):
    """Passes the tenant id explicitly, besides the policy: the planner then prunes and orders by the leading column."""

    def get_queryset(self) -> models.QuerySet[M]:
        return super().get_queryset().filter(tenant_id=tenant_id_current())


class TenantModel(models.Model):
    """A row of one hospital. The table gets its wall from `journal.wall.operations.WallTable` in the same migration."""

    id = models.BigIntegerField(primary_key=True, default=id_new, editable=False)
    tenant_id = models.BigIntegerField(default=tenant_id_current, editable=False)

    objects: TenantManager[Any] = TenantManager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        # Never a name or a number of a patient: this text ends up in logs.
        return f"{self._meta.label} {self.pk}"


class TenantForeignKey(models.ForeignKey):  # type: ignore[type-arg]
    """A key whose real constraint is (tenant_id, x_id) -> (tenant_id, id); WallTable writes it.

    A plain foreign key would let one hospital point at another's row, right through row level security.
    """

    def __init__(self, to: Any, on_delete: Any, **kwargs: Any) -> None:
        kwargs["db_constraint"] = False
        kwargs["db_index"] = False  # indexes begin with tenant_id and are named in Meta
        super().__init__(to, on_delete, **kwargs)
