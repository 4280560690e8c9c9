import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.packing import LOCK_STEP, LOOK_AHEAD, PACK_SECONDS, Item, Pack, Speeds, Taker, Waiting
from cluster.resources import Resources

CPU, GPU, TWO_CPUS = Resources(), Resources(gpus=1), Resources(cpus=2)


@st.composite
def _items(draw):
    keys = draw(st.lists(st.integers(0, 999), unique=True, max_size=40))
    return [
        Item(
            run_key=f"{key:03d}",
            payload=key,
            program=draw(st.sampled_from("pq")),
            data=draw(st.sampled_from("de")),
            cost=draw(st.sampled_from([0.01, 1.0, 1.5, 40.0])),
            resources=draw(st.sampled_from([CPU, TWO_CPUS, GPU])),
            memory_bytes=draw(st.sampled_from([0, 10])),
        )
        for key in keys
    ]


def _item(key: str, cost: float = 1.0, program: str = "p", resources: Resources = CPU, memory: int = 0) -> Item:
    return Item(key, None, program, "d", cost, resources, memory)


def _many(n: int, cost: float = 1.0, program: str = "p", **others) -> list[Item]:
    return [_item(f"{program}-{i:05d}", cost, program, **others) for i in range(n)]


def _waiting(items, width: int = 64, **seconds_per_cost: float) -> Waiting:
    waiting = Waiting(items, width)
    for program, rate in seconds_per_cost.items():
        waiting.speeds.note(program, 1.0, rate)
    waiting.fill()
    return waiting


def _keys(pack: Pack | None) -> list[str]:
    assert pack is not None
    return [item.run_key for item in pack.items]


def _sizes(waiting: Waiting, taker: Taker) -> list[int]:
    sizes = []
    while pack := waiting.take(taker, {}):
        sizes.append(len(pack.items))
    return sizes


@given(_items(), st.integers(1, 40), st.integers(1, 4), st.sampled_from([{}, {"p": 0.1}, {"p": 3.0, "q": 1e-9}]))
def test_each_item_travels_once_with_its_like_and_in_packs_within_width_and_memory(items, width, n_workers, speeds):
    waiting, taken = _waiting(items, width, **speeds), []
    for resources in (CPU, TWO_CPUS, GPU):
        while pack := waiting.take(Taker(resources, n_workers, memory=25.0), {}):
            assert len(pack.items) <= width
            assert len({(i.program, i.data) for i in pack.items}) == 1
            assert {i.resources for i in pack.items} == {resources}
            assert sum(i.memory_bytes for i in pack.items) <= 25
            taken += _keys(pack)
    assert sorted(taken) == sorted(item.run_key for item in items)
    assert len(waiting) == 0
    assert waiting.kinds() == {}


def test_of_a_program_that_was_never_measured_one_run_travels():
    assert _sizes(_waiting(_many(5)), Taker(CPU)) == [1] * 5


def test_packs_take_about_as_long_as_they_should():
    assert _sizes(_waiting(_many(100), p=PACK_SECONDS / 20), Taker(CPU))[:3] == [20] * 3
    assert _sizes(_waiting(_many(3), p=10 * PACK_SECONDS), Taker(CPU)) == [1] * 3


def test_fast_runs_travel_in_packs_of_the_width():
    assert _sizes(_waiting(_many(300), p=1e-6), Taker(CPU))[:4] == [64] * 4


def test_towards_the_end_packs_are_a_fair_share_of_what_is_left():
    assert _sizes(_waiting(_many(100), p=1e-6), Taker(CPU, share_of=4)) == [
        25, 18, 14, 10, 8, 6, 4, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1
    ]  # fmt: skip


def test_a_fair_share_is_of_all_that_waits_for_such_a_worker():
    waiting = _waiting([*_many(6, 2.0, "cheap"), *_many(3, 100.0, "dear")], cheap=1e-6, dear=1e-6)
    packs = [_keys(waiting.take(Taker(CPU, share_of=2), {})) for _ in range(4)]
    assert packs == [["dear-00000"], ["dear-00001"], ["dear-00002"], [f"cheap-{i:05d}" for i in range(3)]]


def test_memory_bounds_a_pack_and_a_run_that_is_too_large_by_itself_travels_alone():
    assert _sizes(_waiting(_many(6, memory=40), p=1e-6), Taker(CPU, memory=100)) == [2, 2, 2]
    assert _sizes(_waiting(_many(2, memory=400), p=1e-6), Taker(CPU, memory=100)) == [1, 1]


def test_on_an_accelerator_whole_lock_step_groups_travel():
    gpu = Taker(GPU, share_of=3)
    assert _sizes(_waiting(_many(100, resources=GPU)), gpu) == [16, 16, 16, 16, 16, 16, 4]
    assert _sizes(_waiting(_many(200, resources=GPU), p=1e-6), gpu) == [64, 32, 32, 16, 16, 16, 16, 8]
    assert _sizes(_waiting(_many(40, resources=GPU), p=100.0), gpu) == [16, 16, 8]


