"""The pages that Stripe hosts: Checkout, the customer portal, an invoice. Plain HTML; each says that it is a stand-in."""

from html import escape
from urllib.parse import parse_qsl

from sandbox.http import Refusal, Reply, Request, Router
from sandbox.stripe.api import Api
from sandbox.stripe.errors import StripeRefusal
from sandbox.stripe.life import LIVE
from sandbox.stripe.methods import Method, bank_of, card_of
from sandbox.stripe.objects import method_make
from sandbox.stripe.store import Thing

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem;color:#1a1f36}"
    "label{display:block;margin:.75rem 0 .2rem}input,button,select{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;"
    "border:1px solid #6b7280;border-radius:4px}button{background:#4b3fd0;color:#fff;margin-top:1rem;min-height:44px}"
    ".plain{background:#fff;color:#1a1f36}.test{background:#fff3cd;padding:.5rem .75rem;border-radius:4px}.bad{color:#a4001d}"
)


def money(amount: int, currency: str) -> str:
    return f"{amount / 100:,.2f} {currency.upper()}"


class Pages:
    def __init__(self, api: Api) -> None:
        self._api, self._store, self._router = api, api.store, Router()
        self._router.add("GET", r"/c/pay/(?P<found>[\w]+)", self.checkout)
        self._router.add("POST", r"/c/pay/(?P<found>[\w]+)", self.checkout_pay)
        self._router.add("GET", r"/p/session/(?P<found>[\w]+)", self.portal)
        self._router.add("POST", r"/p/session/(?P<found>[\w]+)", self.portal_change)
        self._router.add("GET", r"/i/(?P<found>[\w]+)", self.invoice)
        self._router.add("POST", r"/i/(?P<found>[\w]+)", self.invoice_pay)
        self._router.add("GET", r"/i/(?P<found>[\w]+)/pdf", self.invoice_pdf)

    def __call__(self, request: Request) -> Reply:
        with self._store.lock:
            try:
                self._api.life.run_all()
                return self._router(request)
            except StripeRefusal as error:
                raise Refusal(error.status, error.message) from None
            finally:
                self._store.save()

    # --- Checkout ----------------------------------------------------------------------------------------------------

    def checkout(self, request: Request, found: str, *, problem: str = "", status: int = 200) -> Reply:
        session = self._store.get("checkout.session", found)
        if session["status"] != "open":
            return _page("This page is over", "<p>What was to be done here is done, or took too long. Go back and look.</p>", 410)
        email = session["customer_email"] or (self._store.get("customer", session["customer"])["email"] if session["customer"] else "")
        trial = self._store.note("sessions")[found]["subscription_data"].get("trial_period_days")
        words = f"{money(session['amount_total'], session['currency'])} a month"
        words += f", after {escape(str(trial))} days of trial" if trial else ""
        back = f'<p><a href="{escape(session["cancel_url"])}">Back</a></p>' if session["cancel_url"] else ""
        return _page("Subscribe", (
            f"{_problem(problem)}<p><strong>{words}</strong></p><form method='post'>"
            f"<label for='email'>E-mail</label><input id='email' name='email' type='email' required value='{escape(email or '')}'>"
            "<label for='name'>Name on the card or account</label><input id='name' name='name' required autocomplete='off'>"
            f"{_methods(session['payment_method_types'])}<button>Subscribe</button></form>{back}"
        ), status)  # fmt: skip

    def checkout_pay(self, request: Request, found: str) -> Reply:
        session, form = self._store.get("checkout.session", found), _form(request)
        try:
            self._api.session_complete(session, _typed(form), name=form.get("name", ""), email=form.get("email", ""))
        except StripeRefusal as error:
            return self.checkout(request, found, problem=error.message, status=error.status)
        return _go(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]))

    # --- portal ------------------------------------------------------------------------------------------------------

    def portal(self, request: Request, found: str, *, problem: str = "", status: int = 200) -> Reply:
        session = self._store.get("billing_portal.session", found)
        customer = session["customer"]
        parts = [_problem(problem)]
        for one in self._store.find("subscription", customer=customer):
            parts.append(_subscription(one))
        rows = "".join(
            f"<li><a href='{escape(one['hosted_invoice_url'])}'>{escape(one['number'])}</a> {money(one['total'], one['currency'])}, "
            f"{escape(one['status'])}</li>" for one in reversed(self._store.find("invoice", customer=customer))
        )  # fmt: skip
        parts.append(f"<h2>Invoices</h2><ul>{rows or '<li>none yet</li>'}</ul>")
        parts.append(
            "<h2>Payment method</h2><form method='post'><input type='hidden' name='do' value='method'>"
            f"{_methods(['card', 'us_bank_account'])}<button class='plain'>Use this from now on</button></form>"
        )
        if session["return_url"]:
            parts.append(f"<p><a href='{escape(session['return_url'])}'>Back</a></p>")
        return _page("Your subscription", "".join(parts), status)

    def portal_change(self, request: Request, found: str) -> Reply:
        session, form = self._store.get("billing_portal.session", found), _form(request)
        customer = self._store.get("customer", session["customer"])
        mine = [one for one in self._store.find("subscription", customer=customer["id"]) if one["status"] in LIVE]
        try:
            if form.get("do") == "method":
                made = method_make(self._store, _typed(form), billing={"name": customer["name"], "email": customer["email"]})
                self._api.life.attach(made, customer)
                customer["invoice_settings"]["default_payment_method"] = made["id"]
                for one in mine:
                    one["default_payment_method"] = made["id"]
                self._api.life.hooks.event("customer.updated", customer)
            else:
                for one in mine:
                    self._api.life.cancel_later(one, form.get("do") == "cancel")
        except StripeRefusal as error:
            return self.portal(request, found, problem=error.message, status=error.status)
        return _go(f"/p/session/{found}")

    # --- invoices ----------------------------------------------------------------------------------------------------

    def invoice(self, request: Request, found: str, *, problem: str = "", status: int = 200) -> Reply:
        invoice = self._store.get("invoice", found)
        lines = invoice["lines"]["data"]
        rows = "".join(f"<li>{escape(one['description'])}: {money(one['amount'], one['currency'])}</li>" for one in lines)
        pay = "<form method='post'>" + _methods(["card"]) + "<button>Pay</button></form>" if invoice["status"] == "open" else ""
        return _page(f"Invoice {escape(invoice['number'])}", (
            f"{_problem(problem)}<p><strong>{money(invoice['total'], invoice['currency'])}</strong>, {escape(invoice['status'])}</p>"
            f"<ul>{rows}</ul><p><a href='{escape(invoice['invoice_pdf'])}'>PDF</a></p>{pay}"
        ), status)  # fmt: skip

    def invoice_pay(self, request: Request, found: str) -> Reply:
        invoice = self._store.get("invoice", found)
        try:
            made = method_make(self._store, _typed(_form(request)))
            self._api.life.attach(made, self._store.get("customer", invoice["customer"]))
            if invoice["status"] == "open" and not self._api.life.pay(invoice, method=made["id"]):
                return self.invoice(request, found, problem="Your card was declined.", status=402)
        except StripeRefusal as error:
            return self.invoice(request, found, problem=error.message, status=error.status)
        return _go(f"/i/{found}")

    def invoice_pdf(self, request: Request, found: str) -> Reply:
        invoice = self._store.get("invoice", found)
        text = f"Invoice {invoice['number']}: {money(invoice['total'], invoice['currency'])}, {invoice['status']} (stand-in, not Stripe)"
        return Reply(200, pdf_make(text), {"Content-Type": "application/pdf"})


