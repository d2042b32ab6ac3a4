"""Metrics as Prometheus would read them."""

from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families


class Page:
    """What one scrape has brought."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in families for sample in family.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of the series of this name that have these labels."""
        return [
            one.value
            for one in self.samples
            if one.name == name and labels.items() <= one.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the only such series."""
        (found,) = self.values(name, **labels)
        return found

    def by(self, name: str, *labels: str) -> dict[object, float]:
        """Return the values of this name by some of their labels."""
        return {_key(one.labels, labels): one.value for one in self.samples if one.name == name}

    def labels(self, name: str) -> dict[str, str]:
        """Return the labels of the only series of this name."""
        (found,) = (one.labels for one in self.samples if one.name == name)
        return found


def _key(labels: dict[str, str], wanted: Iterable[str]) -> object:
    values = tuple(labels[name] for name in wanted)
    return values[0] if len(values) == 1 else values
