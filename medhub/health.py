"""What the operator asks first: does the database answer, does the broker, is something stuck."""

import time
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connections
from django.utils import timezone
from kombu import Connection

from imaging.certificates.contexts import listener_ends
from imaging.storage import ObjectMissingError, StoreAwayError, bucket, is_remote

OBJECTS_SECONDS = 10.0


def health_report() -> dict[str, Any]:
    """Each part with "ok" or what is wrong; never a value of a hospital.

    An object store that is away does not make the house unwell: images are still taken, and wait for it on the local volume.
    """
    parts = {"database": _database(), "broker": _broker()}
    report = {"ok": all(state == "ok" for state in parts.values()), **parts, "objects": _objects()}
    ends = listener_ends()
    if ends is not None:
        report["listener_certificate_days"] = (ends - timezone.now()).days
    if parts["database"] == "ok":
        report["uploads_waiting"] = _uploads_waiting()
    return report


_objects_seen: tuple[float, str] = (-60.0, "")


def _objects() -> str:
    """Looked at every 10 s at most: a load balancer asks oftener than a store likes."""
    global _objects_seen
    if not is_remote():
        return "ok"
    if time.monotonic() - _objects_seen[0] > OBJECTS_SECONDS:
        try:
            bucket().check()
            state = "ok"
        except StoreAwayError as error:
            state = error.user_message
        except ObjectMissingError:
            state = "the bucket is not there"
        _objects_seen = (time.monotonic(), state)
    return _objects_seen[1]


def _uploads_waiting() -> int:
    """Objects of all hospitals on their way to the store, counted up to 10,000. In step with arrivals it is what came in a minute."""
    try:
        with connections["sweep"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM (SELECT id FROM imaging_upload LIMIT 10000) waiting")
            return int(cursor.fetchone()[0])
    except DatabaseError:
        return -1


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
