"""The stand-in of Stripe, asked by the unmodified SDK: what a hospital's subscription can go through, and the shapes of all of it."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.sandbox.conftest import KEY, Receiver, StandIn, standin_run
from tests.sandbox.shapes import problems

# One after the other: the shapes are those of all that the tests before have made.
pytestmark = pytest.mark.xdist_group("stripe")
START = int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp())
DAY = 86_400
GOOD, DECLINED, LATER = "4242 4242 4242 4242", "4000000000000002", "4000000000000341"


@pytest.fixture(scope="module")
def price(standin: StandIn) -> str:
    """$1,000.00 a month."""
    product = standin.client.v1.products.create({"name": "MedicalCloudAIHub"})
    made = standin.client.v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 100_000, "recurring": {"interval": "month"}, "lookup_key": "hospital"}
    )
    return made.id


def customer(standin: StandIn, *, is_clocked: bool = True) -> tuple[Any, Any]:
    clock = standin.client.v1.test_helpers.test_clocks.create({"frozen_time": START}) if is_clocked else None
    facts: dict[str, Any] = {"email": "cio@mercy.example", "name": "Mercy General", "metadata": {"hospital": "h1"}}
    return standin.client.v1.customers.create(facts | ({"test_clock": clock.id} if clock else {})), clock


def advance(standin: StandIn, clock: Any, day: str) -> None:
    moment = int(datetime.fromisoformat(f"{day}T13:00:00+00:00").timestamp())
    standin.client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": moment})


def session_of(standin: StandIn, price: str, who: Any, **more: Any) -> Any:
    return standin.client.v1.checkout.sessions.create({
        "mode": "subscription", "customer": who.id, "line_items": [{"price": price, "quantity": 1}],
        "success_url": "http://localhost:1/done?session={CHECKOUT_SESSION_ID}", "cancel_url": "http://localhost:1/back",
        "subscription_data": {"metadata": {"hospital": "h1"}}, **more,
    })  # fmt: skip


def pay(standin: StandIn, session: Any, number: str = GOOD, **form: str) -> Any:
    typed = {"number": number, "email": "cio@mercy.example", "name": "A CIO"} | form
    return standin.page(session.url, **typed)


def subscribed(standin: StandIn, price: str, number: str = GOOD) -> tuple[Any, Any]:
    """An active subscription on a test clock."""
    who, clock = customer(standin)
    session = session_of(standin, price, who)
    assert pay(standin, session, number).status_code == 303
    found = standin.client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription", "invoice"]})
    return found.subscription, clock


def status_of(standin: StandIn, subscription: Any) -> str:
    return str(standin.client.v1.subscriptions.retrieve(subscription.id).status)


def test_checkout(standin: StandIn, price: str) -> None:
    """ "checkout with a hosted page ... decline": a declined card can be tried again on the same page, then it is done once."""
    who, _ = customer(standin)
    session = session_of(standin, price, who)
    assert "1,000.00 USD a month" in standin.page(session.url).text
    refused = pay(standin, session, DECLINED)
    assert (refused.status_code, "Your card was declined." in refused.text) == (402, True)
    assert "Your card number is incorrect." in pay(standin, session, "4242424242424241").text
    done = pay(standin, session)
    assert (done.status_code, done.headers["Location"]) == (303, f"http://localhost:1/done?session={session.id}")
    found = standin.client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription.latest_invoice", "customer"]})
    assert (found.status, found.payment_status, found.customer.id) == ("complete", "paid", who.id)
    assert (found.subscription.status, found.subscription.metadata["hospital"]) == ("active", "h1")
    invoice = found.subscription.latest_invoice
    assert (invoice.status, invoice.total, invoice.currency, invoice.billing_reason) == ("paid", 100_000, "usd", "subscription_create")
    assert standin.page(session.url).status_code == 410
    assert standin.page(invoice.invoice_pdf).content.startswith(b"%PDF-")
    assert invoice.number in standin.page(invoice.hosted_invoice_url).text


def test_a_bank_account_is_paid_days_later(standin: StandIn, price: str) -> None:
    """ "Checkout (card and ACH)": the session ends unpaid; the debit settles or bounces, and the subscription with it."""
    for account, event, status in (
        ("000123456789", "checkout.session.async_payment_succeeded", "active"),
        ("000111111113", "checkout.session.async_payment_failed", "past_due"),
    ):
        who, clock = customer(standin)
        session = session_of(standin, price, who)
        assert pay(standin, session, "", routing="110000000", account=account).status_code == 303
        found = standin.client.v1.checkout.sessions.retrieve(session.id)
        assert (found.status, found.payment_status) == ("complete", "unpaid")
        advance(standin, clock, "2026-02-05")
        assert standin.client.v1.subscriptions.retrieve(found.subscription).status == status
        events = standin.client.v1.events.list({"type": event, "limit": 100})
        assert session.id in [one.data.object["id"] for one in events.data]


def test_twelve_months_with_a_failed_payment_in_month_seven(standin: StandIn, price: str) -> None:
    """ "twelve months by test clock with a failed payment in month 7": the last day of each month, dunning, a new card, active again."""
    subscription, clock = subscribed(standin, price)
    advance(standin, clock, "2026-07-15")
    bad = standin.client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": subscription.customer})
    standin.client.v1.subscriptions.update(subscription.id, {"default_payment_method": bad.id})
    advance(standin, clock, "2026-07-31")
    assert status_of(standin, subscription) == "past_due"
    owed = standin.client.v1.invoices.list({"subscription": subscription.id, "customer": subscription.customer}).data[0]
    assert (owed.status, owed.attempt_count, owed.amount_remaining) == ("open", 1, 100_000)
    assert owed.next_payment_attempt is not None
    advance(standin, clock, "2026-08-10")
    good = standin.client.v1.payment_methods.attach("pm_card_visa", {"customer": subscription.customer})
    standin.client.v1.subscriptions.update(subscription.id, {"default_payment_method": good.id})
    assert standin.client.v1.invoices.pay(owed.id).status == "paid"
    assert status_of(standin, subscription) == "active"
    advance(standin, clock, "2027-01-15")
    invoices = standin.client.v1.invoices.list({"customer": subscription.customer, "limit": 100}).data
    days = [datetime.fromtimestamp(one.period_start, UTC).strftime("%m-%d") for one in reversed(invoices)]
    assert days == ["01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30", "12-31"]
    assert {one.status for one in invoices} == {"paid"}


def test_dunning_that_nobody_answers(standin: StandIn, price: str) -> None:
    subscription, clock = subscribed(standin, price)
    bad = standin.client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": subscription.customer})
    standin.client.v1.subscriptions.update(subscription.id, {"default_payment_method": bad.id})
    advance(standin, clock, "2026-03-25")
    assert status_of(standin, subscription) == "unpaid"
    owed = standin.client.v1.invoices.list({"customer": subscription.customer}).data[0]
    assert (owed.attempt_count, owed.next_payment_attempt) == (4, None)


def test_cancelled_at_the_end_of_the_period_and_thought_better(standin: StandIn, price: str) -> None:
    """ "cancel at period end, reactivate", by the API and on the portal's page."""
    subscription, clock = subscribed(standin, price)
    portal = standin.client.v1.billing_portal.sessions.create({"customer": subscription.customer, "return_url": "http://localhost:1/"})
    assert standin.page(portal.url, do="cancel").status_code == 303
    found = standin.client.v1.subscriptions.retrieve(subscription.id)
    assert (found.status, found.cancel_at_period_end) == ("active", True)
    assert "Do not cancel" in standin.page(portal.url).text
    assert standin.client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False}).cancel_at is None
    standin.client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    advance(standin, clock, "2026-03-05")
    ended = standin.client.v1.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", int(datetime(2026, 2, 28, 12, tzinfo=UTC).timestamp()))
    assert standin.client.v1.subscriptions.list({"customer": subscription.customer}).data == []
    with pytest.raises(stripe.InvalidRequestError):
        standin.client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})


