"""One settings file, all from the environment; the defaults are the embedded one-machine install (docs/settings.md lists them)."""

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from medhub.embedded import Home
from medhub.env import env_bool, env_choice, env_float, env_int, env_list, env_origins, env_secret, env_text
from portal.ohif import asset_headers

BASE_DIR = Path(__file__).resolve().parent.parent
MEDHUB_HOME = Path(os.environ.setdefault("MEDHUB_HOME", str(BASE_DIR / ".medhub")))
HOME = Home(MEDHUB_HOME)

DEBUG = env_bool("MEDHUB_DEBUG", False)
SECRET_KEY = env_secret("MEDHUB_SECRET_KEY")
if not SECRET_KEY:
    if env_bool("MEDHUB_PRODUCTION", False):
        raise ImproperlyConfigured("MEDHUB_SECRET_KEY (or MEDHUB_SECRET_KEY_FILE) is required in production")
    SECRET_KEY = HOME.secret("secret_key", lambda: secrets.token_urlsafe(48))
VAULT_KEY = env_secret("MEDHUB_VAULT_KEYS")
if not VAULT_KEY:
    if env_bool("MEDHUB_PRODUCTION", False):
        raise ImproperlyConfigured("MEDHUB_VAULT_KEYS (or MEDHUB_VAULT_KEYS_FILE) is required in production")
    VAULT_KEY = HOME.secret("vault_key", lambda: secrets.token_urlsafe(48))
MEDHUB_VAULT_KEYS = [key.strip() for key in VAULT_KEY.split(",") if key.strip()]  # the first seals, all of them open
ALLOWED_HOSTS = env_list("MEDHUB_HOSTS", "localhost,127.0.0.1,[::1]")

# --- what is wired to what -------------------------------------------------------------------------------------------
MEDHUB_FLOW = "medhub.flow.FLOW"
MEDHUB_FLOW_GATHERED = "medhub.flow.GATHERED"
MEDHUB_MESSAGES = "medhub.flow.MESSAGES"
MEDHUB_SEAL_NUDGE = "journal.tasks.audit_seal_nudge"
MEDHUB_NUDGE = "journal.tasks.deliveries_nudge"
MEDHUB_UPLOAD_NUDGE = "imaging.tasks.uploads_nudge"
MEDHUB_HEARTBEAT_SECONDS = env_float("MEDHUB_HEARTBEAT_SECONDS", 20)  # an association that missed four beats is gone
MEDHUB_LEASE_SECONDS = env_float("MEDHUB_LEASE_SECONDS", 60)
MEDHUB_SWEEP_SECONDS = env_float("MEDHUB_SWEEP_SECONDS", 5)
MEDHUB_BACKOFF_UNIT_SECONDS = env_float("MEDHUB_BACKOFF_UNIT_SECONDS", 1)
MEDHUB_COMMITMENT_HOURS = env_float("MEDHUB_COMMITMENT_HOURS", 24)  # after it a node's answer is overdue
MEDHUB_OBJECTS = Path(env_text("MEDHUB_OBJECTS", str(MEDHUB_HOME / "objects")))
MEDHUB_OBJECTS_STORE = env_choice("MEDHUB_OBJECTS_STORE", "files", {"files", "s3"})
MEDHUB_OBJECTS_ENDPOINT = env_text("MEDHUB_OBJECTS_ENDPOINT", "")
MEDHUB_OBJECTS_REGION = env_text("MEDHUB_OBJECTS_REGION", "us-east-1")
MEDHUB_OBJECTS_BUCKET = env_text("MEDHUB_OBJECTS_BUCKET", "")
MEDHUB_OBJECTS_ACCESS_KEY = env_secret("MEDHUB_OBJECTS_ACCESS_KEY")
MEDHUB_OBJECTS_SECRET_KEY = env_secret("MEDHUB_OBJECTS_SECRET_KEY")
MEDHUB_OBJECTS_ACK = env_choice("MEDHUB_OBJECTS_ACK", "inbox", {"inbox", "store"})
MEDHUB_OBJECTS_LINGER_SECONDS = env_float("MEDHUB_OBJECTS_LINGER_SECONDS", 60)
MEDHUB_OBJECTS_CACHE = Path(env_text("MEDHUB_OBJECTS_CACHE", str(MEDHUB_OBJECTS / "cache")))
MEDHUB_OBJECTS_CACHE_BYTES = env_int("MEDHUB_OBJECTS_CACHE_BYTES", 20 * 1024**3)
if MEDHUB_OBJECTS_STORE == "s3" and not MEDHUB_OBJECTS_BUCKET:
    raise ImproperlyConfigured("MEDHUB_OBJECTS_BUCKET is required with MEDHUB_OBJECTS_STORE=s3")
