"""Rules of a hospital, and its connection to what is in the house. Called by commands and, later, by the portal and the API."""

from typing import Any

from django.utils import timezone

from ai.connections import ConnectionRefused
from ai.contract import platforms
from ai.models import Connection, RuleSet
from ai.routing.sets import ruleset_active, ruleset_publish
from journal.audit import Actor

ACTOR = Actor(name="system:command")


def connection_create(*, platform: str, name: str = "") -> Connection:
    """Connect the hospital in scope to a platform in the house, which needs no settings (idempotent). Raises ConnectionRefused."""
    found = platforms().get(platform)
    if found is None or not found.card.is_in_house:
        raise ConnectionRefused({"platform": "a platform outside the house needs its settings"})
    connection, _ = Connection.objects.get_or_create(
        platform=platform, defaults={"name": name or found.card.name, "created_at": timezone.now()}
    )
    return connection


def rule_set(*, name: str, connection: Connection, algorithm: str, conditions: list[dict[str, Any]], is_stat: bool = False) -> RuleSet:
    """Make a rule active, or change the one with this name (idempotent). A draft of a person's stays. Raises RuleSetRefused."""
    active = ruleset_active()
    rules = [dict(rule) for rule in active.rules] if active else []
    wanted = {"platform": connection.platform, "algorithm": algorithm, "conditions": conditions, "is_stat": is_stat}
    same = next((rule for rule in rules if rule["name"] == name), None)
    if same is None:
        rules.append({"name": name, **wanted})
    else:
        same |= wanted
    if active and rules == active.rules:
        return active
    return ruleset_publish(rules=rules, actor=ACTOR)
