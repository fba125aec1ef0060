"""Filters of the worklist that somebody keeps: each person's own. In a scope."""

from typing import Any

from django.utils import timezone

from journal.audit import Actor
from tenants.models import SavedFilter

MAX_FILTERS = 30
NAME_CHARS = 60


class FilterRefused(Exception):
    """It cannot be kept. The words are for who asked."""


def filter_save(*, name: str, wish: dict[str, Any], actor: Actor) -> SavedFilter:
    """Under this name, in place of what was kept under it. Raises FilterRefused."""
    name = " ".join(name.split())
    if not 0 < len(name) <= NAME_CHARS:
        raise FilterRefused(f"a name of at most {NAME_CHARS} characters")
    kept = SavedFilter.objects.filter(owner=actor.name)
    if not kept.filter(name=name).exists() and kept.count() >= MAX_FILTERS:
        raise FilterRefused(f"at most {MAX_FILTERS} filters are kept: delete one first")
    made: SavedFilter = SavedFilter.objects.update_or_create(
        owner=actor.name, name=name, defaults={"wish": wish}, create_defaults={"wish": wish, "created_at": timezone.now()}
    )[0]
    return made


def filter_delete(*, filter_id: int, actor: Actor) -> bool:
    """False where this person has no such filter."""
    deleted, _ = SavedFilter.objects.filter(id=filter_id, owner=actor.name).delete()
    return bool(deleted)


def filters_of(*, actor: Actor) -> list[SavedFilter]:
    return list(SavedFilter.objects.filter(owner=actor.name).order_by("name", "id"))


def filter_get(*, filter_id: int, actor: Actor) -> SavedFilter | None:
    return SavedFilter.objects.filter(id=filter_id, owner=actor.name).first()
