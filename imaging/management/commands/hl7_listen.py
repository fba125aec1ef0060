"""The process that takes HL7 v2 messages by MLLP, plain and over TLS."""

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from imaging.hl7.listener import Listener


class Command(BaseCommand):
    requires_system_checks: list[str] = []
    help = "Take HL7 v2 messages, for ever."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.MEDHUB_HL7_PORT)
        parser.add_argument("--tls-port", type=int, default=settings.MEDHUB_HL7_TLS_PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        listener = Listener(host=options["host"], port=options["port"], tls_port=options["tls_port"])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: listener.stop())
        self.stdout.write(f"listening on {listener.port}, over TLS on {listener.tls_port}", ending="\n")
        listener.serve()