def pdf_make(text: str) -> bytes:
    """A PDF of one line."""
    stream = f"BT /F1 12 Tf 50 750 Td ({text.replace('(', '[').replace(')', ']')}) Tj ET".encode("latin-1", "replace")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]  # fmt: skip
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table) + end


def _subscription(one: Thing) -> str:
    end = one["items"]["data"][0]["current_period_end"]
    if one["status"] not in LIVE:
        return f"<p>Ended: {escape(one['status'])}</p>"
    asked = one["cancel_at_period_end"]
    do, words = ("keep", "Do not cancel") if asked else ("cancel", "Cancel at the end of the period")
    ends = f", ends at <time data-at='{end}'>the end of the period</time>" if asked else ""
    return (
        f"<p>{escape(one['status'])}{ends}</p><form method='post'><input type='hidden' name='do' value='{do}'>"
        f"<button class='plain'>{words}</button></form>"
    )


def _methods(kinds: list[str]) -> str:
    bank = (
        "<label for='routing'>or: routing number of a bank account</label>"
        "<input id='routing' name='routing' inputmode='numeric' autocomplete='off'>"
        "<label for='account'>Account number</label><input id='account' name='account' inputmode='numeric' autocomplete='off'>"
    )
    return (
        "<label for='number'>Card number</label><input id='number' name='number' inputmode='numeric' autocomplete='off'>"
        f"{bank if 'us_bank_account' in kinds else ''}"
    )


def _typed(form: dict[str, str]) -> Method:
    """Raises StripeRefusal."""
    if form.get("account"):
        return bank_of(form.get("routing", ""), form["account"])
    return card_of(form.get("number", ""))


def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def _problem(words: str) -> str:
    return f"<p class='bad' role='alert'>{escape(words)}</p>" if words else ""


def _page(title: str, body: str, status: int = 200) -> Reply:
    html = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{title}</title>"
        f"<link rel='icon' href='data:,'><style>{STYLE}</style><main><h1>{title}</h1>"
        f"<p class='test'>A stand-in of Stripe for tests. No money moves.</p>{body}</main></html>"
    )
    return Reply(status, html.encode(), {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"})


def _go(where: str) -> Reply:
    return Reply(303, b"", {"Location": where})
