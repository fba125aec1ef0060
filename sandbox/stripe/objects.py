"""The shapes of Stripe's objects (API version 2026-10-28.endive): what each has when it is new."""

import calendar
import secrets
from datetime import UTC, datetime
from typing import Any

from sandbox.stripe.methods import Method
from sandbox.stripe.store import Store, Thing

Form = dict[str, Any]


def listed(rows: list[Thing], url: str, *, has_more: bool = False) -> Thing:
    return {"object": "list", "data": rows, "has_more": has_more, "url": url}


def month_after(moment: int, *, anchor_day: int, months: int = 1) -> int:
    """The same day of a later month, or its last one."""
    at = datetime.fromtimestamp(moment, UTC)
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    day = min(anchor_day, calendar.monthrange(year, month + 1)[1])
    return int(at.replace(year=year, month=month + 1, day=day).timestamp())


def product_make(store: Store, form: Form) -> Thing:
    now = store.now()
    return store.add("product", {
        "active": True, "default_price": None, "description": form.get("description"), "images": [], "marketing_features": [],
        "metadata": form.get("metadata") or {}, "name": form["name"], "package_dimensions": None, "shippable": None,
        "statement_descriptor": form.get("statement_descriptor"), "tax_code": form.get("tax_code"), "type": "service", "unit_label": None,
        "updated": now, "url": None,
    }, found_id=form.get("id", ""))  # fmt: skip


def price_make(store: Store, form: Form) -> Thing:
    amount = int(form["unit_amount"])
    recurring = form.get("recurring")
    return store.add("price", {
        "active": True, "billing_scheme": "per_unit", "currency": form["currency"], "custom_unit_amount": None,
        "lookup_key": form.get("lookup_key"), "metadata": form.get("metadata") or {}, "nickname": form.get("nickname"),
        "product": form["product"], "tax_behavior": form.get("tax_behavior", "unspecified"), "tiers_mode": None,
        "transform_quantity": None, "type": "recurring" if recurring else "one_time", "unit_amount": amount,
        "unit_amount_decimal": str(amount),
        "recurring": {
            "interval": recurring["interval"], "interval_count": int(recurring.get("interval_count", 1)), "meter": None,
            "trial_period_days": None, "usage_type": "licensed",
        } if recurring else None,
    })  # fmt: skip


def customer_make(store: Store, form: Form) -> Thing:
    return store.add("customer", {
        "address": form.get("address"), "balance": 0, "currency": None, "default_source": None, "delinquent": False,
        "description": form.get("description"), "email": form.get("email"), "invoice_prefix": secrets.token_hex(4).upper(),
        "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None},
        "metadata": form.get("metadata") or {}, "name": form.get("name"), "next_invoice_sequence": 1, "phone": form.get("phone"),
        "preferred_locales": [], "shipping": None, "tax_exempt": form.get("tax_exempt", "none"), "test_clock": form.get("test_clock"),
    })  # fmt: skip


def method_make(store: Store, method: Method, *, billing: Form | None = None) -> Thing:
    billing = billing or {}
    card = {
        "brand": method.brand, "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US", "display_brand": method.brand, "exp_month": 12, "exp_year": 2034, "fingerprint": secrets.token_hex(8),
        "funding": "credit", "generated_from": None, "last4": method.last4,
        "networks": {"available": [method.brand], "preferred": None}, "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True}, "wallet": None,
    }  # fmt: skip
    bank = {
        "account_holder_type": "company", "account_type": "checking", "bank_name": method.brand, "financial_connections_account": None,
        "fingerprint": secrets.token_hex(8), "last4": method.last4, "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000", "status_details": None,
    }  # fmt: skip
    made = store.add("payment_method", {
        "allow_redisplay": "unspecified", "customer": None, "metadata": {}, "type": method.kind,
        "billing_details": {"address": billing.get("address"), "email": billing.get("email"), "name": billing.get("name"), "phone": None,
                            "tax_id": None},
        method.kind: card if method.kind == "card" else bank,
    })  # fmt: skip
    store.note("methods")[made["id"]] = {"on_attach": method.on_attach, "on_charge": method.on_charge, "is_slow": method.is_slow}
    return made