def test_the_lock_step_is_that_of_the_models():
    from models.inference.lock_step import WIDTH  # imports JAX

    assert LOCK_STEP == WIDTH


def test_the_most_costly_runs_go_first_however_they_came():
    waiting = _waiting([_item("a", 1), _item("b", 40), _item("c", 9), _item("d", 0.1)])
    assert [_keys(waiting.take(Taker(CPU), {})) for _ in range(4)] == [["b"], ["c"], ["a"], ["d"]]


def test_runs_of_similar_cost_share_a_pack():
    waiting = _waiting([_item("a", 9), _item("b", 1), _item("c", 8), _item("d", 1.5)], p=1e-6)
    assert [_keys(waiting.take(Taker(CPU), {})) for _ in range(2)] == [["a", "c"], ["b", "d"]]


def test_a_worker_stays_with_the_program_that_it_has_compiled():
    waiting = _waiting([*_many(4, program="p"), *_many(2, program="q")])
    assert _keys(waiting.take(Taker(CPU, last="q"), {"p": 1, "q": 1})) == ["q-00000"]
    assert _keys(waiting.take(Taker(CPU, last="q"), {"p": 1, "q": 1})) == ["q-00001"]
    assert _keys(waiting.take(Taker(CPU, last="q"), {"p": 1, "q": 1})) == ["p-00000"]


def test_a_worker_goes_where_most_runs_wait_for_each_worker():
    waiting = _waiting([*_many(6, program="p"), *_many(4, program="q")])
    assert _keys(waiting.take(Taker(CPU), {})) == ["p-00000"]
    assert _keys(waiting.take(Taker(CPU), {"p": 1})) == ["q-00000"]
    assert _keys(waiting.take(Taker(CPU), {"p": 1, "q": 1})) == ["p-00001"]


def test_what_was_taken_back_goes_before_others_of_its_kind():
    waiting = _waiting(_many(4), p=PACK_SECONDS / 2)
    first = waiting.take(Taker(CPU), {})
    assert first is not None
    waiting.put_back(first.items[1:])
    assert _keys(waiting.take(Taker(CPU), {})) == ["p-00001", "p-00002"]


def test_a_run_that_a_worker_died_of_travels_alone_and_to_another_machine_if_it_can():
    waiting = _waiting(_many(4), p=1e-6)
    first = waiting.take(Taker(CPU), {})
    assert first is not None
    waiting.put_alone(first.items[0], "here")
    waiting.put_back(first.items[1:3])
    assert len(_keys(waiting.take(Taker(CPU, node="here"), {}))) == 2
    assert _keys(waiting.take(Taker(CPU, node="there"), {})) == ["p-00000"]
    waiting.put_alone(first.items[3], "here")
    assert _keys(waiting.take(Taker(CPU, node="here"), {})) == ["p-00003"]


def test_kinds_are_told_those_with_a_gpu_first_then_by_cost():
    items = [*_many(2, 1.0), *_many(3, 90.0, "q", resources=TWO_CPUS), *_many(1, 0.1, "r", resources=GPU)]
    assert list(_waiting(items).kinds().items()) == [(GPU, 1), (TWO_CPUS, 3), (CPU, 2)]


def test_items_are_read_a_stated_number_ahead():
    source = iter(_many(5 * LOOK_AHEAD))
    waiting = Waiting(source, 64)
    waiting.fill()
    assert len(waiting) == LOOK_AHEAD
    waiting.take(Taker(CPU), {})
    waiting.fill()
    assert len(waiting) == LOOK_AHEAD
    assert waiting.read(10**9)
    assert not waiting.read(1)


def test_a_run_is_planned_once_until_it_has_ended():
    with pytest.raises(ValueError, match="run 'p-00000' is planned twice"):
        _waiting([*_many(1), *_many(1)])
    waiting = Waiting([*_many(1), *_many(1)], 64)
    waiting.read(1)
    waiting.end("p-00000")
    assert waiting.read(1)


def test_no_room_in_a_pack_is_refused():
    with pytest.raises(ValueError, match="width is 0, expected at least 1"):
        Waiting([], 0)


def test_a_speed_forgets_what_compiling_took_after_a_few_packs():
    speeds = Speeds()
    assert speeds["p"] is None
    speeds.note("p", 1.0, 8.0)
    assert speeds["p"] == 8.0
    for _ in range(5):
        speeds.note("p", 10.0, 1.0)
    speed = speeds["p"]
    assert speed is not None
    assert math.isclose(speed, 0.1, rel_tol=0.15)
