"""/metrics in the Prometheus text format: figures that their owners keep, read when asked for.

Open to whoever reaches the port, so there is no name of a room or viewer in it and no key: labels are
protocols, codecs and the like, from sets that the program knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE

# By label value, or by a tuple of them; Any, because the keys of a Mapping type are invariant.
Figures: TypeAlias = float | Mapping[Any, float]
Read: TypeAlias = Callable[[], Figures]


@dataclass(frozen=True, slots=True)
class Source:
    family: type[GaugeMetricFamily] | type[CounterMetricFamily]
    name: str
    help: str
    labels: tuple[str, ...]
    read: Read


class Sources(Collector):
    """Reads every source, one sample for each set of label values."""

    def __init__(self) -> None:
        self.all: list[Source] = []

    def collect(self) -> Iterator[Metric]:
        for source in self.all:
            family = source.family(source.name, source.help, labels=source.labels)
            figures = source.read()
            if isinstance(figures, Mapping):
                for values, figure in figures.items():
                    family.add_metric((values,) if isinstance(values, str) else values, figure)
            else:
                family.add_metric((), figures)
            yield family


class Metrics:
    """The process's figures and those that are added, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._sources = Sources()
        self.registry.register(self._sources)
        ProcessCollector(registry=self.registry)

    def gauge(self, name: str, help: str, read: Read, labels: Sequence[str] = ()) -> None:
        """Add a figure that goes up and down, for instance `hawker_viewers` by `protocol`.

        `read` returns the figure, or with labels {value or (value, value): figure}.
        """
        self._add(GaugeMetricFamily, name, help, read, labels)

    def counter(self, name: str, help: str, read: Read, labels: Sequence[str] = ()) -> None:
        """Add a figure that only grows; its name ends in `_total`."""
        if not name.endswith("_total"):
            raise ValueError(f"{name}: a counter's name ends in _total")
        self._add(CounterMetricFamily, name, help, read, labels)

    def render(self) -> bytes:
        """All figures now, in the text format."""
        return generate_latest(self.registry)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/metrics", self._get)]

    @operation("Figures in the Prometheus text format", "server", reply="text/plain")
    async def _get(self, request: web.Request) -> web.Response:
        headers = {**NO_STORE, "Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=self.render(), headers=headers)

    def _add(
        self,
        family: type[GaugeMetricFamily] | type[CounterMetricFamily],
        name: str,
        help: str,
        read: Read,
        labels: Sequence[str],
    ) -> None:
        if any(source.name == name for source in self._sources.all):
            raise ValueError(f"{name} is there already")
        self._sources.all.append(Source(family, name, help, tuple(labels), read))