def subscription_make(
    store: Store, *, customer: str, price: Thing, method: str | None, metadata: Form, trial_days: int, collection: str,
    days_until_due: int | None,
) -> Thing:  # fmt: skip
    now = store.now(customer)
    trial_end = now + trial_days * 86_400 if trial_days else None
    anchor = trial_end or now
    end = trial_end or month_after(now, anchor_day=datetime.fromtimestamp(now, UTC).day)
    made = store.add("subscription", {
        "application": None, "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None}, "billing_cycle_anchor": anchor,
        "billing_cycle_anchor_config": None, "billing_mode": {"type": "flexible", "flexible": {"proration_discounts": "included"}},
        "billing_schedules": [], "billing_thresholds": None, "cancel_at": None, "cancel_at_period_end": False, "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None}, "collection_method": collection, "created": now,
        "currency": price["currency"], "customer": customer, "days_until_due": days_until_due, "default_payment_method": method,
        "default_source": None, "default_tax_rates": [], "description": None, "discounts": [], "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}}, "latest_invoice": None, "metadata": metadata,
        "next_pending_invoice_item_invoice": None, "on_behalf_of": None, "pause_collection": None,
        "payment_settings": {"payment_method_options": None, "payment_method_types": None, "save_default_payment_method": "off"},
        "pending_invoice_item_interval": None, "pending_setup_intent": None, "pending_update": None, "schedule": None, "start_date": now,
        "status": "trialing" if trial_end else "active", "test_clock": store.get("customer", customer).get("test_clock"),
        "transfer_data": None, "trial_end": trial_end, "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": now if trial_end else None,
    })  # fmt: skip
    item = store.add("subscription_item", {
        "billing_thresholds": None, "created": now, "current_period_end": end, "current_period_start": now, "discounts": [], "metadata": {},
        "plan": _plan(price), "price": price, "quantity": 1, "subscription": made["id"], "tax_rates": [],
    })  # fmt: skip
    item.pop("livemode")
    made["items"] = listed([item], f"/v1/subscription_items?subscription={made['id']}")
    return made


def _plan(price: Thing) -> Thing:
    recurring = price["recurring"]
    return {
        "id": price["id"], "object": "plan", "active": True, "amount": price["unit_amount"], "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit", "created": price["created"], "currency": price["currency"], "interval": recurring["interval"],
        "interval_count": recurring["interval_count"], "livemode": False, "metadata": {}, "meter": None, "nickname": None,
        "product": price["product"], "tiers_mode": None, "transform_usage": None, "trial_period_days": None, "usage_type": "licensed",
    }  # fmt: skip


