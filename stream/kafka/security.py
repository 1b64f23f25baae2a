"""How clients connect to Kafka: unencrypted or with TLS, with a password or a client certificate."""

import socket
import ssl
from typing import Any

from stream.domain.errors import BrokerError
from stream.kafka.settings import KafkaSettings

PROBE_SECONDS = 5.0


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """A context that verifies the broker's certificate and host name; None if the settings do not use TLS.

    It presents a client certificate if one is set.  Raises BrokerError if a PEM file cannot be used.
    """
    if not settings.security_protocol.endswith("ssl"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca)
        if settings.ssl_cert is not None:
            context.load_cert_chain(settings.ssl_cert, settings.ssl_key)
    except (OSError, ssl.SSLError) as error:
        paths = (settings.ssl_ca, settings.ssl_cert, settings.ssl_key)
        files = ", ".join(str(path) for path in paths if path)
        raise BrokerError(f"kafka's TLS files cannot be used ({files}): {error}") from error
    return context


def diagnosis(settings: KafkaSettings) -> str:
    """The likely reason why a client fails although the broker accepts connections.

    The clients themselves only report a timeout.
    """
    context = ssl_context(settings)
    if context is not None:
        host, _, port = settings.bootstrap_servers.split(",")[0].strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS) as connection:
                context.wrap_socket(connection, server_hostname=host.strip("[]")).close()
        except (OSError, ValueError) as error:
            return f"TLS fails: {error}"
    if settings.uses_password:
        return "check kafka.username, kafka.password and kafka.sasl_mechanism"
    return "check kafka.security_protocol"


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """The security options of kafka-python's clients, which aiokafka shares."""
    options: dict[str, Any] = {"security_protocol": settings.security_protocol.upper()}
    if context := ssl_context(settings):
        options["ssl_context"] = context
    if settings.uses_password:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password.get_secret_value() if settings.password else None
    return options
