"""`celery worker --dimse HOST:PORT`: the DIMSE listener (PS3.8) as a step of the worker, alive while the broker is not.

`medhub.celery` calls `add_dimse_option(app)`; the callables come by dotted path from `app.conf.medhub_dimse`.
"""

import logging
from typing import Any

import click
from celery import Celery, bootsteps

logger = logging.getLogger(__name__)

STOP_SECONDS = 3.0
REQUIRED = ("admit", "receive", "alive", "ended")


def address_parse(text: str) -> tuple[str, int]:
    """HOST:PORT, [IPv6]:PORT, :PORT or PORT."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--dimse")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - hospitals connect from outside


class DimseStep(bootsteps.StartStopStep):
    """Starts behind the pool, whose first children are then forked from a process without our threads."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, dimse: str | None = None, **options: Any) -> None:
        super().__init__(parent, **options)
        self.enabled = bool(dimse)
        self._address = dimse or ""
        self._listener: Any = None

    def start(self, parent: Any) -> None:
        # codecs and the lane cost 30 MB: workers without --dimse do not load them
        from imaging.dimse.listener import Listener
        from imaging.dimse.process import services_load

        paths = dict(parent.app.conf.get("medhub_dimse") or {})
        missing = [name for name in REQUIRED if name not in paths]
        if missing:
            raise RuntimeError(f"app.conf.medhub_dimse lacks {', '.join(missing)}")
        host, port = address_parse(self._address)
        listener = Listener(
            host, port, services=services_load(paths), paths=paths, receivers=int(paths.pop("receivers", 2)),
            max_associations=int(paths.pop("max_associations", 64)),
        )  # fmt: skip
        listener.start()
        self._listener = listener
        logger.warning("DIMSE listening on %s:%s", host, listener.port)

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
    app.steps["worker"].add(DimseStep)
