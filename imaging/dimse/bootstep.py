"""`celery worker --dimse HOST:PORT --dimse-tls HOST:PORT`: the DIMSE listener (PS3.8) as a step of the worker.

It is alive while the broker is not.
`medhub.celery` calls `add_dimse_option(app)`; the callables come by dotted path from `app.conf.medhub_dimse`.
"""

import logging
from typing import Any

import click
from celery import Celery, bootsteps

logger = logging.getLogger(__name__)

STOP_SECONDS = 3.0
REQUIRED = ("admit", "receive", "alive", "ended")


def address_parse(text: str, option: str = "--dimse") -> tuple[str, int]:
    """HOST:PORT, [IPv6]:PORT, :PORT or PORT."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint=option)
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - hospitals connect from outside


class DimseStep(bootsteps.StartStopStep):
    """Starts behind the pool, whose first children are then forked from a process without our threads."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, dimse: str | None = None, dimse_tls: str | None = None, **options: Any) -> None:
        super().__init__(parent, **options)
        self.enabled = bool(dimse or dimse_tls)
        self._address, self._secure_address = dimse or "", dimse_tls or ""
        self._listener: Any = None

    def start(self, parent: Any) -> None:
        # codecs and the lane cost 30 MB: workers without --dimse do not load them
        from imaging.dimse.listener import Listener, is_public
        from imaging.dimse.process import services_load, symbol_load

        paths = dict(parent.app.conf.get("medhub_dimse") or {})
        missing = [name for name in REQUIRED if name not in paths]
        if missing:
            raise RuntimeError(f"app.conf.medhub_dimse lacks {', '.join(missing)}")
        host, port = address_parse(self._address) if self._address else ("", None)
        secure = address_parse(self._secure_address, "--dimse-tls") if self._secure_address else None
        if secure is not None and "secure" not in paths:
            raise RuntimeError("app.conf.medhub_dimse lacks secure")
        secure_check = paths.pop("secure_check", None)
        if secure is not None and secure_check is not None:
            symbol_load(secure_check)()  # a certificate that cannot be read ends the worker now, with its name
        is_refused = None if paths.pop("plain_public", False) else is_public
        listener = Listener(
            host, port, secure=secure, is_refused=is_refused, services=services_load(paths), paths=paths,
            receivers=int(paths.pop("receivers", 2)), max_associations=int(paths.pop("max_associations", 256)),
        )  # fmt: skip
        listener.start()
        self._listener = listener
        if port is not None:
            logger.warning("DIMSE listening on %s:%s", host, listener.port)
        if secure is not None:
            logger.warning("DIMSE over TLS listening on %s:%s", secure[0], listener.secure_port)

    def stop(self, parent: Any) -> None:
        if self._listener is not None:
            self._listener.stop(STOP_SECONDS)
            self._listener = None

    terminate = stop


def add_dimse_option(app: Celery) -> None:
    """Register the option and the step; nothing starts unless the option is given."""
    app.user_options["worker"].add(click.Option(
        ("--dimse",), metavar="HOST:PORT", default=None, help="Receive DICOM over DIMSE on this address.",
    ))
    app.user_options["worker"].add(click.Option(
        ("--dimse-tls",), metavar="HOST:PORT", default=None, help="Receive DICOM over TLS, with client certificates, on this address.",
    ))
    app.steps["worker"].add(DimseStep)
