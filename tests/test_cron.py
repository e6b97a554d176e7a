"""When a recurring run starts: what people write, what Kubeflow reads, and what makes no sense."""

import pytest

from inkloop.errors import UserError
from pipeline.cron import for_kubeflow


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        (" 30  4 1,15 * 5 ", "0 30 4 1,15 * 5"),
        ("*/10 8-18 * * MON-fri", "0 */10 8-18 * * MON-fri"),
        ("0 3 29 2 *", "0 0 3 29 2 *"),
        ("0 3 31 2 1", "0 0 3 31 2 1"),  # the 31st never comes in February, but Mondays do
        ("15 0 3 * * 0", "15 0 3 * * 0"),
        ("@daily", "0 0 0 * * *"),
    ],
)
def test_minutes_come_first_for_people_and_seconds_for_kubeflow(written: str, read: str):
    """Of five fields Kubeflow would take the first for seconds, and run every hour."""
    assert for_kubeflow(written) == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "give minute, hour, day"),
        ("daily", "give minute, hour, day"),
        ("3 * *", "give minute, hour, day"),
        ("60 3 * * *", "the minute '60' is not within 0 to 59"),
        ("0 25 * * *", "the hour '25' is not within 0 to 23"),
        ("0 3 0 * *", "the day of the month '0' is not within 1 to 31"),
        ("0 3 * 13 *", "the month '13' is not within 1 to 12"),
        ("0 3 * * 7", "the day of the week '7' is not within 0 to 6"),
        ("0 3 * * MOON", "the day of the week 'MOON' is not within 0 to 6"),
        ("0 18-8 * * *", "the hour '18-8' ends before it begins"),
        ("*/0 * * * *", r"the minute '\*/0' has a step of 0"),
        ("-5 3 * * *", "the minute '-5' is not a number"),
        ("1;2 3 * * *", "the minute '1;2' is not a number"),
        ("0 3 31 4,6 *", "that day never comes"),
        ("* * * * * *", "of six fields the first is the second, and a run may start once a minute at most"),
        ("@every 1h", "give minute, hour, day"),
        ("@reboot", "give minute, hour, day"),
    ],
)
def test_what_is_no_cron_or_comes_too_often_or_never_is_refused(written: str, said: str):
    with pytest.raises(UserError, match=f"^CRON .*: {said}"):
        for_kubeflow(written)
