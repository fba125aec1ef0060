"""One attempt of a push: build, sign in, POST, look at the answer. Called by the task; the network is in no scope."""

import logging
import re
import time
from collections.abc import Mapping
from functools import partial

import orjson

from ai.contract import PlatformError
from ai.lanes import Lanes
from fhirapi.models import EhrPush
from fhirapi.push.pushes import push_claim, push_done, push_fail, push_renew, push_yield
from fhirapi.push.signin import signed_in
from fhirapi.push.transaction import ReportGoneError, answer_problem, report_transaction
from fhirapi.store import ResourceGoneError
from fhirapi.subscriptions.known import fhir_base
from journal.audit import Actor, audit_record
from journal.faults import fault
from journal.leases import Lease
from journal.trace import trace
from journal.wall.scope import tenant_scope
from tenants.crypto import SecretLostError
from tenants.egress import Egress, EgressFailed, EgressRefused

log = logging.getLogger(__name__)

LANES = Lanes()
MESSAGE_CAP = 60.0  # a longer wait is left to the sweep
LATER = {408, 425, 429}
CODE = re.compile(r"[a-z][a-z-]{0,31}")  # an issue's severity and code; nothing else of an answer is kept
ISSUES_MAX = 5
HEADERS = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", "Prefer": "return=minimal"}


class _Failed(Exception):
    def __init__(self, words: str, *, is_permanent: bool, status: int = 0, asked: float | None = None) -> None:
        super().__init__(words)
        self.words, self.is_permanent, self.status, self.asked = words, is_permanent, status, asked


def push_step(*, tenant_id: int, push_id: int) -> float | None:
    """One attempt. Returns seconds until it should be tried again, or None when the sweep or nobody should."""
    began = time.monotonic()
    with tenant_scope(tenant_id):
        row = push_claim(push_id=push_id)
    if row is None:
        return None
    with LANES.lane(connection_id=row.server_id, platform=str(tenant_id), is_stat=row.attempts <= 1) as busy:
        if busy:
            with tenant_scope(tenant_id):
                push_yield(row, wait=busy)
            return busy
        with trace(row.trace_id), Lease(tenant_id=tenant_id, renew=partial(push_renew, row)):
            wait = _attempt(row, began)
    return wait if wait is None or wait <= MESSAGE_CAP else None


def _attempt(row: EhrPush, began: float) -> float | None:
    try:
        status, words = _send(row)
    except _Failed as error:
        log.warning("push %s: attempt %s failed, %s", row.id, row.attempts, error.words)
        with tenant_scope(row.tenant_id):
            return push_fail(
                row, words=error.words, began=began, is_permanent=error.is_permanent, status=error.status, asked=error.asked
            )
    with tenant_scope(row.tenant_id):
        push_done(row, status=status, words=words, began=began)
    return None


def _send(row: EhrPush) -> tuple[int, str]:
    """Raises _Failed, in words of ours: an EHR's own may name a patient."""
    server = row.server
    try:
        with tenant_scope(row.tenant_id):
            base = fhir_base(tenant_id=row.tenant_id)
            body, count = report_transaction(report=row.report, base=base, has_studies=server.has_studies)
            audit_record(  # committed before a byte leaves
                actor=Actor(name="system:push"), action="fhir.push", object_type="DiagnosticReport", object_id=row.report,
                detail={"server": str(server.uuid), "version": row.version},
            )  # fmt: skip
        fault("push.before_send")
        http = signed_in(server, Egress())
        status, headers, answer = http.request("POST", server.base_url, headers=HEADERS, content=body)
        fault("push.after_send")
    except (ReportGoneError, ResourceGoneError):
        raise _Failed("the report is not there any more", is_permanent=True) from None
    except SecretLostError:
        raise _Failed("the server's secret cannot be opened any more; enter it again", is_permanent=True) from None
    except PlatformError as error:
        raise _Failed(error.user_message, is_permanent=error.is_permanent) from None
    except EgressRefused as error:
        raise _Failed(error.user_message, is_permanent=True) from None
    except EgressFailed as error:
        raise _Failed(error.user_message, is_permanent=False) from None
    if not 200 <= status < 300:
        is_later = status >= 500 or status in LATER
        words = f"the server answered {status}{_codes(answer)}"
        raise _Failed(words, is_permanent=not is_later, status=status, asked=_retry_after(headers))
    if problem := answer_problem(body=answer, count=count):
        raise _Failed(problem, is_permanent=True, status=status)
    return status, f"{count} resources taken"


def _codes(answer: bytes) -> str:
    """The codes of an OperationOutcome's issues: ` (error invalid, ...)`."""
    try:
        issues = orjson.loads(answer)["issue"][:ISSUES_MAX]
        said = [f"{one['severity']} {one['code']}" for one in issues if CODE.fullmatch(one["severity"]) and CODE.fullmatch(one["code"])]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return f" ({', '.join(said)})" if said else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """In seconds; a date is not waited for (RFC 9110 10.2.3 allows both)."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else None
