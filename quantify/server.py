"""The process: `gunicorn quantify.server:app --workers 1 --worker-class gthread`; reads the environment and starts."""

import os

from quantify.config import settings_from
from quantify.doors import QuantifyApp

app = QuantifyApp(settings_from(os.environ))
