"""What a person sees of a run: each step's state, how long it takes, what it says, and an estimate of the rest."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.cache import Values

State = Literal["waiting", "running", "done", "cached", "failed"]
MARKS: dict[State, str] = {"waiting": "·", "running": "▸", "done": "✓", "cached": "=", "failed": "✗"}
STYLES: dict[State, str] = {"waiting": "dim", "running": "bold", "done": "green", "cached": "cyan", "failed": "red"}
TELLING_S = 30.0  # steps that were to take less, all together, say nothing of a machine's pace


@dataclass
class Step:
    """One step as it stands."""

    name: str
    title: str
    expected_s: float
    state: State = "waiting"
    seconds: float = 0.0  # how long it ran, 0 if taken from the cache
    since: float = 0.0  # monotonic time of its start


class Progress:
    """Shows a run on a terminal as a live table, elsewhere as a line for each start and end. Enter it as a context."""

    def __init__(
        self, titles: Mapping[str, str], expected_s: Mapping[str, float], console: Console, last_line: Callable[[], str]
    ) -> None:
        self.steps = {name: Step(name, title, expected_s.get(name, 0.0)) for name, title in titles.items()}
        console.file = console.file  # the stream as it is now, not what the run puts in its place meanwhile
        self._console, self._last_line, self._start = console, last_line, time.monotonic()
        self._live = Live(self, console=console, refresh_per_second=4, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            self._fail()
        self._live.stop()

    def started(self, step: str) -> None:
        """See `pipeline.cache.Observer.started`."""
        now = self.steps[step]
        now.state, now.since = "running", time.monotonic()
        self._say(f"{now.title} runs ({clock(self.rest_s())} to go)" if self.rest_s() else f"{now.title} runs")

    def finished(self, step: str, seconds: float, cached: bool, outputs: Values) -> None:
        """See `pipeline.cache.Observer.finished`."""
        now = self.steps[step]
        now.state, now.seconds = ("cached" if cached else "done"), seconds
        self._say(f"{now.title} {'taken from cache' if cached else f'done in {clock(seconds)}'}")

    def failed_step(self) -> Step | None:
        """The step that ran when an error ended the context, if one did."""
        return next((step for step in self.steps.values() if step.state == "failed"), None)

    def _fail(self) -> None:
        for step in self.steps.values():
            if step.state == "running":
                step.state, step.seconds = "failed", time.monotonic() - step.since
                self._say(f"{step.title} failed after {clock(step.seconds)}")

    def rest_s(self) -> float:
        """Seconds that the steps not yet finished are expected to take, if none of them comes from the cache.

        They are expected to be as much slower or faster as those that ran already were.
        """
        steps, now = list(self.steps.values()), time.monotonic()
        ran = [step for step in steps if step.state == "done" and step.expected_s]
        foreseen = sum(step.expected_s for step in ran)
        pace = sum(step.seconds for step in ran) / foreseen if foreseen >= TELLING_S else 1.0
        rest = sum(pace * step.expected_s for step in steps if step.state == "waiting")
        running = (step for step in steps if step.state == "running")
        return rest + sum(max(0.0, pace * step.expected_s - (now - step.since)) for step in running)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 2))
        for step in self.steps.values():
            now = time.monotonic()
            seconds = now - step.since if step.state == "running" else step.seconds
            took = "cached" if step.state == "cached" else clock(seconds) if step.state != "waiting" else ""
            said = self._last_line() if step.state == "running" else ""
            room = max(20, options.max_width - 34)
            row = (MARKS[step.state], step.title, Text(took, justify="right"), Text(said[:room], style="dim"))
            table.add_row(*row, style=STYLES[step.state])
        yield table
        rest = f", about {clock(self.rest_s())} to go" if self.rest_s() else ""
        yield Text(f"{clock(time.monotonic() - self._start)} so far{rest}", style="dim")

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Seconds as m:ss."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def remembered(steps: Sequence[Step]) -> dict[str, float]:
    """What the steps that really ran took, by name: the next run's estimate."""
    return {step.name: round(step.seconds, 2) for step in steps if step.state == "done"}
