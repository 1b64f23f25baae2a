"""How Kafka is reached: in the clear, by TLS, by a password, or by a certificate of our own."""

import socket
import ssl
from typing import Any

from stream.domain.errors import BrokerError
from stream.kafka.settings import KafkaSettings

PROBE_SECONDS = 5.0


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Checks the broker's certificate and name; with a certificate of our own where one is set.

    None where TLS is not asked for.  Raises BrokerError where a file cannot be used.
    """
    if not settings.security_protocol.endswith("ssl"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca)
        if settings.ssl_cert is not None:
            context.load_cert_chain(settings.ssl_cert, settings.ssl_key)
    except (OSError, ssl.SSLError) as error:
        files = [settings.ssl_ca, settings.ssl_cert, settings.ssl_key]
        told = ", ".join(str(file) for file in files if file)
        raise BrokerError(f"kafka's TLS files cannot be used ({told}): {error}") from error
    return context


def diagnosis(settings: KafkaSettings) -> str:
    """Why a broker that takes connections cannot be spoken with: the clients themselves only time out."""
    context = ssl_context(settings)
    if context is not None:
        host, _, port = settings.bootstrap_servers.split(",")[0].strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS) as plain:
                context.wrap_socket(plain, server_hostname=host.strip("[]")).close()
        except (OSError, ValueError) as error:
            return f"TLS fails: {error}"
    if settings.uses_password:
        return "check kafka.username, kafka.password and kafka.sasl_mechanism"
    return "check kafka.security_protocol"


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """What kafka-python's clients need for it."""
    options: dict[str, Any] = {"security_protocol": settings.security_protocol.upper()}
    if context := ssl_context(settings):
        options["ssl_context"] = context
    if settings.uses_password:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password.get_secret_value() if settings.password else None
    return options
