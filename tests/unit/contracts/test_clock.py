from __future__ import annotations

from specframe.contracts.clock import PhaseClock


class Device:
    """Finishes work when it is told to, and writes down who waits for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self.waited = 0

    def event(self) -> Event:
        self.events += 1
        return Event(self)


class Event:
    def __init__(self, device: Device) -> None:
        self.device = device

    def record(self) -> None:
        self.at = self.device.now

    def synchronize(self) -> None:
        self.device.waited += 1

    def elapsed_time(self, end: Event) -> float:
        return 1000 * (end.at - self.at)


def test_on_the_host_the_phases_sum_to_the_time_since_the_start() -> None:
    clock = PhaseClock()
    clock.start()
    clock.lap("prefill")
    clock.lap("target_pass")
    clock.lap("prefill")
    assert clock.seconds.keys() == {"prefill", "target_pass"}
    assert all(spent >= 0 for spent in clock.seconds.values())


def run(clock: PhaseClock, device: Device) -> None:
    clock.start()
    for phase, spent in (("draft_head", 2.0), ("target_pass", 5.0), ("draft_head", 1.0)):
        device.now += spent
        clock.lap(phase)


def test_on_a_device_times_lie_between_events() -> None:
    device = Device()
    clock = PhaseClock(device.event)
    run(clock, device)
    assert clock.seconds == {"draft_head": 3.0, "target_pass": 5.0}
    assert clock.seconds == {"draft_head": 3.0, "target_pass": 5.0}


def test_no_lap_waits_for_the_device() -> None:
    device = Device()
    run(clock := PhaseClock(device.event), device)
    assert device.waited == 0
    assert clock.seconds
    assert device.waited == 1


def test_the_next_generation_uses_the_events_again_and_forgets_the_last_laps() -> None:
    device = Device()
    clock = PhaseClock(device.event)
    run(clock, device)
    run(clock, device)
    assert device.events == 4
    assert clock.seconds == {"draft_head": 3.0, "target_pass": 5.0}
    clock.start()
    assert clock.seconds == {}


def test_a_split_has_the_time_since_the_one_before() -> None:
    now = iter([0.0, 1.0, 3.0, 3.5, 10.0])
    clock = PhaseClock(now=lambda: next(now))
    clock.start()
    clock.lap("draft_head")
    clock.lap("target_pass")
    assert clock.split() == {"draft_head": 1.0, "target_pass": 2.0}
    clock.lap("target_pass")
    clock.lap("other")
    assert clock.split() == {"draft_head": 0.0, "target_pass": 0.5, "other": 6.5}
    assert clock.seconds == {"draft_head": 1.0, "target_pass": 2.5, "other": 6.5}


def test_on_a_device_a_split_ends_with_the_pass_whose_verdict_is_there() -> None:
    device = Device()
    clock = PhaseClock(device.event)
    run(clock, device)
    assert clock.split() == {"draft_head": 2.0, "target_pass": 5.0}
    assert clock.split() == {}
    device.now += 4.0
    clock.lap("target_pass")
    assert clock.split() == {"draft_head": 1.0, "target_pass": 4.0}
