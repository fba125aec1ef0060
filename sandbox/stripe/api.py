"""The addresses under /v1 that the SDK asks, with Stripe's rules for keys, idempotency, lists and expansion."""

import copy
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from sandbox.http import Reply, Request, Router
from sandbox.stripe.bills import Bills
from sandbox.stripe.errors import StripeRefusal, declined, invalid, missing
from sandbox.stripe.forms import form_read
from sandbox.stripe.life import LIVE, Life
from sandbox.stripe.methods import Method, bank_of, card_of, named
from sandbox.stripe.objects import (
    Form,
    customer_make,
    listed,
    method_make,
    price_make,
    product_make,
    session_make,
    subscription_make,
)
from sandbox.stripe.store import Store, Thing

LIST_DEFAULT, LIST_MAX = 10, 100
Answer = Callable[..., Thing]
EXPANDED = {  # member -> kind of what it names
    "customer": "customer", "subscription": "subscription", "invoice": "invoice", "latest_invoice": "invoice",
    "default_payment_method": "payment_method", "payment_method": "payment_method", "product": "product",
}  # fmt: skip
FILTERS = {"active", "customer", "status", "subscription", "type", "product", "test_clock", "payment_intent"}


class Api(Bills):
    """One account, whose secret key is `key`. Each request holds the store's lock and is on disk before it is answered."""

    def __init__(self, store: Store, life: Life, key: str) -> None:
        super().__init__(store, life)
        self._key, self._router = key, Router()
        add = self._add
        add("POST", "/v1/products", self.product_create)
        add("POST", "/v1/prices", self.price_create)
        add("POST", "/v1/customers", self.customer_create)
        add("POST", "/v1/customers/ID", self.customer_update)
        add("DELETE", "/v1/customers/ID", self.customer_delete)
        add("POST", "/v1/payment_methods", self.method_create)
        add("POST", "/v1/payment_methods/ID/attach", self.method_attach)
        add("POST", "/v1/payment_methods/ID/detach", self.method_detach)
        add("POST", "/v1/checkout/sessions", self.session_create)
        add("POST", "/v1/checkout/sessions/ID/expire", self.session_expire)
        add("POST", "/v1/billing_portal/sessions", self.portal_create)
        add("POST", "/v1/subscriptions", self.subscription_create)
        add("POST", "/v1/subscriptions/ID", self.subscription_update)
        add("DELETE", "/v1/subscriptions/ID", self.subscription_cancel)
        add("POST", "/v1/invoices/ID/pay", self.invoice_pay)
        add("POST", "/v1/invoices/ID/void", self.invoice_void)
        add("POST", "/v1/refunds", self.refund_create)
        add("POST", "/v1/webhook_endpoints", self.endpoint_create)
        add("DELETE", "/v1/webhook_endpoints/ID", self.endpoint_delete)
        add("POST", "/v1/test_helpers/test_clocks", self.clock_create)
        add("POST", "/v1/test_helpers/test_clocks/ID/advance", self.clock_advance)
        for path, kind in (
            ("products", "product"), ("prices", "price"), ("customers", "customer"), ("payment_methods", "payment_method"),
            ("checkout/sessions", "checkout.session"), ("subscriptions", "subscription"), ("invoices", "invoice"), ("events", "event"),
            ("refunds", "refund"), ("webhook_endpoints", "webhook_endpoint"), ("test_helpers/test_clocks", "test_helpers.test_clock"),
        ):  # fmt: skip
            add("GET", f"/v1/{path}", self._lister(kind, f"/v1/{path}"))
            add("GET", f"/v1/{path}/ID", self._reader(kind))

    def _add(self, method: str, path: str, answer: Answer) -> None:
        def handler(request: Request, **ids: str) -> Reply:
            text = request.body.decode() if request.method == "POST" else urlsplit(request.target).query
            return self._answered(request, text, lambda form: answer(form, **ids))

        self._router.add(method, path.replace("ID", r"(?P<found>[\w-]+)"), handler)

    def __call__(self, request: Request) -> Reply:
        try:
            self._key_check(request)
            return self._router(request)
        except StripeRefusal as error:
            return _reply({"error": error.body}, error.status)

    def _key_check(self, request: Request) -> None:
        given = request.headers.get("authorization", "").partition(" ")[2]
        if not given or not hmac.compare_digest(given, self._key):
            raise StripeRefusal(401, "invalid_request_error", "Invalid API Key provided.")

    def _answered(self, request: Request, text: str, answer: Callable[[Form], Thing]) -> Reply:
        """Once under an idempotency key: the same parameters are answered as before, others are an error (docs, "Idempotent requests")."""
        key, mark = request.headers.get("idempotency-key", ""), hashlib.sha256(f"{request.target} {text}".encode()).hexdigest()
        with self.store.lock:
            known = self.store.note("answers")
            if request.method == "POST" and key in known:
                if known[key]["mark"] != mark:
                    words = "Keys for idempotent requests can only be used with the same parameters they were first used with."
                    raise StripeRefusal(400, "idempotency_error", words)
                return _reply(known[key]["body"], known[key]["status"], replayed=True)
            self.life.run_all()
            form = form_read(text)
            wanted = form.pop("expand", [])
            try:
                body, status = copy.deepcopy(answer(form)), 200
                for path in wanted if isinstance(wanted, list) else [wanted]:
                    self._expand(body, path.split("."))
            except StripeRefusal as error:
                body, status = {"error": error.body}, error.status
            if request.method == "POST" and key:
                known[key] = {"mark": mark, "body": body, "status": status}
            self.store.save()
            return _reply(body, status)

    def _expand(self, thing: Any, path: list[str]) -> None:
        if isinstance(thing, list):
            for one in thing:
                self._expand(one, path)
            return
        if not path or not isinstance(thing, dict) or path[0] not in thing:
            return
        inner = thing[path[0]]
        if isinstance(inner, str) and path[0] in EXPANDED:
            inner = thing[path[0]] = copy.deepcopy(self.store.get(EXPANDED[path[0]], inner))
        self._expand(inner, path[1:])

    # --- reading -----------------------------------------------------------------------------------------------------

    def _reader(self, kind: str) -> Answer:
        return lambda form, found: self.store.get(kind, found)

    def _lister(self, kind: str, url: str) -> Answer:
        def answer(form: Form) -> Thing:
            limit = int(form.get("limit", LIST_DEFAULT))
            if not 0 < limit <= LIST_MAX:
                raise invalid("limit")
            rows = [one for one in reversed(self.store.find(kind)) if _is_asked(one, form)]
            if after := form.get("starting_after"):
                rows = rows[[one["id"] for one in rows].index(self.store.get(kind, after)["id"]) + 1 :]
            if before := form.get("ending_before"):
                rows = rows[: [one["id"] for one in rows].index(self.store.get(kind, before)["id"])][-limit:]
            return listed(rows[:limit], url, has_more=len(rows) > limit)

        return answer

    # --- what is sold ------------------------------------------------------------------------------------------------

    def product_create(self, form: Form) -> Thing:
        if not form.get("name"):
            raise missing("name")
        if form.get("id") and self.store.find("product", id=form["id"]):
            raise StripeRefusal(400, "invalid_request_error", "Product already exists.", code="resource_already_exists", param="id")
        return product_make(self.store, form)

    def price_create(self, form: Form) -> Thing:
        for name in ("currency", "unit_amount", "product"):
            if not form.get(name):
                raise missing(name)
        self.store.get("product", form["product"])
        if not str(form["unit_amount"]).isdigit():
            raise invalid("unit_amount")
        if form.get("lookup_key") and self.store.find("price", lookup_key=form["lookup_key"]):
            raise StripeRefusal(400, "invalid_request_error", "This lookup key is in use.", param="lookup_key")
        return price_make(self.store, form)

    # --- customers ---------------------------------------------------------------------------------------------------

    def customer_create(self, form: Form) -> Thing:
        if clock := form.get("test_clock"):
            self.store.get("test_helpers.test_clock", clock)
        made = customer_make(self.store, form)
        self.life.hooks.event("customer.created", made)
        return made

    def customer_update(self, form: Form, found: str) -> Thing:
        customer = self.store.get("customer", found)
        for name in ("name", "email", "phone", "description", "address", "metadata"):
            if name in form:
                customer[name] = {**customer["metadata"], **form[name]} if name == "metadata" else form[name]
        if method := (form.get("invoice_settings") or {}).get("default_payment_method"):
            if self.store.get("payment_method", method)["customer"] != found:
                raise invalid("invoice_settings[default_payment_method]", "The payment method is not attached to this customer.")
            customer["invoice_settings"]["default_payment_method"] = method
        self.life.hooks.event("customer.updated", customer)
        return customer

    def customer_delete(self, form: Form, found: str) -> Thing:
        for subscription in self.store.find("subscription", customer=found):
            if subscription["status"] in LIVE:
                self.life.end(subscription, self.store.now(found))
        self.store.drop("customer", found)
        return {"id": found, "object": "customer", "deleted": True}

    # --- payment methods ---------------------------------------------------------------------------------------------

    def method_create(self, form: Form) -> Thing:
        if form.get("type") == "card":
            method = card_of(str((form.get("card") or {}).get("number", "")))
        elif form.get("type") == "us_bank_account":
            bank = form.get("us_bank_account") or {}
            method = bank_of(str(bank.get("routing_number", "")), str(bank.get("account_number", "")))
        else:
            raise invalid("type")
        return method_make(self.store, method, billing=form.get("billing_details"))

    def method_attach(self, form: Form, found: str) -> Thing:
        method = self._method(found)
        self.life.attach(method, self.store.get("customer", form.get("customer") or ""))
        return method

    def method_detach(self, form: Form, found: str) -> Thing:
        method = self.store.get("payment_method", found)
        method["customer"] = None
        self.life.hooks.event("payment_method.detached", method)
        return method

    def _method(self, found: str) -> Thing:
        """`pm_card_visa` and its kin are a new one each time."""
        known: Method | None = named(found)
        return method_make(self.store, known) if known is not None else self.store.get("payment_method", found)

    # --- Checkout and the portal -------------------------------------------------------------------------------------

    def session_create(self, form: Form) -> Thing:
        if form.get("mode") != "subscription":
            raise invalid("mode", "This stand-in knows mode=subscription.")
        for name in ("line_items", "success_url"):
            if not form.get(name):
                raise missing(name)
        if form.get("customer") and form.get("customer_email"):
            raise invalid("customer_email", "You may only specify one of these parameters: customer, customer_email.")
        customer = self.store.get("customer", form["customer"]) if form.get("customer") else None
        for item in form["line_items"]:
            if self.store.get("price", item.get("price", ""))["type"] != "recurring":
                raise invalid("line_items[0][price]", "You must provide at least one recurring price in `subscription` mode.")
        return session_make(self.store, form, base=self.life.base, customer=customer)

    def session_expire(self, form: Form, found: str) -> Thing:
        session = self.store.get("checkout.session", found)
        if session["status"] != "open":
            raise StripeRefusal(400, "invalid_request_error", "Only Checkout Sessions with a status in [\"open\"] can be expired.")
        session |= {"status": "expired", "url": None}
        self.life.hooks.event("checkout.session.expired", session)
        return session

    def session_complete(self, session: Thing, method: Method, *, name: str, email: str) -> None:
        """What the hosted page does with a method that was typed in. Raises StripeRefusal; then it can be tried again."""
        if session["status"] != "open" or session["expires_at"] <= self.store.now(session["customer"] or ""):
            raise StripeRefusal(400, "invalid_request_error", "This page is over: go back, and begin again.")
        if method.on_attach or (method.on_charge and not method.is_slow):
            raise declined(method.on_attach or method.on_charge)
        kept = self.store.note("sessions")[session["id"]]
        if not session["customer"]:
            made = customer_make(self.store, {"email": session["customer_email"] or email, "name": name, "metadata": {}})
            self.life.hooks.event("customer.created", made)
            session["customer"] = made["id"]
        customer = self.store.get("customer", session["customer"])
        paying = method_make(self.store, method, billing={"name": name, "email": email})
        self.life.attach(paying, customer)
        facts = kept["subscription_data"]
        subscription = subscription_make(
            self.store, customer=customer["id"], price=self.store.get("price", kept["items"][0]["price"]), method=paying["id"],
            metadata=facts.get("metadata") or {}, trial_days=int(facts.get("trial_period_days") or 0), collection="charge_automatically",
            days_until_due=None,
        )  # fmt: skip
        self.life.begin(subscription)
        invoice = self.store.get("invoice", subscription["latest_invoice"])
        session |= {
            "status": "complete", "subscription": subscription["id"], "invoice": invoice["id"], "url": None,
            "payment_status": "paid" if invoice["status"] == "paid" else "unpaid",
            "customer_details": {
                "address": None, "business_name": None, "email": email, "individual_name": name, "name": name, "phone": None,
                "tax_exempt": "none", "tax_ids": [],
            },
        }  # fmt: skip
        self.life.hooks.event("checkout.session.completed", session)

    def portal_create(self, form: Form) -> Thing:
        customer = self.store.get("customer", form.get("customer") or "")
        made = self.store.add("billing_portal.session", {
            "configuration": "bpc_standin", "customer": customer["id"], "flow": None, "locale": None, "on_behalf_of": None,
            "return_url": form.get("return_url"),
        })  # fmt: skip
        made["url"] = f"{self.life.base}/p/session/{made['id']}"
        return made

    # --- endpoints and clocks ----------------------------------------------------------------------------------------

    def endpoint_create(self, form: Form) -> Thing:
        if not form.get("url"):
            raise missing("url")
        made = self.store.add("webhook_endpoint", {
            "api_version": form.get("api_version"), "application": None, "description": form.get("description"),
            "enabled_events": form.get("enabled_events") or ["*"], "metadata": form.get("metadata") or {}, "status": "enabled",
            "url": form["url"],
        })  # fmt: skip
        secret = self.store.note("secrets").setdefault(made["id"], f"whsec_{secrets.token_hex(16)}")
        return made | {"secret": secret}  # shown this once

    def endpoint_delete(self, form: Form, found: str) -> Thing:
        self.store.drop("webhook_endpoint", found)
        return {"id": found, "object": "webhook_endpoint", "deleted": True}

    def clock_create(self, form: Form) -> Thing:
        if not form.get("frozen_time"):
            raise missing("frozen_time")
        frozen = int(form["frozen_time"])
        return self.store.add("test_helpers.test_clock", {
            "deletes_after": frozen + 30 * 86_400, "frozen_time": frozen, "name": form.get("name"), "status": "ready", "status_details": {},
        })  # fmt: skip

    def clock_advance(self, form: Form, found: str) -> Thing:
        clock = self.store.get("test_helpers.test_clock", found)
        self.life.advance(clock, int(form.get("frozen_time") or 0))
        return clock


def _is_asked(thing: Thing, form: Form) -> bool:
    for name, value in form.items():
        if name in FILTERS and name in thing:
            if name == "status" and value == "all":
                continue
            if str(thing[name]).lower() != str(value).lower():
                return False
        if name == "lookup_keys" and thing.get("lookup_key") not in value:
            return False
    is_ended = thing["object"] == "subscription" and thing["status"] == "canceled"
    return not (is_ended and form.get("status") not in {"all", "canceled"})


def _reply(body: Any, status: int = 200, *, replayed: bool = False) -> Reply:
    headers = {"Content-Type": "application/json", "Request-Id": f"req_{secrets.token_hex(7)}"}
    return Reply(status, json.dumps(body).encode(), headers | ({"Idempotent-Replayed": "true"} if replayed else {}))
