"""What the classifier tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram, Info

from models.weights import ModelInfo


class ModelMetrics:
    """Counted once a forward pass, never once a text."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.info = Info("sentiment_model", "The classifier that is running", registry=registry)
        self.tokens = Counter(
            "sentiment_inference_tokens", "Tokens through the network, padding included",
            registry=registry,
        )  # fmt: skip
        self.texts = Histogram(
            "sentiment_inference_batch_texts", "Texts of one forward pass",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "sentiment_inference_seconds", "Seconds of one forward pass",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10), registry=registry,
        )  # fmt: skip

    def describe(self, info: ModelInfo, device: str, dtype: str) -> None:
        self.info.info({"name": info.name, "version": info.version, "device": device, "dtype": dtype})

    def observe_forward(self, texts: int, tokens: int, seconds: float) -> None:
        self.texts.observe(texts)
        self.tokens.inc(tokens)
        self.seconds.observe(seconds)