def test_another_card_on_the_portal(standin: StandIn, price: str) -> None:
    subscription, _ = subscribed(standin, price)
    portal = standin.client.v1.billing_portal.sessions.create({"customer": subscription.customer})
    assert standin.page(portal.url, do="method", number=DECLINED).status_code == 402
    assert standin.page(portal.url, do="method", number="5555555555554444").status_code == 303
    method = standin.client.v1.subscriptions.retrieve(subscription.id, {"expand": ["default_payment_method"]}).default_payment_method
    assert method.card.last4 == "4444"


def test_by_purchase_order(standin: StandIn, price: str) -> None:
    """ "invoice me / purchase order": sent, overdue, paid elsewhere."""
    who, clock = customer(standin)
    facts = {"customer": who.id, "items": [{"price": price}], "collection_method": "send_invoice", "days_until_due": 30}
    subscription = standin.client.v1.subscriptions.create(facts)
    invoice = standin.client.v1.invoices.retrieve(subscription.latest_invoice)
    assert (subscription.status, invoice.status, invoice.due_date - invoice.created) == ("active", "open", 30 * DAY)
    advance(standin, clock, "2026-03-05")
    assert status_of(standin, subscription) == "past_due"
    assert standin.client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True}).status == "paid"
    assert status_of(standin, subscription) == "active"


def test_trial(standin: StandIn, price: str) -> None:
    who, clock = customer(standin)
    session = session_of(standin, price, who, subscription_data={"trial_period_days": 14})
    assert pay(standin, session).status_code == 303
    found = standin.client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription", "invoice"]})
    assert (found.subscription.status, found.invoice.total) == ("trialing", 0)
    advance(standin, clock, "2026-02-15")
    assert status_of(standin, found.subscription) == "active"


