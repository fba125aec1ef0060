"""Subscriptions, invoices and refunds as the SDK asks for them."""

from sandbox.stripe.errors import StripeRefusal, declined, missing
from sandbox.stripe.forms import is_true
from sandbox.stripe.life import Life, intent_of
from sandbox.stripe.objects import Form, subscription_make
from sandbox.stripe.store import Store, Thing


class Bills:
    """The part of the API that money is about."""

    def __init__(self, store: Store, life: Life) -> None:
        self.store, self.life = store, life

    def subscription_create(self, form: Form) -> Thing:
        customer = self.store.get("customer", form.get("customer") or "")
        if not form.get("items"):
            raise missing("items")
        price = self.store.get("price", form["items"][0].get("price", ""))
        collection = form.get("collection_method", "charge_automatically")
        if collection == "send_invoice" and not form.get("days_until_due"):
            raise missing("days_until_due")
        method = form.get("default_payment_method")
        subscription = subscription_make(
            self.store, customer=customer["id"], price=price, method=method, metadata=form.get("metadata") or {},
            trial_days=int(form.get("trial_period_days") or 0), collection=collection,
            days_until_due=int(form["days_until_due"]) if form.get("days_until_due") else None,
        )  # fmt: skip
        self.life.begin(subscription, is_allowed_to_fail=form.get("payment_behavior") in {"default_incomplete", "allow_incomplete"})
        return subscription

    def subscription_update(self, form: Form, found: str) -> Thing:
        subscription = self.store.get("subscription", found)
        if subscription["status"] == "canceled":
            words = "A canceled subscription can only update its cancellation_details and metadata."
            raise StripeRefusal(400, "invalid_request_error", words)
        if "metadata" in form:
            subscription["metadata"] = {**subscription["metadata"], **form["metadata"]}
        if "default_payment_method" in form:
            self.store.get("payment_method", form["default_payment_method"])
            subscription["default_payment_method"] = form["default_payment_method"]
        if "cancel_at_period_end" in form:
            self.life.cancel_later(subscription, is_true(form["cancel_at_period_end"]))
        else:
            self.life.hooks.event("customer.subscription.updated", subscription)
        return subscription

    def subscription_cancel(self, form: Form, found: str) -> Thing:
        subscription = self.store.get("subscription", found)
        if subscription["status"] == "canceled":
            raise StripeRefusal(404, "invalid_request_error", f"No such subscription: '{found}'", code="resource_missing")
        self.life.end(subscription, self.store.now(subscription["customer"]))
        return subscription

    def invoice_pay(self, form: Form, found: str) -> Thing:
        invoice = self.store.get("invoice", found)
        if invoice["status"] != "open":
            raise StripeRefusal(400, "invalid_request_error", "Invoice is already paid.", code="invoice_already_paid")
        if is_true(form.get("paid_out_of_band")):
            self.life.paid(invoice, self.store.now(invoice["customer"]), is_elsewhere=True)
        elif not self.life.pay(invoice, method=form.get("payment_method")):
            raise declined()
        return invoice

    def invoice_void(self, form: Form, found: str) -> Thing:
        invoice = self.store.get("invoice", found)
        if invoice["status"] != "open":
            raise StripeRefusal(400, "invalid_request_error", "You can only void an open invoice.")
        invoice |= {"status": "void", "amount_remaining": 0, "next_payment_attempt": None}
        invoice["status_transitions"]["voided_at"] = self.store.now(invoice["customer"])
        self.life.hooks.event("invoice.voided", invoice)
        return invoice

    def refund_create(self, form: Form) -> Thing:
        wanted = form.get("payment_intent") or ""
        invoice = next((one for one in self.store.find("invoice") if intent_of(one) == wanted), None)
        if invoice is None:
            raise missing("payment_intent")
        return self.life.refund(invoice, int(form["amount"]) if form.get("amount") else None, form.get("reason"))
