"""How slow is too slow, on a clock made of numbers."""

from ai_gateway.server.pace import BodyPace, WritePace
from ai_gateway.wire.framing import FramingLimits

LIMITS = FramingLimits()


def test_a_silent_body_is_too_slow_after_30_seconds() -> None:
    pace = BodyPace(0, LIMITS)
    assert not pace.is_too_slow(1, 1_000_000, False)
    assert not pace.is_too_slow(30.9, 1_000_000, False)
    assert pace.is_too_slow(31, 1_000_000, False)


def test_a_body_of_one_byte_per_second_is_too_slow_once_the_grace_is_over() -> None:
    pace = BodyPace(0, LIMITS)
    assert not any(pace.is_too_slow(second, second, False) for second in range(31))
    assert pace.is_too_slow(31, 31, False)


def test_a_slow_body_above_the_rate_may_take_hours() -> None:
    pace = BodyPace(0, LIMITS)
    assert not any(pace.is_too_slow(second, second * 1025, False) for second in range(0, 7200, 5))


def test_time_in_which_the_gateway_did_not_read_is_not_the_clients() -> None:
    pace = BodyPace(0, LIMITS)
    assert not any(pace.is_too_slow(second, 65536, True) for second in range(1000))
    assert not pace.is_too_slow(1028, 65536, False)


def test_a_client_that_reads_nothing_is_stuck_after_60_seconds() -> None:
    pace = WritePace(LIMITS)
    assert not pace.is_stuck(0, 70_000)
    assert not pace.is_stuck(59, 70_000)
    assert pace.is_stuck(60, 70_000)


def test_a_client_that_reads_a_little_is_not_stuck() -> None:
    pace = WritePace(LIMITS)
    assert not any(pace.is_stuck(second, 70_000 - second) for second in range(1000))


def test_a_client_that_caught_up_has_the_whole_time_again() -> None:
    pace = WritePace(LIMITS)
    pace.is_stuck(0, 70_000)
    pace.moved()
    assert not pace.is_stuck(70, 70_000)
    assert not pace.is_stuck(71, 0)
    assert not pace.is_stuck(200, 70_000)