def invoice_make(store: Store, *, subscription: Thing, amount: int, reason: str, start: int, end: int, base: str) -> Thing:
    """An open one: finalized as soon as it is made."""
    customer, now = store.get("customer", subscription["customer"]), store.now(subscription["customer"])
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04}"
    customer["next_invoice_sequence"] += 1
    is_sent = subscription["collection_method"] == "send_invoice"
    price = subscription["items"]["data"][0]["price"]
    parent = {"metadata": subscription["metadata"], "subscription": subscription["id"]}
    made = store.add("invoice", {
        "account_country": "US", "account_name": "MedicalCloudAIHub (test)", "account_tax_ids": None, "amount_due": amount,
        "amount_overpaid": 0, "amount_paid": 0, "amount_remaining": amount, "amount_shipping": 0, "application": None, "attempt_count": 0,
        "attempted": False, "auto_advance": not is_sent,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
        "automatically_finalizes_at": None, "billing_reason": reason, "collection_method": subscription["collection_method"],
        "created": now, "currency": subscription["currency"], "custom_fields": None, "customer": customer["id"],
        "customer_address": customer["address"], "customer_email": customer["email"], "customer_name": customer["name"],
        "customer_phone": None, "customer_shipping": None, "customer_tax_exempt": customer["tax_exempt"], "customer_tax_ids": [],
        "default_payment_method": None, "default_source": None, "default_tax_rates": [], "description": None, "discounts": [],
        "due_date": now + (subscription["days_until_due"] or 30) * 86_400 if is_sent else None, "effective_at": now, "ending_balance": 0,
        "footer": None, "from_invoice": None, "issuer": {"type": "self"}, "last_finalization_error": None, "latest_revision": None,
        "metadata": {}, "next_payment_attempt": None, "number": number, "on_behalf_of": None,
        "parent": {"quote_details": None, "subscription_details": parent, "type": "subscription_details"},
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None}, "period_end": end,
        "period_start": start, "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "receipt_number": None,
        "rendering": None, "shipping_cost": None, "shipping_details": None, "starting_balance": 0, "statement_descriptor": None,
        "status": "open", "subtotal": amount, "subtotal_excluding_tax": amount, "test_clock": customer["test_clock"], "total": amount,
        "status_transitions": {"finalized_at": now, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None},
        "total_discount_amounts": [], "total_excluding_tax": amount, "total_pretax_credit_amounts": [], "total_taxes": [],
        "webhooks_delivered_at": None,
    })  # fmt: skip
    made |= {"hosted_invoice_url": f"{base}/i/{made['id']}", "invoice_pdf": f"{base}/i/{made['id']}/pdf"}
    line = {
        "id": f"il_{secrets.token_hex(12)}", "object": "line_item", "amount": amount, "currency": subscription["currency"],
        "description": "1 × MedicalCloudAIHub (monthly)", "discount_amounts": [], "discountable": True, "discounts": [],
        "invoice": made["id"], "livemode": False, "metadata": {}, "period": {"end": end, "start": start}, "pretax_credit_amounts": [],
        "parent": {"invoice_item_details": None, "type": "subscription_item_details", "subscription_item_details": {
            "invoice_item": None, "proration": False, "proration_details": {"credited_items": None}, "subscription": subscription["id"],
            "subscription_item": subscription["items"]["data"][0]["id"],
        }},
        "pricing": {"price_details": {"price": price["id"], "product": price["product"]}, "type": "price_details",
                    "unit_amount_decimal": price["unit_amount_decimal"]},
        "quantity": 1, "subscription": subscription["id"], "subtotal": amount, "taxes": [],
    }  # fmt: skip
    made["lines"] = listed([line], f"/v1/invoices/{made['id']}/lines")
    subscription["latest_invoice"] = made["id"]
    return made


def session_make(store: Store, form: Form, *, base: str, customer: Thing | None) -> Thing:
    now = store.now(customer["id"] if customer else "")
    items = form["line_items"]
    amount = sum(store.get("price", item["price"])["unit_amount"] * int(item.get("quantity", 1)) for item in items)
    made = store.add("checkout.session", {
        "adaptive_pricing": None, "after_expiration": None, "allow_promotion_codes": None, "amount_subtotal": amount,
        "amount_total": amount, "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": form.get("billing_address_collection"), "cancel_url": form.get("cancel_url"),
        "client_reference_id": form.get("client_reference_id"), "client_secret": None, "collected_information": None, "consent": None,
        "consent_collection": None, "created": now, "currency": store.get("price", items[0]["price"])["currency"],
        "currency_conversion": None, "custom_fields": [], "customer": customer["id"] if customer else None, "customer_creation": None,
        "custom_text": {"after_submit": None, "shipping_address": None, "submit": None, "terms_of_service_acceptance": None},
        "customer_details": None, "customer_email": form.get("customer_email"), "discounts": [], "expires_at": now + 86_400,
        "invoice": None, "invoice_creation": None, "locale": form.get("locale"), "metadata": form.get("metadata") or {},
        "mode": form["mode"], "origin_context": None, "payment_intent": None, "payment_link": None,
        "payment_method_collection": "always", "payment_method_configuration_details": None, "payment_method_options": {},
        "payment_method_types": form.get("payment_method_types") or ["card", "us_bank_account"], "payment_status": "unpaid",
        "permissions": None, "phone_number_collection": {"enabled": False}, "recovered_from": None, "redirect_on_completion": None,
        "saved_payment_method_options": None, "setup_intent": None, "shipping_address_collection": None, "shipping_cost": None,
        "shipping_options": [], "status": "open", "submit_type": None, "subscription": None, "success_url": form.get("success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}, "ui_mode": "hosted_page", "wallet_options": None,
    })  # fmt: skip
    made["url"] = f"{base}/c/pay/{made['id']}"
    store.note("sessions")[made["id"]] = {"items": items, "subscription_data": form.get("subscription_data") or {}}
    return made
