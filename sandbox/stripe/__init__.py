"""A stand-in of Stripe for the demo and the tests: a process of its own that the unmodified SDK is pointed at. Never in production.

What it answers has the shapes of API version 2026-10-28.endive (tests/sandbox holds each object against the SDK's own types). It knows
products, prices, customers, payment methods, Checkout (subscriptions), the customer portal, subscriptions with dunning, invoices,
refunds, test clocks, events and signed webhooks. What it does not know is a 404, as an address that is none at Stripe.
"""

API_VERSION = "2026-10-28.endive"
