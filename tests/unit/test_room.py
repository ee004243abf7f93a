"""There is room for so much, and nobody may have all of it."""

import asyncio
from collections.abc import Sequence

import pytest

from clerksync_server.errors import Overloaded
from clerksync_server.sync.coalescing import Coalescer
from clerksync_server.sync.room import Room


def taken(room: Room, group: str | None, size: int = 1) -> int:
    """How often the group gets so much."""
    number = 0
    try:
        while True:
            room.take(size, group)
            number += 1
    except Overloaded:
        return number


@pytest.mark.parametrize("size", [1, 7])
def test_without_groups_all_of_it_may_be_taken(size: int) -> None:
    """Up to the last bit, and no more."""
    assert 100 // size == taken(Room(100), None, size)


def test_a_flood_leaves_room() -> None:
    """One group has half of the room at most, two have a third each; who comes then still finds some."""
    room = Room(900)

    assert 450 == taken(room, "flood")
    assert 225 == taken(room, "second flood")
    room.take(1, "somebody")
    room.give_back(225, "second flood")
    room.give_back(450, "flood")
    room.give_back(1, "somebody")
    assert 450 == taken(room, "somebody")


def test_what_is_given_back_may_be_taken_again() -> None:
    """Whatever came between, all of the room is there in the end, and nothing is kept about the groups."""
    room = Room(100)
    for group in ("a", "b", "c", None) * 50:
        with room.taken(10, group), pytest.raises(Overloaded):
            room.take(91, group)

    assert {} == room._taken_by
    assert 10 == taken(room, None, 10)


async def test_a_full_coalescer_says_so_at_once() -> None:
    """What finds no room is Overloaded at once; what had room is done; afterwards there is room again."""

    async def work(items: Sequence[str]) -> Sequence[str | Exception]:
        return items

    coalescer: Coalescer[str, str] = Coalescer(work, lanes=1, most=4, group_of=lambda item: item[0], room=Room(10))
    submitted = [coalescer.submit(f"a{number}") for number in range(20)] + [coalescer.submit("b1")]
    refused = [future for future in submitted if future.done()]

    assert 15 == len(refused)
    assert {Overloaded} == {type(future.exception()) for future in refused}
    assert "b1" == await submitted[-1]
    assert ["a0", "a1", "a2", "a3", "a4"] == [await future for future in submitted if future not in refused][:-1]
    assert "a9" == await coalescer.ask("a9")


async def test_who_went_away_takes_up_room_as_long_as_it_is_kept() -> None:
    """Items whose callers were cancelled count until their turn, so that memory is bounded whatever callers do."""
    asked: list[str] = []

    async def work(items: Sequence[str]) -> Sequence[str | Exception]:
        asked.extend(items)
        return items

    coalescer: Coalescer[str, str] = Coalescer(work, lanes=1, most=100, room=Room(10))
    for number in range(10):
        coalescer.submit(f"{number}").cancel()
    late = coalescer.submit("late")

    with pytest.raises(Overloaded):
        await late
    await asyncio.sleep(0)
    assert ("next", ["next"]) == (await coalescer.ask("next"), asked)
