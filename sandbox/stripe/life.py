"""The life of a subscription: paid, renewed, not paid, tried again, unpaid, ended. By the time of day, or by a test clock."""

from datetime import UTC, datetime
from typing import Any

from sandbox.stripe.errors import StripeRefusal, declined, invalid
from sandbox.stripe.hooks import Hooks
from sandbox.stripe.objects import invoice_make, month_after
from sandbox.stripe.store import Store, Thing

DAY = 86_400
RETRY_DAYS = (3, 5, 7)  # after the first failure; after the last one the subscription is unpaid
SETTLES = 4 * DAY  # of an ACH debit
LIVE = ("trialing", "active", "past_due", "unpaid")


class Life:
    """Everything that happens by itself. Callers hold the store's lock."""

    def __init__(self, store: Store, hooks: Hooks, base: str) -> None:
        self.store, self.hooks, self.base = store, hooks, base

    # --- payment methods ---------------------------------------------------------------------------------------------

    def attach(self, method: Thing, customer: Thing) -> None:
        """Raises StripeRefusal for one that its bank declines at once."""
        if code := self.store.note("methods")[method["id"]]["on_attach"]:
            raise declined(code)
        method["customer"] = customer["id"]
        self.hooks.event("payment_method.attached", method)

    # --- beginning ---------------------------------------------------------------------------------------------------

    def begin(self, subscription: Thing, *, is_allowed_to_fail: bool = False) -> None:
        """The first invoice. Raises StripeRefusal when it is declined, unless that leaves an `incomplete` one."""
        self.hooks.event("customer.subscription.created", subscription)
        item = subscription["items"]["data"][0]
        amount = 0 if subscription["status"] == "trialing" else item["price"]["unit_amount"]
        invoice = self._invoice(subscription, amount, "subscription_create", item["current_period_start"], item["current_period_end"])
        if subscription["collection_method"] == "send_invoice":
            return
        if not self.pay(invoice, is_first=True):
            self._status(subscription, "incomplete")
            if not is_allowed_to_fail:
                raise declined()

    def _invoice(self, subscription: Thing, amount: int, reason: str, start: int, end: int) -> Thing:
        invoice = invoice_make(
            self.store, subscription=subscription, amount=amount, reason=reason, start=start, end=end, base=self.base
        )
        self.hooks.event("invoice.created", invoice)
        self.hooks.event("invoice.finalized", invoice)
        if subscription["collection_method"] == "send_invoice":
            self.hooks.event("invoice.sent", invoice)
        return invoice

    # --- money -------------------------------------------------------------------------------------------------------

    def pay(self, invoice: Thing, *, method: str | None = None, is_first: bool = False) -> bool:
        """One attempt. True when it is paid, or is on its way (ACH)."""
        subscription = self._subscription(invoice)
        chosen = method or subscription["default_payment_method"] or self._default(subscription["customer"])
        now = self.store.now(subscription["customer"])
        invoice["attempted"], invoice["attempt_count"] = True, invoice["attempt_count"] + 1
        if invoice["amount_due"] == 0:
            self.paid(invoice, now)
            return True
        facts = self.store.note("methods").get(chosen or "", {"on_charge": "no_payment_method", "is_slow": False})
        if facts["is_slow"]:
            self.store.note("settling")[invoice["id"]] = {"at": now + SETTLES, "method": chosen}
            return True
        if facts["on_charge"]:
            self.failed(invoice, now, is_first=is_first)
            return False
        self.paid(invoice, now)
        return True

    def paid(self, invoice: Thing, now: int, *, is_elsewhere: bool = False) -> None:
        """`is_elsewhere`: by cheque or wire, which somebody says of a purchase order."""
        invoice |= {
            "status": "paid", "amount_paid": 0 if is_elsewhere else invoice["amount_due"], "amount_remaining": 0,
            "next_payment_attempt": None,
        }  # fmt: skip
        invoice["status_transitions"]["paid_at"] = now
        self.hooks.event("invoice.paid", invoice)
        self.hooks.event("invoice.payment_succeeded", invoice)
        subscription = self._subscription(invoice)
        owed = [one for one in self._open(subscription) if one["id"] != invoice["id"] and one["attempted"]]
        if subscription["status"] in {"past_due", "unpaid", "incomplete"} and not owed:
            self._status(subscription, "active")

    def failed(self, invoice: Thing, now: int, *, is_first: bool = False) -> None:
        tries = invoice["attempt_count"] - 1
        is_last = is_first or tries >= len(RETRY_DAYS)
        invoice["next_payment_attempt"] = None if is_last else now + RETRY_DAYS[tries] * DAY
        self.hooks.event("invoice.payment_failed", invoice)
        if is_first:
            return
        self._status(self._subscription(invoice), "unpaid" if is_last else "past_due")

    # --- time --------------------------------------------------------------------------------------------------------

    def advance(self, clock: Thing, to: int) -> None:
        """Everything that is due until then, in its order. Raises StripeRefusal for a time that has passed."""
        if to <= clock["frozen_time"]:
            raise invalid("frozen_time", "A test clock goes forward.")
        customers = {one["id"] for one in self.store.find("customer", test_clock=clock["id"])}
        while (moment := min((at for at in map(self._next, customers) if at is not None), default=None)) is not None and moment <= to:
            clock["frozen_time"] = max(clock["frozen_time"], moment)
            for customer in customers:
                self.run(customer, moment)
        clock["frozen_time"] = to

    def run_all(self) -> None:
        """Those without a test clock, by the time of day."""
        for customer in self.store.find("customer", test_clock=None):
            now = self.store.now()
            while (moment := self._next(customer["id"])) is not None and moment <= now:
                self.run(customer["id"], moment)

    def _next(self, customer: str) -> int | None:
        moments: list[int] = []
        for subscription in self.store.find("subscription", customer=customer):
            if subscription["status"] in LIVE:
                moments.append(subscription["items"]["data"][0]["current_period_end"])
            for invoice in self._open(subscription):
                settling = self.store.note("settling").get(invoice["id"])
                moments += [settling["at"]] if settling else []
                moments += [invoice["next_payment_attempt"]] if invoice["next_payment_attempt"] else []
                if invoice["due_date"] and not self.store.note("overdue").get(invoice["id"]):
                    moments.append(invoice["due_date"])
        return min(moments, default=None)

    def run(self, customer: str, moment: int) -> None:
        """What is due at this moment."""
        for subscription in self.store.find("subscription", customer=customer):
            for invoice in self._open(subscription):
                self._run_invoice(invoice, subscription, moment)
            if subscription["status"] in LIVE and subscription["items"]["data"][0]["current_period_end"] <= moment:
                self._renew(subscription)

    def _run_invoice(self, invoice: Thing, subscription: Thing, moment: int) -> None:
        settling = self.store.note("settling")
        if (one := settling.get(invoice["id"])) and one["at"] <= moment:
            del settling[invoice["id"]]
            self._settle(invoice, one["method"], moment)
        elif invoice["next_payment_attempt"] and invoice["next_payment_attempt"] <= moment and subscription["status"] != "canceled":
            self.pay(invoice)
        elif invoice["due_date"] and invoice["due_date"] <= moment and not self.store.note("overdue").get(invoice["id"]):
            self.store.note("overdue")[invoice["id"]] = True
            self.hooks.event("invoice.overdue", invoice)
            self._status(subscription, "past_due")

    def _settle(self, invoice: Thing, method: str, moment: int) -> None:
        session = next(iter(self.store.find("checkout.session", invoice=invoice["id"])), None)
        is_good = not self.store.note("methods")[method]["on_charge"]
        if is_good:
            self.paid(invoice, moment)
        else:
            self.failed(invoice, moment)
        if session is not None:
            session["payment_status"] = "paid" if is_good else "unpaid"
            self.hooks.event(f"checkout.session.async_payment_{'succeeded' if is_good else 'failed'}", session)

    def _renew(self, subscription: Thing) -> None:
        item = subscription["items"]["data"][0]
        ended = item["current_period_end"]
        if subscription["cancel_at_period_end"]:
            self.end(subscription, ended)
            return
        anchor = datetime.fromtimestamp(subscription["billing_cycle_anchor"], UTC).day
        item["current_period_start"], item["current_period_end"] = ended, month_after(ended, anchor_day=anchor)
        if subscription["status"] == "trialing":
            self._status(subscription, "active")
        else:
            self.hooks.event("customer.subscription.updated", subscription)
        invoice = self._invoice(subscription, item["price"]["unit_amount"], "subscription_cycle", ended, item["current_period_end"])
        if subscription["collection_method"] == "charge_automatically" and subscription["status"] != "unpaid":
            self.pay(invoice)

    # --- changes and the end -----------------------------------------------------------------------------------------

    def end(self, subscription: Thing, at: int) -> None:
        subscription |= {"status": "canceled", "canceled_at": subscription["canceled_at"] or at, "ended_at": at}
        for invoice in self._open(subscription):
            invoice["next_payment_attempt"] = None
        self.hooks.event("customer.subscription.deleted", subscription)

    def cancel_later(self, subscription: Thing, wanted: bool) -> None:
        before = {"cancel_at_period_end": subscription["cancel_at_period_end"]}
        end = subscription["items"]["data"][0]["current_period_end"]
        subscription |= {
            "cancel_at_period_end": wanted, "cancel_at": end if wanted else None,
            "canceled_at": self.store.now(subscription["customer"]) if wanted else None,
        }  # fmt: skip
        self.hooks.event("customer.subscription.updated", subscription, before=before)

    def refund(self, invoice: Thing, amount: int | None, reason: str | None) -> Thing:
        if invoice["status"] != "paid" or not invoice["amount_paid"]:
            raise StripeRefusal(400, "invalid_request_error", "Nothing was paid that could be refunded.", code="charge_not_refundable")
        left = invoice["amount_paid"] - sum(one["amount"] for one in self.store.find("refund", payment_intent=intent_of(invoice)))
        wanted = left if amount is None else amount
        if not 0 < wanted <= left:
            raise invalid("amount", "A refund is at most what was paid and was not refunded.")
        made = self.store.add("refund", {
            "amount": wanted, "balance_transaction": None, "charge": None, "currency": invoice["currency"], "customer": invoice["customer"],
            "failure_balance_transaction": None, "metadata": {}, "payment_intent": intent_of(invoice), "payment_method": None,
            "pending_reason": None, "reason": reason, "receipt_number": None, "source_transfer_reversal": None, "status": "succeeded",
            "transfer_reversal": None,
        })  # fmt: skip
        made.pop("livemode")
        self.hooks.event("refund.created", made)
        return made

    # --- looking -----------------------------------------------------------------------------------------------------

    def _status(self, subscription: Thing, status: str) -> None:
        if subscription["status"] != status and subscription["status"] != "canceled":
            before: dict[str, Any] = {"status": subscription["status"]}
            subscription["status"] = status
            self.hooks.event("customer.subscription.updated", subscription, before=before)

    def _subscription(self, invoice: Thing) -> Thing:
        return self.store.get("subscription", invoice["parent"]["subscription_details"]["subscription"])

    def _open(self, subscription: Thing) -> list[Thing]:
        return [
            one for one in self.store.find("invoice", customer=subscription["customer"], status="open")
            if one["parent"]["subscription_details"]["subscription"] == subscription["id"]
        ]  # fmt: skip

    def _default(self, customer: str) -> str | None:
        found: str | None = self.store.get("customer", customer)["invoice_settings"]["default_payment_method"]
        return found


def intent_of(invoice: Thing) -> str:
    """The payment of an invoice: one for each, named after it."""
    return f"pi_{invoice['id'].partition('_')[2]}"
