"""What the service counts, for Prometheus."""

from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True, eq=False)
class Metrics:
    """Counters of one server, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    requests: Counter = field(init=False)
    seconds: Histogram = field(init=False)
    images: Counter = field(init=False)
    batches: Histogram = field(init=False)
    model_seconds: Counter = field(init=False)

    def __post_init__(self) -> None:
        own = self.registry
        self.requests = Counter(
            "qdebias_requests", "Requests by route and HTTP status.", ("route", "method", "status"), registry=own
        )
        self.seconds = Histogram(
            "qdebias_request_seconds", "Time from request to answer.", ("route",), buckets=SECONDS, registry=own
        )
        self.images = Counter(
            "qdebias_images",
            "Images by what became of them: scored, or the code of an error.",
            ("outcome",),
            registry=own,
        )
        self.batches = Histogram(
            "qdebias_batch_images",
            "Images that went to the model together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=own,
        )
        self.model_seconds = Counter("qdebias_model_seconds", "Time in which the model worked.", registry=own)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Export a number that is read when somebody asks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def batch(self, count: int, seconds: float) -> None:
        """Note a batch."""
        self.batches.observe(count)
        self.model_seconds.inc(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
