"""`manage.py query_tag_add --hospital <slug> --tag <keyword|gggg,eeee> --level study [--private-creator C --vr VR]`. Idempotent."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from imaging.models import QueryTag
from imaging.query.declared import LEVELS
from imaging.querytags.declare import QueryTagError, query_tag_add, tag_text, tag_words
from journal.audit import Actor
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    help = "Let a hospital ask for an attribute beyond the standard keys; a job reads what is stored already."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="the hospital's slug")
        parser.add_argument("--tag", required=True, help="a keyword of PS3.6, or group and element like 0018,1030")
        parser.add_argument("--level", required=True, choices=list(LEVELS), help="whose attribute it is")
        parser.add_argument("--private-creator", default="", help="of a private attribute (PS3.5 7.8.1)")
        parser.add_argument("--vr", default="", help="of a private attribute; of others the dictionary says it")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(slug=options["hospital"])
        if tenant is None:
            raise CommandError(f"there is no hospital {options['hospital']}")
        try:
            with tenant_scope(tenant.id):
                row, is_new = query_tag_add(
                    actor=Actor(name="system:command"), tag=options["tag"], level=options["level"], vr=options["vr"],
                    private_creator=options["private_creator"],
                )  # fmt: skip
        except QueryTagError as error:
            raise CommandError(f"{error.field}: {error}") from None
        said = "declared" if is_new else "was declared before"
        self.stdout.write(f"{tag_words(row.tag) or row.creator} ({tag_text(row.tag)}) {said}, {row.level} level, {_state(row)}")


def _state(row: QueryTag) -> str:
    return "ready" if row.state == QueryTag.State.READY else f"{row.objects_done} of {row.objects_total or 'all'} objects read"