MEDHUB_SCRUB_BYTES_PER_SECOND = env_int("MEDHUB_SCRUB_BYTES_PER_SECOND", 8 * 1024**2)
MEDHUB_SCRUB_DAYS = env_float("MEDHUB_SCRUB_DAYS", 30)
MEDHUB_REINDEX_OBJECTS_PER_SECOND = env_int("MEDHUB_REINDEX_OBJECTS_PER_SECOND", 300)
MEDHUB_DISCARD_DAYS = env_float("MEDHUB_DISCARD_DAYS", 30)
MEDHUB_MAX_OBJECT_BYTES = env_int("MEDHUB_MAX_OBJECT_BYTES", 4 * 1024**3)
MEDHUB_MAX_REQUEST_BYTES = env_int("MEDHUB_MAX_REQUEST_BYTES", 16 * 1024**3)
MEDHUB_ARRIVING_SECONDS = env_float("MEDHUB_ARRIVING_SECONDS", 10.0)
MEDHUB_QUERY_LIMIT = env_int("MEDHUB_QUERY_LIMIT", 50_000)
MEDHUB_FHIR_RESOURCE_BYTES = env_int("MEDHUB_FHIR_RESOURCE_BYTES", 16 * 1024**2)
MEDHUB_FHIR_BUNDLE_BYTES = env_int("MEDHUB_FHIR_BUNDLE_BYTES", 64 * 1024**2)
MEDHUB_FHIR_BUNDLE_ENTRIES = env_int("MEDHUB_FHIR_BUNDLE_ENTRIES", 5000)
MEDHUB_BULK_HOURS = env_float("MEDHUB_BULK_HOURS", 24)
MEDHUB_BULK_RUNNING = env_int("MEDHUB_BULK_RUNNING", 2)
MEDHUB_BULK_SETTLE_SECONDS = env_float("MEDHUB_BULK_SETTLE_SECONDS", 2)
MEDHUB_SUBSCRIPTION_DAYS = env_int("MEDHUB_SUBSCRIPTION_DAYS", 30)
MEDHUB_SUBSCRIPTION_KNOWN_SECONDS = env_float("MEDHUB_SUBSCRIPTION_KNOWN_SECONDS", 1)
MEDHUB_PUBLIC_URL = env_text("MEDHUB_PUBLIC_URL", f"http://localhost:{env_int('MEDHUB_HTTP_PORT', 8000)}").rstrip("/")
MEDHUB_EVENTS_PORT = env_int("MEDHUB_EVENTS_PORT", 8302)
MEDHUB_HL7_PORT = env_int("MEDHUB_HL7_PORT", 2575)  # MLLP; over TLS on the other
MEDHUB_HL7_TLS_PORT = env_int("MEDHUB_HL7_TLS_PORT", 2576)
MEDHUB_HL7_ORU_PORT = env_int("MEDHUB_HL7_ORU_PORT", 2577)  # of the demo alone: where its reports go to
MEDHUB_EVENTS_URL = env_text("MEDHUB_EVENTS_URL", f"ws://localhost:{MEDHUB_EVENTS_PORT}").rstrip("/")
MEDHUB_RENDERED_CACHE_BYTES = env_int("MEDHUB_RENDERED_CACHE_BYTES", 64 * 1024**2)
MEDHUB_VIEWER = Path(env_text("MEDHUB_VIEWER", str(MEDHUB_HOME / "viewer")))
MEDHUB_DIMSE_PORT = env_int("MEDHUB_DIMSE_PORT", 11112)
MEDHUB_DIMSE_TLS_PORT = env_int("MEDHUB_DIMSE_TLS_PORT", 2762)
MEDHUB_DIMSE_TLS_CERT = env_text("MEDHUB_DIMSE_TLS_CERT", "")
MEDHUB_DIMSE_TLS_KEY = env_text("MEDHUB_DIMSE_TLS_KEY", "")
MEDHUB_DIMSE_TLS_MADE = not MEDHUB_DIMSE_TLS_CERT and not env_bool("MEDHUB_PRODUCTION", False)  # made under MEDHUB_HOME
MEDHUB_DIMSE_PLAIN_PUBLIC = env_bool("MEDHUB_DIMSE_PLAIN_PUBLIC", False)
MEDHUB_DIMSE_RECEIVERS = env_int("MEDHUB_DIMSE_RECEIVERS", 2)
QUANTIFY_URL = env_text("QUANTIFY_URL", "http://127.0.0.1:8301")
QUANTIFY_KEY = env_secret("QUANTIFY_KEY") or HOME.secret("quantify_key", lambda: secrets.token_urlsafe(32))
EGRESS_ALLOW = env_list("EGRESS_ALLOW", "127.0.0.1:8301")
EGRESS_CA_FILE = env_text("EGRESS_CA_FILE", "")  # beside the public authorities; TLS is always verified
if EGRESS_CA_FILE and not Path(EGRESS_CA_FILE).is_file():
    raise ImproperlyConfigured("EGRESS_CA_FILE names no file")

# --- Django ----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "allauth",
    "allauth.account",
    "csp",
    "corsheaders",
    "journal",
    "tenants",
    "billing",
    "imaging",
    "ai",
    "fhirapi",
    "portal",
    "medhub",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
# What a machine with a token passes at its doors (medhub/wsgi.py): the rest serves browsers.
MACHINE_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = "medhub.urls"
WSGI_APPLICATION = "medhub.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.nav.nav",
            ],
            "builtins": ["django.templatetags.i18n", "django.templatetags.static", "django.templatetags.tz"],
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True


