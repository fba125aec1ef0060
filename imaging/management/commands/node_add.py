"""`manage.py node_add --hospital <slug> --ae <title> [--host H --port P] [--services store,find,...]`. Idempotent."""

from argparse import BooleanOptionalAction
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from imaging.models import Node
from imaging.nodes import SERVICES, NodeError, ae_title_check, node_add, services_of
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    help = "Let a calling AE title into a hospital, or change what it may do and where it is. What is not given stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="the hospital's slug")
        parser.add_argument("--ae", required=True, help="the device's AE title, at most 16 characters")
        parser.add_argument(
            "--address", help="where it may call from: addresses and networks with commas, or `any` (a new node's default)"
        )
        parser.add_argument("--host", help="where it listens, when we shall query it or send to it")
        parser.add_argument("--port", type=int, help="and on which port")
        parser.add_argument("--services", help=f"what it may ask for, of {','.join(SERVICES)} (a new node's default: store)")
        parser.add_argument("--tls", action=BooleanOptionalAction, default=None, help="whether we call it over TLS")
        parser.add_argument("--retrieve-by", choices=["move", "get"], help="how we pull from it")
        parser.add_argument("--priors", action=BooleanOptionalAction, default=None, help="whether we ask it for priors")
        parser.add_argument("--results-as", choices=Node.ResultsAs.values, help="AI reports are sent there as; empty: not at all")
        parser.add_argument("--results-by", choices=Node.ResultsBy.values, help="by C-STORE (dimse) or STOW-RS (stow)")
        parser.add_argument(
            "--ask-commitment", action=BooleanOptionalAction, default=None, help="ask it for storage commitment after a C-STORE of results"
        )
        parser.add_argument("--web-url", help="root of its DICOMweb; credentials are entered on its page or by the API")
        parser.add_argument("--description", help="what it is")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(slug=options["hospital"])
        if tenant is None:
            raise CommandError(f"there is no hospital {options['hospital']}")
        address = options["address"]
        try:
            title = ae_title_check(options["ae"])
            with tenant_scope(tenant.id):
                node = node_add(
                    ae_title=title, address="" if address == "any" else address, host=options.get("host"),
                    port=options.get("port"), services=_words(options.get("services")), uses_tls=options.get("tls"),
                    retrieve_by=options.get("retrieve_by"), is_asked_for_priors=options.get("priors"),
                    description=options.get("description"), results_as=options.get("results_as"),
                    results_by=options.get("results_by"), is_commitment_asked=options.get("ask_commitment"),
                    web_url=options.get("web_url"),
                )  # fmt: skip
        except NodeError as error:
            raise CommandError(str(error)) from None
        at = f", listens at {node.host}:{node.port}{' (TLS)' if node.uses_tls else ''}" if node.host and node.port else ""
        self.stdout.write(f"{title} may {', '.join(sorted(services_of(node))) or 'nothing'} at {tenant.slug}{at}")


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
