"""Install the OHIF viewer. Says one line; that it cannot be had is no failure, unless --required."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.ohif import VERSION, ViewerError, ohif_install


class Command(BaseCommand):
    help = "Fetch, check and install the OHIF viewer under MEDHUB_VIEWER."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--required", action="store_true", help="fail when it cannot be had")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            is_new = ohif_install(folder=settings.MEDHUB_VIEWER)
        except ViewerError as error:
            if options["required"]:
                raise CommandError(str(error)) from None
            self.stdout.write(str(error))
            return
        if is_new:
            self.stdout.write(f"OHIF viewer {VERSION} installed")