# --- database: one server, three roles -------------------------------------------------------------------------------
DATABASE_ENGINE = "journal.postgresql"  # Django's own, with a cheaper question for a connection's health


def _database(variable: str, role: str) -> dict[str, Any]:
    url = env_secret(variable)
    if url:
        return dict(dj_database_url.parse(url, engine=DATABASE_ENGINE))
    return {
        "ENGINE": DATABASE_ENGINE,
        "NAME": env_text("MEDHUB_DB_NAME", "medhub"),
        "USER": role,
        "HOST": str(HOME.sockets),
        "PORT": "5432",
    }


DATABASES: dict[str, Any] = {
    "default": _database("DATABASE_URL", "medhub_app"),
    "owner": _database("DATABASE_OWNER_URL", "medhub_owner"),
    "sweep": _database("DATABASE_SWEEP_URL", "medhub_sweep"),
}
DATABASES["default"]["CONN_MAX_AGE"] = 600
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["sweep"]["CONN_MAX_AGE"] = 600
DATABASES["sweep"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"]["TEST"] = {"MIRROR": "owner"}
DATABASES["sweep"]["TEST"] = {"MIRROR": "owner"}

# Counts what allauth limits (sign-ins, mails), for all web processes of a machine.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(HOME.root / "cache")},
}

# --- Celery ----------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = env_secret("CELERY_BROKER_URL") or f"redis+socket://{HOME.sockets}/redis.sock"
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {"visibility_timeout": 600, "socket_connect_timeout": 2, "socket_timeout": 5}
    if CELERY_BROKER_URL.startswith("redis")
    else {"confirm_publish": True}
)
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_TIMER_PRECISION = 0.05  # of workers with threads: a job that asks again in 0.2 s shall not wait a second for it
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_TIMEZONE = "UTC"
if CELERY_BROKER_URL.startswith("amqp"):
    CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
    CELERY_WORKER_DETECT_QUORUM_QUEUES = True

# --- people ----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # mandatory once the sign-up pages are there
ACCOUNT_ADAPTER = "portal.accounts.AccountAdapter"
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_PREVENT_ENUMERATION = True
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"
LOGIN_URL = "/accounts/login/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env_bool("MEDHUB_HTTPS", False)
SECURE_HSTS_SECONDS = 31_536_000 if SESSION_COOKIE_SECURE else 0
CSRF_FAILURE_VIEW = "portal.views.home.csrf_failure"
SECURE_REFERRER_POLICY = "no-referrer"
X_FRAME_OPTIONS = "DENY"
EMAIL_BACKEND = env_text("MEDHUB_EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# Viewers of other origins read DICOMweb with a token of their own; a cookie is never taken from them (tenants.doors). Of FHIR
# the apps that a hospital has registered (medhub/origins.py).
CORS_ALLOWED_ORIGINS = env_origins("MEDHUB_DICOMWEB_ORIGINS")
CORS_URLS_REGEX = r"^/t/[-\w]+/dicomweb/"
CORS_ALLOW_CREDENTIALS = False
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CORS_ALLOW_HEADERS = [
    "accept", "authorization", "content-type", "if-match", "if-modified-since", "if-none-exist", "if-none-match", "if-range", "prefer",
    "range",
]  # fmt: skip
CORS_EXPOSE_HEADERS = [
    "Accept-Ranges", "Allow", "Content-Disposition", "Content-Length", "Content-Location", "Content-Range", "ETag", "Location",
    "Retry-After", "Warning", "WWW-Authenticate",
]  # fmt: skip
CORS_PREFLIGHT_MAX_AGE = 600

# --- static files ----------------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = MEDHUB_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = not env_bool("MEDHUB_PRODUCTION", False)  # no collectstatic in a demo
WHITENOISE_ROOT = MEDHUB_VIEWER if MEDHUB_VIEWER.is_dir() else None  # it holds one folder, viewer/, so its files are under /viewer/
WHITENOISE_IMMUTABLE_FILE_TEST = r"^/viewer/.*[0-9a-f]{16}\.(js|wasm|woff2|css|svg|png)$"
WHITENOISE_ADD_HEADERS_FUNCTION = asset_headers
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Vendored files carry their version in the name; a manifest would want the source maps that we don't ship.
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

# --- machines --------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],  # each door names its own
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "MedHub API",
    "DESCRIPTION": "What the pages configure, for those who automate. Ids are strings; errors are problem details (RFC 9457).",
    "VERSION": "v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["medhub.openapi.api_only"],
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "medhub.openapi.errors_told"],
    "SCHEMA_PATH_PREFIX": "/t/{slug}/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {"RetrieveByEnum": "imaging.models.Node.RetrieveBy"},
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "medhub.logs.LineFormatter"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["out"], "level": env_text("MEDHUB_LOG_LEVEL", "INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.server": {"level": "ERROR"},
        "httpx": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
    },
}
SILENCED_SYSTEM_CHECKS: list[str] = []
