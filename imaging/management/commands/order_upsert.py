"""`manage.py order_upsert --hospital <slug> --accession A1 --patient-id P1 --modality CT ...`, or JSON from stdin. Idempotent."""

import sys
from dataclasses import fields
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from imaging.describe import PatientFacts
from imaging.orders import OrderError, OrderFacts, StepFacts, order_upsert
from journal.audit import Actor
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_by_slug

STDIN_CAP = 16 << 20
ORDERS_CAP = 10_000
PATIENT = ("issuer", "patient_id", "name", "birth_date", "sex")


class Command(BaseCommand):
    help = "Write an order down, or what it says now. With --json: one order, or a list, from stdin, names as in OrderFacts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="the hospital's slug")
        parser.add_argument("--json", action="store_true", help="read orders from stdin: all of them are taken, or none")
        parser.add_argument("--accession", help="accession number")
        parser.add_argument("--issuer", default="", help="issuer of the accession number")
        parser.add_argument("--status", default="active", help="active, on-hold, completed, revoked, entered-in-error")
        parser.add_argument("--patient-id", default="")
        parser.add_argument("--patient-issuer", default="", help="issuer of the patient ID")
        parser.add_argument("--name", default="", help="patient's name as DICOM writes it: DOE^JANE")
        parser.add_argument("--birth-date", default="", help="YYYYMMDD")
        parser.add_argument("--sex", default="")
        parser.add_argument("--description", default="", help="of the requested procedure")
        parser.add_argument("--procedure-id", default="", help="of the requested procedure; the accession number if not given")
        parser.add_argument("--referrer", default="", help="referring physician's name")
        parser.add_argument("--modality", help="of one scheduled step; without it the steps stay as they are")
        parser.add_argument("--station", default="", help="AE title of the modality")
        parser.add_argument("--date", default="", help="YYYYMMDD, the hospital's own day")
        parser.add_argument("--time", default="", help="HHMM or HHMMSS")
        parser.add_argument("--performer", default="", help="performing physician's name")
        parser.add_argument("--location", default="")
        parser.add_argument("--step-status", default="SCHEDULED")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(slug=options["hospital"])
        if tenant is None:
            raise CommandError(f"there is no hospital {options['hospital']}")
        try:
            orders = _read(sys.stdin.buffer.read(STDIN_CAP + 1)) if options["json"] else [_facts(options)]
            with tenant_scope(tenant.id):
                for facts in orders:
                    order_upsert(actor=Actor(name="command:order_upsert"), facts=facts)
        except OrderError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{len(orders)} {'order' if len(orders) == 1 else 'orders'} at {tenant.slug}")


def _facts(options: dict[str, Any]) -> OrderFacts:
    steps = None
    if options["modality"]:
        steps = [StepFacts(
            modality=options["modality"], station=options["station"], start_date=options["date"], start_time=options["time"],
            performer=options["performer"], description=options["description"], location=options["location"],
            status=options["step_status"],
        )]  # fmt: skip
    return OrderFacts(
        accession_number=options["accession"] or "", issuer=options["issuer"], status=options["status"],
        procedure_id=options["procedure_id"], description=options["description"], referrer=options["referrer"], steps=steps,
        patient=PatientFacts(
            issuer=options["patient_issuer"], patient_id=options["patient_id"], name=options["name"],
            birth_date=options["birth_date"], sex=options["sex"],
        ),
    )  # fmt: skip


def _read(encoded: bytes) -> list[OrderFacts]:
    """Raises CommandError, whose text holds no value."""
    if len(encoded) > STDIN_CAP:
        raise CommandError(f"more than {STDIN_CAP >> 20} MiB")
    try:
        given = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        raise CommandError("stdin is no JSON") from None
    orders = given if isinstance(given, list) else [given]
    if len(orders) > ORDERS_CAP:
        raise CommandError(f"more than {ORDERS_CAP} orders")
    return [_one(order) for order in orders]


def _one(given: Any) -> OrderFacts:
    order = _named(given, OrderFacts)
    steps = order.pop("steps", None)
    if steps is not None and not isinstance(steps, list):
        raise CommandError("steps are a list")
    patient = dict.fromkeys(PATIENT, "") | _named(order.pop("patient", {}), PatientFacts)
    order.setdefault("accession_number", "")
    made = None if steps is None else [StepFacts(**({"modality": ""} | _named(step, StepFacts))) for step in steps]
    return OrderFacts(patient=PatientFacts(**patient), steps=made, **order)


def _named(given: Any, kind: type) -> dict[str, Any]:
    """An object with names of this kind only; texts, and an object of attributes."""
    known = {one.name for one in fields(kind)} - {"extra"}
    if not isinstance(given, dict) or not set(given) <= known:
        raise CommandError(f"an object has other names than {', '.join(sorted(known))}")
    if not isinstance(given.get("attributes", {}), dict):
        raise CommandError("attributes are an object, by DICOM keyword")
    return dict(given)
