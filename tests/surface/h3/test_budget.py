from nova.surface.h3.budget import BURST, Budget


def test_work_below_the_share_never_waits() -> None:
    budget, now = Budget(0.5), 100.0
    for _ in range(1000):
        now += 0.004
        budget.spend(0.0015, now)
        assert budget.wait(now) == 0


def test_work_above_the_share_waits_until_it_is_within() -> None:
    budget, now, used = Budget(0.25), 100.0, 0.0
    for _ in range(1000):
        now += 0.002
        used += 0.002
        budget.spend(0.002, now)
        now += budget.wait(now)
    assert used <= 0.25 * (now - 100.0) + BURST + 0.002


def test_rest_saves_up_one_burst_only() -> None:
    budget = Budget(0.5)
    budget.spend(BURST, 1000.0)
    assert budget.wait(1000.0) == 0
    budget.spend(0.001, 1000.0)
    assert budget.wait(1000.0) == 0.002


def test_the_whole_thread_is_no_bound() -> None:
    budget = Budget(1.0)
    budget.spend(10.0, 1.0)
    assert budget.wait(1.0) == 0
