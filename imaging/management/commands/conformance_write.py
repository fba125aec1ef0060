"""Renew the generated parts of the DICOM conformance statement."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from imaging.conformance import statement_fill


class Command(BaseCommand):
    requires_system_checks: list[str] = []
    help = "Write docs/conformance/dicom.md anew where the code knows best."

    def handle(self, *args: Any, **options: Any) -> None:
        page = settings.BASE_DIR / "docs" / "conformance" / "dicom.md"
        page.write_text(statement_fill(page.read_text(encoding="utf-8")), encoding="utf-8")