def test_refunds(standin: StandIn, price: str) -> None:
    """ "refund seen": in parts, never more than was paid."""
    subscription, _ = subscribed(standin, price)
    payment = f"pi_{subscription.latest_invoice.partition('_')[2]}"
    assert standin.client.v1.refunds.create({"payment_intent": payment, "amount": 40_000}).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        standin.client.v1.refunds.create({"payment_intent": payment, "amount": 70_000})
    assert standin.client.v1.refunds.create({"payment_intent": payment}).amount == 60_000


def test_idempotency_keys_lists_and_errors(standin: StandIn) -> None:
    """ "idempotency keys": the same answer for the same parameters, an error for others; keyset lists; what is unknown is 404."""
    first = standin.client.v1.customers.create({"name": "A"}, {"idempotency_key": "k1"})
    assert standin.client.v1.customers.create({"name": "A"}, {"idempotency_key": "k1"}).id == first.id
    with pytest.raises(stripe.IdempotencyError):
        standin.client.v1.customers.create({"name": "B"}, {"idempotency_key": "k1"})
    made = [standin.client.v1.customers.create({"name": f"L{n}"}).id for n in range(5)]
    page = standin.client.v1.customers.list({"limit": 2})
    assert ([one.id for one in page.data], page.has_more) == ([made[4], made[3]], True)
    assert [one.id for one in standin.client.v1.customers.list({"limit": 2, "starting_after": made[3]}).data] == [made[2], made[1]]
    with pytest.raises(stripe.InvalidRequestError) as missing:
        standin.client.v1.customers.retrieve("cus_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError):
        standin.client.v1.products.create({})
    with pytest.raises(stripe.AuthenticationError):
        stripe.StripeClient("sk_test_wrong", base_addresses={"api": standin.url}).v1.customers.list()


def waited(attempt: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := attempt():
            return found
        time.sleep(0.05)
    raise AssertionError("did not happen")


def test_webhooks_are_signed_and_tried_again(standin: StandIn, receiver: Receiver) -> None:
    """ "signed webhooks with retry": the SDK takes the signature, and no other; a receiver that fails has it again."""
    endpoint = standin.client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]})
    receiver.answers = [500, 200]
    made = standin.client.v1.customers.create({"name": "Hooked"})
    waited(lambda: len(receiver.came) == 2)
    body, signature = receiver.came[1]
    event = stripe.Webhook.construct_event(body, signature, endpoint.secret)
    assert (event.type, event.data.object["id"]) == ("customer.created", made.id)
    assert json.loads(receiver.came[0][0])["id"] == event.id
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", signature, endpoint.secret)
    standin.client.v1.webhook_endpoints.delete(endpoint.id)


def test_webhooks_twice_and_out_of_order(standin: StandIn, receiver: Receiver) -> None:
    """ "duplicate and reorder switches (`POST /_sandbox/faults` with JSON `{"duplicate","reorder"}`)"."""
    endpoint = standin.client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created", "customer.updated"]})
    try:
        assert standin.control("faults", {"duplicate": True}) == {"duplicate": True, "reorder": False}
        made = standin.client.v1.customers.create({"name": "Twice"})
        waited(lambda: len(receiver.came) == 2)
        assert receiver.came[0][0] == receiver.came[1][0]
        receiver.came.clear()
        standin.control("faults", {"reorder": True})
        other = standin.client.v1.customers.create({"name": "Order"})
        standin.client.v1.customers.update(other.id, {"name": "Turned"})
        waited(lambda: len(receiver.came) == 2)
        assert receiver.kinds() == ["customer.updated", "customer.created"]
        receiver.came.clear()
        standin.client.v1.customers.update(made.id, {"name": "Alone"})
        waited(lambda: receiver.kinds() == ["customer.updated"])
    finally:
        standin.control("faults", {})
        standin.client.v1.webhook_endpoints.delete(endpoint.id)


CLASSES = {
    "products": stripe.Product, "prices": stripe.Price, "customers": stripe.Customer, "payment_methods": stripe.PaymentMethod,
    "checkout/sessions": stripe.checkout.Session, "subscriptions": stripe.Subscription, "invoices": stripe.Invoice, "events": stripe.Event,
    "refunds": stripe.Refund, "test_helpers/test_clocks": stripe.test_helpers.TestClock,
}  # fmt: skip


@pytest.mark.parametrize("path", CLASSES)
def test_every_object_has_the_shape_that_the_sdk_knows(standin: StandIn, path: str) -> None:
    """ "Contract tests hold its objects against the SDK's own types": all that the tests above have made."""
    rows = standin.raw(f"/v1/{path}?limit=100&status=all")["data"]
    assert rows
    found = {problem for row in rows for problem in problems(row, CLASSES[path])}
    assert sorted(found) == []


def test_what_it_knows_outlives_it(standin: StandIn, tmp_path: Any) -> None:
    first = standin_run(tmp_path)
    made = first.client.v1.customers.create({"name": "Kept"})
    first.process.kill()
    first.process.wait(10)
    second = standin_run(tmp_path)
    assert second.client.v1.customers.retrieve(made.id).name == "Kept"
    second.process.kill()
    second.process.wait(10)
    assert KEY not in (tmp_path / "stripe.json").read_text()
