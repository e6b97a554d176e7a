"""How often one address may ask: a token bucket each (Turner 1986, "New directions in communications")."""

from collections import OrderedDict


class Rates:
    """A token bucket for each of the addresses seen last; a decision takes a microsecond."""

    KEPT = 10_000  # addresses

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, float(burst)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when that was

    def wait_s(self, address: str, now: float) -> float:
        """Take a token: 0 if there was one, else the seconds until there is."""
        left, then = self._buckets.pop(address, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._per_s)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_s
        self._buckets[address] = (left if wait else left - 1, now)
        if len(self._buckets) > self.KEPT:
            self._buckets.popitem(last=False)
        return wait

    def give_back(self, address: str) -> None:
        """Put back a token that was taken for what turned out to be welcome."""
        if address in self._buckets:
            left, then = self._buckets[address]
            self._buckets[address] = (min(self._burst, left + 1), then)
