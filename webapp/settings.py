"""All settings, and the only place that reads the environment.

Without any variable this is the embedded default of a laptop: SQLite, a Valkey server of our own, files under `var/`.
With CONCORD_ENV=production the secrets must be given and every cookie is secure.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from django.templatetags.static import static
from django.urls import reverse_lazy

from webapp import environment as env
from webapp.database_url import database_settings
from webapp.private_folder import private_folder

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = private_folder(Path(env.text("CONCORD_VAR", str(BASE_DIR / "var"))).resolve())
PRODUCTION = env.choice("CONCORD_ENV", ("laptop", "production")) == "production"
DEBUG = env.flag("CONCORD_DEBUG", False)
FORK_SERVER = env.flag("CONCORD_FORK_SERVER", True)  # stages are forked from a process that has imported torch


def _secret_key() -> str:
    """The secret key from the environment; on a laptop it is generated once and kept in a private file."""
    if PRODUCTION:
        return env.text("CONCORD_SECRET_KEY")
    if key := env.text("CONCORD_SECRET_KEY", ""):
        return key
    path = VAR / "secret.key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50))
    return path.read_text()


SECRET_KEY = _secret_key()
# What seals judges' keys in the database; several, newest first, while they are rotated. Empty: the secret key alone.
FIELD_KEYS = env.words("CONCORD_FIELD_KEY")
ALLOWED_HOSTS = env.words("CONCORD_HOSTS", "" if PRODUCTION else "localhost,127.0.0.1,[::1],testserver")
CSRF_TRUSTED_ORIGINS = env.words("CONCORD_ORIGINS")

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "axes",
    "channels",
    "csp",
    "django_htmx",
    "webapp.accounts",
    "webapp.principles",
    "webapp.datasets",
    "webapp.labels",
    "webapp.judges",
    "webapp.calibration",
    "webapp.runs",
    "webapp.sweeps",
    "webapp.playground",
    "webapp.review",
    "webapp.arena",
    "webapp.fronts",
    "webapp.laptop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "webapp.compression.PageCompression",  # static files are compressed already
    "csp.middleware.CSPMiddleware",
    "webapp.accounts.middleware.PrivatePagesMiddleware",
    "webapp.accounts.middleware.StorableTextMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "webapp.accounts.middleware.TeamMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"
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
                "csp.context_processors.nonce",
                "webapp.accounts.context.frame",
                "webapp.labels.notice.bulk_notice",
            ],
        },
    },
]


DATABASES = {"default": database_settings(env.text("CONCORD_DATABASE_URL", ""), VAR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# `manage.py up` starts a Valkey server on this socket and tells every process by CONCORD_REDIS_URL.
VALKEY_SOCKET = VAR / "valkey.sock"
REDIS_URL = env.text("CONCORD_REDIS_URL", f"unix://{VALKEY_SOCKET}")
BROKER_URL = env.text("CONCORD_BROKER_URL", REDIS_URL.replace("unix://", "redis+socket://", 1))
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "concord-live"},
    }
}

ARTIFACTS = private_folder(Path(env.text("CONCORD_ARTIFACTS", str(VAR / "artifacts"))))
UPLOADS = private_folder(Path(env.text("CONCORD_UPLOADS", str(VAR / "uploads"))))
UPLOAD_LIMIT_BYTES = env.number("CONCORD_UPLOAD_LIMIT_MB", 512, most=1_000_000) * 1024 * 1024

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator",
                 "NumericPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "runs:list"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_TEMPLATE = "accounts/locked.html"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "webapp.accounts.client_address.counted_address"
# Proxies whose X-Forwarded-For is believed, as addresses or networks.
TRUSTED_PROXIES = env.networks("CONCORD_TRUSTED_PROXIES")
AXES_VERBOSE = False

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = VAR / "static"
STATICFILES_DIRS = [BASE_DIR / "webapp" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage" if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
}
WHITENOISE_USE_FINDERS = not PRODUCTION

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
X_FRAME_OPTIONS = "DENY"  # the pane in the playground's frame is not served by Django
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
if PRODUCTION:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 60 * 60 * 24 * 365
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

# The site's own pages; the admin and the playground's pane get their own where they need more.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "frame-src": ["'self'"],
        "frame-ancestors": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "manifest-src": ["'self'"],
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"concord": {"level": "INFO"}, "axes": {"level": "ERROR"}},
}

# Hosts that judges may be at although they are not public, and may be asked over plain http.
JUDGE_ALLOWED_HOSTS = env.words("CONCORD_JUDGE_ALLOWED_HOSTS", "" if PRODUCTION else "localhost,127.0.0.1,::1")

# Which hosts a judge's key of this environment may be sent to: "CONCORD_JUDGE_LAB_KEY=vllm.lan, ..."; a laptop may
# also send them to itself.
JUDGE_KEY_HOSTS = env.lists("CONCORD_JUDGE_KEY_HOSTS")
JUDGE_KEYS_TO_LOOPBACK = not PRODUCTION

# A lost lease is taken over after this many seconds without a heartbeat.
LEASE_SECONDS = env.number("CONCORD_LEASE_SECONDS", 15, most=86_400)

# Chats that an inference worker answers at the same time; more wait for their turn.
CHATS_AT_ONCE = env.number("CONCORD_CHATS_AT_ONCE", 8, most=64)
env.refuse_misspelt()
DEMO_USER, DEMO_PASSWORD = "demo", "concord-demo"
UNFOLD = {
    "SITE_TITLE": "Concord review", "SITE_HEADER": "Concord review", "SITE_URL": "/",
    "SITE_ICON": lambda request: static("img/mark.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("img/mark.svg")}],
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": [
        {"title": "Concord", "items": [
            {"title": title, "icon": icon, "link": reverse_lazy(address), "active": False} for title, icon, address in (
                ("Runs", "play_circle", "runs:list"), ("Principles", "balance", "principles:list"),
                ("Datasets", "database", "datasets:list"), ("Labels", "label", "labels:list"),
                ("Judges", "gavel", "judges:list"), ("Playground", "forum", "playground:page"),
                ("Arena", "leaderboard", "arena:list"))]},
        {"title": "Review", "separator": True, "items": [
            {"title": "Labels", "icon": "fact_check", "link": reverse_lazy("admin:labels_label_changelist")},
            {"title": "Pairs", "icon": "compare", "link": reverse_lazy("admin:labels_pair_changelist")}]},
    ]},
}
