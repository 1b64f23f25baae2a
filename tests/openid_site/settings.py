"""Django's settings of the provider; the folder of its data and its address come from the environment."""

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

LOGIN_FORM = """<form method="post">{% csrf_token %}{{ form }}<button>Log in</button></form>"""


def _new_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form).decode()


SECRET_KEY = "of-the-tests"
ROOT_URLCONF = "tests.openid_site.urls"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["OPENID_FOLDER"]) / "provider.db",
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "oauth2_provider",
]
# The tables are made at once: to run every migration takes long.
MIGRATION_MODULES = dict.fromkeys(("auth", "contenttypes", "sessions", "oauth2_provider"))
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [("django.template.loaders.locmem.Loader", {"login.html": LOGIN_FORM})],
            "context_processors": ["django.contrib.auth.context_processors.auth"],
        },
    }
]
LOGIN_URL = "/accounts/login/"
# Quick hashes: the provider's passwords are not what is tested.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
OAUTH2_PROVIDER = {
    "OIDC_ENABLED": True,
    "OIDC_ISS_ENDPOINT": os.environ["OPENID_ISSUER"],
    "OIDC_RSA_PRIVATE_KEY": _new_key(),
    "OAUTH2_VALIDATOR_CLASS": "tests.openid_site.claims.Claims",
    "PKCE_REQUIRED": True,
    "SCOPES": {"openid": "", "profile": "", "email": ""},
}
