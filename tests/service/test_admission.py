"""The bounded queue: its exact edge, its order, its way out."""

import threading
import time

import pytest

from dia.errors import Cancelled, DeadlineExceeded, EngineStopped, QueueFull
from dia.service.admission import Admission, Place


def test_the_edge_is_exact_and_does_not_drift():
    admission = Admission(workers=1, capacity=8)
    for _ in range(20):
        taken: list[Place] = []
        refused: list[QueueFull] = []
        lock = threading.Lock()

        def ask(taken: list[Place] = taken, refused: list[QueueFull] = refused, lock: threading.Lock = lock) -> None:
            try:
                place = admission.reserve("interactive")
            except QueueFull as full:
                with lock:
                    refused.append(full)
            else:
                with lock:
                    taken.append(place)

        threads = [threading.Thread(target=ask) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(taken), len(refused)) == (9, 55)
        assert all(error.retry_after_s is not None and 1 <= error.retry_after_s <= 600 for error in refused)
        assert admission.numbers().running == 1
        for place in taken:
            place.leave()
            place.leave()
        assert (admission.numbers().running, admission.numbers().waiting) == (0, 0)


def test_interactive_goes_before_batch_and_each_in_order():
    admission = Admission(workers=1, capacity=10)
    running = admission.reserve("batch")
    places = {
        name: admission.reserve("batch" if name[0] == "b" else "interactive") for name in ("b1", "i1", "b2", "i2")
    }
    assert {name: place.position for name, place in places.items()} == {"i1": 0, "i2": 1, "b1": 2, "b2": 3}
    order = []
    for _ in range(4):
        running.leave()
        name, running = next((name, place) for name, place in places.items() if place.has_turn)
        order.append(name)
        del places[name]
    assert order == ["i1", "i2", "b1", "b2"]


def test_never_more_run_than_there_are_workers():
    admission = Admission(workers=3, capacity=100)
    places = [admission.reserve("batch") for _ in range(40)]
    left = 0
    while any(place.has_turn for place in places):
        running = [place for place in places if place.has_turn]
        assert len(running) == min(3, 40 - left)
        running[-1].leave()
        left += 1
    assert left == 40


def test_a_place_that_is_left_while_waiting_never_gets_a_turn():
    admission = Admission(workers=1, capacity=2)
    first, second, third = (admission.reserve("interactive") for _ in range(3))
    with pytest.raises(QueueFull):
        admission.reserve("interactive")
    second.leave()
    assert third.position == 0
    admission.reserve("interactive").leave()
    first.leave()
    assert (second.has_turn, third.has_turn) == (False, True)
    with pytest.raises(Cancelled):
        second.wait(1)


def test_a_wait_ends_at_its_time_and_gives_the_place_up():
    admission = Admission(workers=1, capacity=2)
    first, second = admission.reserve("interactive"), admission.reserve("interactive")
    with pytest.raises(DeadlineExceeded, match="queue"):
        second.wait(0.01)
    assert admission.numbers().waiting == 0
    first.leave()
    assert not second.has_turn


def test_turns_are_called_back_once():
    admission = Admission(workers=1, capacity=2)
    called: list[str] = []
    first, second = admission.reserve("interactive"), admission.reserve("interactive")
    first.on_turn(lambda: called.append("first"))
    second.on_turn(lambda: called.append("second"))
    assert called == ["first"]
    first.leave()
    second.leave()
    assert called == ["first", "second"]


def test_when_to_come_back_follows_what_was_measured(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(workers=2, capacity=0)
    assert admission.retry_after_s() == 5.0  # a first guess of 10 s for each of two workers
    place = admission.reserve("interactive")
    now[0] += 40.0
    place.leave()
    assert admission.retry_after_s() == 20.0
    place = admission.reserve("interactive")
    now[0] += 100_000.0
    place.leave()
    assert admission.retry_after_s() == 600.0


def test_nobody_starts_while_paused():
    admission = Admission(workers=1, capacity=2)
    admission.pause()
    place = admission.reserve("interactive")
    assert not place.has_turn
    admission.resume()
    assert place.has_turn


def test_closing_refuses_new_ones_starts_none_and_waits_for_the_running():
    admission = Admission(workers=1, capacity=2)
    running, waiting = admission.reserve("interactive"), admission.reserve("interactive")
    assert admission.close(0.01) is False
    with pytest.raises(EngineStopped):
        admission.reserve("interactive")
    threading.Timer(0.05, running.leave).start()
    assert admission.close(5) is True
    assert not waiting.has_turn


def test_old_jobs_come_in_beyond_the_bound():
    admission = Admission(workers=1, capacity=0)
    admission.reserve("batch")
    admission.reserve("batch", beyond_capacity=True)
    with pytest.raises(QueueFull):
        admission.reserve("batch")


def test_waits_and_runs_are_measured(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(workers=1, capacity=3)
    assert (admission.numbers().mean_wait_s, admission.numbers().mean_run_s) == (0.0, 0.0)
    first, second = admission.reserve("batch"), admission.reserve("batch")
    assert second.wait_s == 0.0
    now[0] += 10.0
    first.leave()
    assert (first.wait_s, second.wait_s) == (0.0, 10.0)
    assert (admission.numbers().mean_wait_s, admission.numbers().mean_run_s) == (10.0, 10.0)
    third = admission.reserve("batch")
    now[0] += 20.0
    second.leave()
    assert third.wait_s == 20.0
    assert admission.numbers().mean_wait_s == pytest.approx(12.0)  # the newest counts a fifth
    assert admission.numbers().mean_run_s == pytest.approx(12.0)


def test_when_to_come_back_counts_those_beyond_the_bound_and_is_never_under_a_second(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(workers=1, capacity=4)
    places = [admission.reserve("batch", beyond_capacity=True) for _ in range(4)]
    assert admission.retry_after_s() == 10.0  # three wait where four may
    places += [admission.reserve("batch", beyond_capacity=True) for _ in range(3)]
    assert admission.retry_after_s() == 30.0  # six wait
    for place in places:
        now[0] += 0.1
        place.leave()
    assert admission.retry_after_s() == 1.0


def test_positions_are_of_those_that_wait():
    admission = Admission(workers=1, capacity=4)
    running, second, third, fourth = (admission.reserve("batch") for _ in range(4))
    assert [place.position for place in (running, second, third, fourth)] == [0, 0, 1, 2]
    third.leave()
    assert (third.position, fourth.position) == (0, 1)


def test_no_time_to_wait_is_over_at_once():
    admission = Admission(workers=1, capacity=2)
    admission.reserve("batch")
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        admission.reserve("batch").wait(-5.0)
    assert time.monotonic() - began < 0.9


def test_a_server_that_stops_says_when_to_come_back():
    admission = Admission(workers=1, capacity=2)
    assert not admission.is_closed
    assert admission.close(0.0)
    assert admission.is_closed
    with pytest.raises(EngineStopped) as refused:
        admission.reserve("batch")
    assert refused.value.retry_after_s == 10.0
