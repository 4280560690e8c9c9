import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.packing import Item, pack
from cluster.resources import Resources


@st.composite
def _items(draw):
    keys = draw(st.lists(st.integers(0, 999), unique=True, max_size=40))
    return [
        Item(
            run_key=f"{key:03d}",
            payload=key,
            program=draw(st.sampled_from("pq")),
            data=draw(st.sampled_from("de")),
            cost=draw(st.sampled_from([0.0, 1.0, 1.5, 40.0])),
            resources=draw(st.sampled_from([Resources(), Resources(cpus=2)])),
        )
        for key in keys
    ]


def _item(key: str, cost: float = 1.0, program: str = "p") -> Item:
    return Item(key, None, program, "d", cost, Resources())


@given(_items(), st.integers(1, 9), st.integers(1, 4))
def test_each_item_travels_once_with_its_like_and_in_packs_within_the_width(items, width, n_workers):
    packs = pack(items, width, n_workers)
    assert sorted(i.run_key for p in packs for i in p.items) == sorted(i.run_key for i in items)
    for p in packs:
        assert 1 <= len(p.items) <= width
        assert len({(i.program, i.data, i.resources) for i in p.items}) == 1


@given(_items(), st.integers(1, 9), st.integers(1, 4), st.randoms())
def test_packs_do_not_depend_on_the_order_of_items_and_the_most_expensive_comes_first(items, width, n_workers, random):
    packs = pack(items, width, n_workers)
    shuffled = random.sample(items, len(items))
    assert pack(shuffled, width, n_workers) == packs
    costs = [p.cost for p in packs]
    assert costs == sorted(costs, reverse=True)


def test_without_workers_to_share_with_packs_are_as_few_as_the_width_allows_and_equal_in_size():
    packs = pack([_item(f"{i:02d}") for i in range(17)], width=16)
    assert sorted(len(p.items) for p in packs) == [8, 9]


@pytest.mark.parametrize(("n_workers", "sizes"), [(1, [12]), (2, [6, 6]), (5, [2, 2, 2, 3, 3])])
def test_one_group_is_spread_over_all_workers(n_workers, sizes):
    packs = pack([_item(f"{i:02d}") for i in range(12)], width=16, n_workers=n_workers)
    assert sorted(len(p.items) for p in packs) == sizes


def test_a_cheap_group_stays_together_while_an_expensive_one_is_cut():
    cheap = [_item(f"cheap-{i}", 1.0, "cheap") for i in range(6)]
    dear = [_item(f"dear-{i}", 100.0, "dear") for i in range(3)]
    packs = pack([*cheap, *dear], width=16, n_workers=2)
    assert [(p.items[0].program, len(p.items)) for p in packs] == [("dear", 2), ("dear", 1), ("cheap", 6)]


def test_items_of_similar_cost_share_a_pack():
    packs = pack([_item("a", 9), _item("b", 1), _item("c", 8), _item("d", 2)], width=2)
    assert [[i.cost for i in p.items] for p in packs] == [[9, 8], [2, 1]]


@pytest.mark.parametrize(("width", "n_workers"), [(0, 1), (1, 0)])
def test_a_pack_without_room_and_no_worker_are_refused(width, n_workers):
    with pytest.raises(ValueError, match="at least 1 each"):
        pack([], width, n_workers)
