"""What the server has done so far, as text for Prometheus."""

import time
from collections import Counter

from charloom.serve.engine import Engine

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)  # seconds


class Meter:
    """Counts of what was answered, and how long the first characters took."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()  # by route and status
        self._started = time.time()

    def text(self, engine: Engine) -> str:
        """Return all figures in Prometheus' format."""
        counts = engine.counts
        figures = [
            ("characters_written_total", "counter", "ids drawn for texts", counts.written),
            ("characters_prompted_total", "counter", "ids of prompts read", counts.prompted),
            ("jobs_cancelled_total", "counter", "requests whose client left", counts.cancelled),
            ("jobs_failed_total", "counter", "requests that failed", counts.failed),
            ("busy_seconds_total", "counter", "that the engine computed", counts.busy_seconds),
            ("slots", "gauge", "texts that fit at once", engine.slots),
            ("slots_used", "gauge", "texts that are written", engine.used),
            ("queue_length", "gauge", "requests that wait", engine.queued),
            ("start_time_seconds", "gauge", "when the server started", self._started),
        ]
        lines = []
        for name, kind, what, value in figures:
            lines += [f"# HELP charloom_{name} {what}", f"# TYPE charloom_{name} {kind}"]
            lines.append(f"charloom_{name} {value}")
        return "\n".join(lines) + "\n"
