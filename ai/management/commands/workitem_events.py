"""The process that holds the WebSockets of the worklist (UPS-RS event channels). Behind the same proxy as the web server."""

import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from ai.workitems.channels import Hub


class Command(BaseCommand):
    requires_system_checks: list[str] = []
    help = "Tell subscribers of workitems, for ever."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.MEDHUB_EVENTS_PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(_run(options["host"], options["port"], lambda port: self.stdout.write(f"listening on {port}", ending="\n")))


async def _run(host: str, port: int, ready: Any) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Hub().run(host=host, port=port, stop=stop, ready=ready)
