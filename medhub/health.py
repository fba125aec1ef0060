"""What the operator asks first: does the database answer, does the broker, is something stuck."""

from typing import Any

from django.conf import settings
from django.db import DatabaseError, connections
from kombu import Connection


def health_report() -> dict[str, Any]:
    """Each part with "ok" or what is wrong; never a value of a hospital."""
    parts = {"database": _database(), "broker": _broker()}
    return {"ok": all(state == "ok" for state in parts.values()), **parts}


def _database() -> str:
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "not reached"
    return "ok"


def _broker() -> str:
    try:
        with Connection(settings.CELERY_BROKER_URL, connect_timeout=1, transport_options={"socket_connect_timeout": 1}) as broker:
            broker.ensure_connection(max_retries=1, timeout=1)
    except Exception as error:  # noqa: BLE001 whatever a transport raises means the same here
        return f"not reached ({type(error).__name__})"
    return "ok"
