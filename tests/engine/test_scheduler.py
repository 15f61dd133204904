"""Who runs next."""

from dia.engine.request import Ticket
from dia.engine.scheduler import BATCH_SHARE, Scheduler
from tests.engine.parts import SMALL, again, finish, make_engine, make_model, make_request


def ticket(number: int, priority: str) -> Ticket:
    return Ticket(make_request(number, config=SMALL, priority=priority))


def test_interactive_requests_go_before_batch_ones_and_each_in_order():
    scheduler = Scheduler()
    batch = [ticket(number, "batch") for number in range(2)]
    interactive = [ticket(number, "interactive") for number in range(2)]
    for one in (*batch, *interactive):
        scheduler.add(one)
    assert [scheduler.next() for _ in range(5)] == [*interactive, *batch, None]


def test_batch_work_gets_its_share_however_many_interactive_requests_come():
    scheduler = Scheduler()
    work = ticket(0, "batch")
    scheduler.add(work)
    admitted = []
    for number in range(10):
        scheduler.add(ticket(number, "interactive"))
        admitted.append(scheduler.next())
    assert admitted.index(work) == BATCH_SHARE - 1


def test_a_ticket_put_back_is_the_next_of_its_priority():
    scheduler = Scheduler(max_waiting=2)
    first, second = ticket(0, "batch"), ticket(1, "batch")
    scheduler.add(first)
    scheduler.add(second)
    assert scheduler.next() is first
    scheduler.add(ticket(2, "batch"))
    scheduler.put_back(first)
    assert scheduler.position(first) == 0
    assert scheduler.next() is first


def test_the_engine_admits_by_priority_and_nobody_starves():
    engine = make_engine(make_model(config=SMALL), slots=1)
    blocker = engine.submit(make_request(0, frames=3, config=SMALL))
    engine.step()
    work = engine.submit(make_request(1, frames=1, config=SMALL, priority="batch"))
    quick = [engine.submit(make_request(n, frames=1, config=SMALL)) for n in range(2, 10)]
    order = []
    for _ in range(1000):
        engine.step()
        order += [one for one in (work, *quick) if one.is_done and one not in order]
        if engine.num_running + engine.num_waiting == 0:
            break
    assert blocker.status == "finished"
    assert order.index(work) == BATCH_SHARE - 1 - 1  # the blocker counted as one of the interactive ones
    assert [one for one in order if one is not work] == quick


def test_admission_fills_all_slots_at_once():
    engine = make_engine(make_model(config=SMALL), slots=3)
    request = make_request(0, frames=5, config=SMALL)
    for _ in range(5):
        engine.submit(again(request))
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (3, 2)
    finish(engine)
