"""Errors as Stripe tells them."""

from typing import Any


class StripeRefusal(Exception):
    """An `error` object with its HTTP status. `message` is what a person at the hosted page reads too."""

    def __init__(self, status: int, kind: str, message: str, *, code: str = "", param: str = "", decline_code: str = "") -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.body: dict[str, Any] = {"type": kind, "message": message}
        self.body |= {name: text for name, text in (("code", code), ("param", param), ("decline_code", decline_code)) if text}


def missing(param: str) -> StripeRefusal:
    return StripeRefusal(400, "invalid_request_error", f"Missing required param: {param}.", code="parameter_missing", param=param)


def invalid(param: str, words: str = "") -> StripeRefusal:
    return StripeRefusal(400, "invalid_request_error", words or f"Invalid {param}.", code="parameter_invalid", param=param)


def unknown(kind: str, found: str) -> StripeRefusal:
    return StripeRefusal(404, "invalid_request_error", f"No such {kind}: '{found}'", code="resource_missing", param="id")


def declined(code: str = "generic_decline") -> StripeRefusal:
    words = {
        "insufficient_funds": "Your card has insufficient funds.", "expired_card": "Your card has expired.",
        "incorrect_cvc": "Your card's security code is incorrect.",
    }  # fmt: skip
    top = code if code in {"expired_card", "incorrect_cvc"} else "card_declined"
    return StripeRefusal(402, "card_error", words.get(code, "Your card was declined."), code=top, decline_code=code)
