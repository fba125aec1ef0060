"""What a hospital asks its archive for beyond the standard keys, and what its objects have of it."""

from django.db import models

from imaging.models.fields import FoldedField
from imaging.models.studies import Instance
from journal.wall.models import TenantForeignKey, TenantModel


class QueryTag(TenantModel):
    """An attribute that the hospital has declared as a key. While it is built or removed `due_at` is the lease and the pace;
    `claim` says whose lease it is. One that is ready has no time.
    """

    class State(models.TextChoices):
        BUILDING = "building"  # what was stored before is being read
        READY = "ready"
        REMOVING = "removing"  # nobody asks for it any more; its values go

    class At(models.TextChoices):
        STUDY = "study"
        SERIES = "series"
        INSTANCE = "instance"

    tag = models.BigIntegerField()  # group and element; of a private one in the block that it was declared with
    creator = models.CharField(max_length=64, default="", blank=True)  # of a private one
    vr = models.CharField(max_length=2)
    level = models.CharField(max_length=8, choices=At.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.BUILDING)
    after_id = models.BigIntegerField(default=0)  # objects up to this id were read
    until_id = models.BigIntegerField(default=0)  # what arrives after it is indexed as it comes; 0: not begun
    objects_total = models.BigIntegerField(default=0)
    objects_done = models.BigIntegerField(default=0)
    objects_bad = models.BigIntegerField(default=0)  # of those done: could not be read
    last_error = models.CharField(max_length=120, default="", blank=True)  # our words
    claim = models.BigIntegerField(default=0)
    created_by = models.CharField(max_length=64, default="", blank=True)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    built_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "tag"], name="query_tag_once", condition=~models.Q(state="removing"),
            )
        ]  # fmt: skip
        indexes = [models.Index(fields=["due_at"], name="query_tag_due", condition=models.Q(due_at__isnull=False))]


class QueryValue(TenantModel):
    """One value of a declared attribute in one object. Kept by object, so that what is deleted or replaced takes its values along.

    `owner_id` is the study, series or instance that has the value, as the attribute's level says.
    """

    query_tag = TenantForeignKey(QueryTag, models.CASCADE)
    instance = TenantForeignKey(Instance, models.CASCADE)
    owner_id = models.BigIntegerField()
    number = models.PositiveSmallIntegerField()  # in the object
    value = models.TextField(default="", blank=True)  # as received; empty in the further keys of a person's name
    key = FoldedField()  # as it is compared

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "instance", "query_tag", "number"], name="query_value_once")
        ]
        indexes = [
            models.Index(fields=["tenant_id", "query_tag", "key", "owner_id"], name="query_value_by_key"),
            models.Index(fields=["tenant_id", "owner_id", "query_tag"], name="query_value_by_owner"),
        ]
