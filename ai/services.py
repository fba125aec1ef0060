"""Connections and rules of a hospital. Called by commands and, later, by the portal and the API."""

from typing import Any

from django.utils import timezone

from ai.contract import platforms
from ai.models import Connection, Rule
from ai.rules import conditions_check


class ConnectionRefused(Exception):
    """Only the in-house platform can be connected until its issue brings de-identification: others would be a disclosure."""

    user_message = "only MedHub Quantify can be connected for now: other platforms wait for de-identification"


def connection_create(*, platform: str, name: str = "") -> Connection:
    """Connect the hospital in scope to a platform (idempotent). Raises ConnectionRefused."""
    found = platforms().get(platform)
    if found is None or not found.card.is_in_house:
        raise ConnectionRefused
    connection, _ = Connection.objects.get_or_create(
        platform=platform, defaults={"name": name or found.card.name, "created_at": timezone.now()}
    )
    return connection


def rule_set(*, name: str, connection: Connection, algorithm: str, conditions: list[dict[str, Any]]) -> Rule:
    """Make a rule, or the next version of the one with this name. Raises RuleError."""
    conditions_check(conditions)
    rule = Rule.objects.filter(name=name).first()
    if rule is None:
        return Rule.objects.create(name=name, connection=connection, algorithm=algorithm, conditions=conditions)
    if rule.conditions != conditions or rule.algorithm != algorithm:
        rule.conditions, rule.algorithm, rule.version = conditions, algorithm, rule.version + 1
        rule.save(update_fields=["conditions", "algorithm", "version"])
    return rule
