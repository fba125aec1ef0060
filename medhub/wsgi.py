"""The web's way in. A machine that shows a token passes only what it needs of what guards the pages."""

import gc
import os
import re
from collections.abc import Callable, Iterable
from socket import socket
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "medhub.settings")
_pages = get_wsgi_application()

# Apps are loaded by now. gunicorn loads this module once, before it forks (--preload): what the doors import and which codecs
# there are is found here, not by whoever asks first (1.8 s), and the processes share its memory.
from celery import current_app  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.handlers.exception import convert_exception_to_response  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402

from fhirapi.validation import models_warm  # noqa: E402
from imaging.dicomweb.streams import PiecesResponse  # noqa: E402
from imaging.dicomweb.syntaxes import MEDIA, encodable, is_decodable  # noqa: E402
from medhub import urls as _urls  # noqa: E402, F401

models_warm()
current_app.connection_for_write().get_transport_cls()  # the broker's client: 0.3 s for the first event otherwise
encodable()
for _uid in MEDIA:
    is_decodable(_uid)

_DOORS = re.compile(r"/(t/[^/]+/(dicomweb|fhir|api)|hooks)(/|$)")
# What is loaded stays: the collector need not look at it again, nor the processes copy its pages.
gc.collect()
gc.freeze()
gc.set_threshold(20_000, 20, 20)


class _MachineHandler(WSGIHandler):
    """Django's handler with MACHINE_MIDDLEWARE: no session, language, messages or form tokens, which cost a third of a small answer."""

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async)
        self._view_middleware, self._template_response_middleware, self._exception_middleware = [], [], []
        chain = convert_exception_to_response(self._get_response)
        for path in reversed(settings.MACHINE_MIDDLEWARE):
            chain = convert_exception_to_response(import_string(path)(chain))
        self._middleware_chain = chain


_machines = _MachineHandler()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A door with an Authorization header is a machine's; a browser comes with its session, through everything."""
    is_machine = "HTTP_AUTHORIZATION" in environ and _DOORS.match(environ.get("PATH_INFO", "")) is not None
    response = (_machines if is_machine else _pages)(environ, start_response)
    sock = environ.get("gunicorn.socket")
    if type(sock) is socket and environ["REQUEST_METHOD"] == "GET" and isinstance(response, PiecesResponse) and response.is_whole:
        return response.sent_by(sock)  # not through TLS, which has to see the bytes, and none for HEAD
    return response
