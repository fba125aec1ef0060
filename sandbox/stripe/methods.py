"""Stripe's published test payment methods: numbers of cards, `pm_card_...` names, US bank accounts (docs.stripe.com/testing)."""

from dataclasses import dataclass

from sandbox.stripe.errors import declined, invalid


@dataclass(frozen=True)
class Method:
    """`on_attach` and `on_charge`: the decline code, or "" for none. `is_slow`: an ACH debit is known good only days later."""

    kind: str
    brand: str
    last4: str
    on_attach: str = ""
    on_charge: str = ""
    is_slow: bool = False


CARDS = {
    "4242424242424242": Method("card", "visa", "4242"),
    "4000056655665556": Method("card", "visa", "5556"),
    "5555555555554444": Method("card", "mastercard", "4444"),
    "378282246310005": Method("card", "amex", "0005"),
    "4000000000000002": Method("card", "visa", "0002", on_attach="generic_decline"),
    "4000000000009995": Method("card", "visa", "9995", on_attach="insufficient_funds"),
    "4000000000000069": Method("card", "visa", "0069", on_attach="expired_card"),
    "4000000000000127": Method("card", "visa", "0127", on_attach="incorrect_cvc"),
    "4000000000000341": Method("card", "visa", "0341", on_charge="generic_decline"),
}
NAMES = {
    "pm_card_visa": "4242424242424242", "pm_card_visa_debit": "4000056655665556", "pm_card_mastercard": "5555555555554444",
    "pm_card_amex": "378282246310005", "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995", "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127", "pm_card_chargeCustomerFail": "4000000000000341",
}  # fmt: skip
ROUTING = "110000000"
BANKS = {
    "000123456789": Method("us_bank_account", "STRIPE TEST BANK", "6789", is_slow=True),
    "000111111113": Method("us_bank_account", "STRIPE TEST BANK", "1113", on_charge="account_closed", is_slow=True),
    "000222222227": Method("us_bank_account", "STRIPE TEST BANK", "2227", on_charge="insufficient_funds", is_slow=True),
}
BANK_NAMES = {"pm_usBankAccount_success": "000123456789", "pm_usBankAccount_accountClosed": "000111111113"}


def card_of(number: str) -> Method:
    """Raises StripeRefusal, as for a number that is none."""
    digits = number.replace(" ", "")
    if not digits.isascii() or not digits.isdigit() or not _luhn(digits):
        raise invalid("number", "Your card number is incorrect.")
    if digits not in CARDS:  # Stripe's test mode declines real cards
        raise declined("test_mode_live_card")
    return CARDS[digits]


def bank_of(routing: str, account: str) -> Method:
    if routing != ROUTING or account not in BANKS:
        raise invalid("us_bank_account", "The routing or account number is not one of the test numbers.")
    return BANKS[account]


def named(name: str) -> Method | None:
    """Of `pm_card_visa` and its kin."""
    if name in NAMES:
        return CARDS[NAMES[name]]
    return BANKS[BANK_NAMES[name]] if name in BANK_NAMES else None


def _luhn(digits: str) -> bool:
    doubled = (int(char) * (1 + index % 2) for index, char in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
