"""The model of PyTorch's caching allocator: traces worked by hand, PyTorch's own tests, and a second model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archc.plan.allocator import Allocator, Block, OutOfMemory, Peaks, fits, rounded

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def place(allocator: Allocator, block: Block) -> tuple[int, int]:
    """Which segment a block lies in, counted from the oldest, and how far from its beginning."""
    for number, (start, size, _) in enumerate(allocator.segments()):
        if start <= block.address < start + size:
            return number, block.address - start
    raise AssertionError("the block is in no segment")


def sums(allocator: Allocator) -> tuple[int, int, int]:
    return allocator.requested, allocator.allocated, allocator.reserved


def reserved_parts(allocator: Allocator) -> list[int]:
    return [segment.size for segment in allocator.segments()]


# Traces worked by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "block"),
    [(0, 0), (1, 512), (512, 512), (513, 1024), (MIB - 1, MIB), (MIB, MIB), (MIB + 1, MIB + 512)],
)
def test_blocks_are_multiples_of_512_bytes(size: int, block: int) -> None:
    assert rounded(size) == block


def test_small_blocks_are_cut_from_one_segment() -> None:
    allocator = Allocator()
    blocks = [allocator.allocate(size) for size in (1000, 512, 513)]
    # 1000 → 1024 bytes at 0, 512 at 1024, 513 → 1024 at 1536; 1024 + 512 + 1024 = 2560.
    assert [place(allocator, block) for block in blocks] == [(0, 0), (0, 1024), (0, 1536)]
    assert [block.size for block in blocks] == [1024, 512, 1024]
    assert sums(allocator) == (1000 + 512 + 513, 2560, 2 * MIB)
    [segment] = allocator.segments()
    assert segment.free == ((segment.address + 2560, 2 * MIB - 2560),)


def test_a_request_of_nothing_takes_nothing() -> None:
    allocator = Allocator(capacity=0)
    block = allocator.allocate(0)
    assert (block.address, block.size, block.requested) == (0, 0, 0)
    assert sums(allocator) == (0, 0, 0)
    allocator.free(block)
    assert sums(allocator) == (0, 0, 0)
    assert allocator.replay([0, ~0], [0]) == Peaks(0, 0, 0, -1)


def test_one_mebibyte_is_small_and_a_byte_more_is_large() -> None:
    allocator = Allocator()
    first, second = allocator.allocate(MIB), allocator.allocate(MIB)
    # Two of 1 MiB fill a segment of 2 MiB.
    assert (place(allocator, first), place(allocator, second)) == ((0, 0), (0, MIB))
    assert reserved_parts(allocator) == [2 * MIB]
    large = allocator.allocate(MIB + 1)
    # 1 MiB + 1 → 1 MiB + 512, from a segment of 20 MiB; 19 MiB − 512 are left, more than 1 MiB: split.
    assert (place(allocator, large), large.size) == ((1, 0), MIB + 512)
    assert sums(allocator) == (3 * MIB + 1, 3 * MIB + 512, 22 * MIB)


def test_ten_mebibytes_get_a_segment_of_their_own() -> None:
    allocator = Allocator()
    below = allocator.allocate(10 * MIB - 512)
    # From a segment of 20 MiB; 10 MiB + 512 are left: split.
    assert (below.size, reserved_parts(allocator)) == (10 * MIB - 512, [20 * MIB])
    filler = allocator.allocate(10 * MIB + 512)
    assert (place(allocator, filler), allocator.allocated) == ((0, 10 * MIB - 512), 20 * MIB)
    # 10 MiB is five times 2 MiB: nothing is left.
    exact = allocator.allocate(10 * MIB)
    assert (exact.size, reserved_parts(allocator)) == (10 * MIB, [20 * MIB, 10 * MIB])
    # 10 MiB − 511 → 10 MiB: the rounded size decides.
    almost = allocator.allocate(10 * MIB - 511)
    assert (almost.size, reserved_parts(allocator)) == (10 * MIB, [20 * MIB, 10 * MIB, 10 * MIB])
    # 10 MiB + 1 → 10 MiB + 512 in 12 MiB; 2 MiB − 512 are left, more than 1 MiB: split.
    above = allocator.allocate(10 * MIB + 1)
    assert (above.size, reserved_parts(allocator)) == (10 * MIB + 512, [20 * MIB, 10 * MIB, 10 * MIB, 12 * MIB])
    assert allocator.reserved == 52 * MIB


def test_a_large_block_keeps_what_is_left_up_to_one_mebibyte() -> None:
    allocator = Allocator()
    whole = allocator.allocate(11 * MIB)
    # 11 MiB in 12 MiB: 1 MiB is left, not more: no split, and 12 MiB count as allocated.
    assert whole.size == 12 * MIB
    assert sums(allocator) == (11 * MIB, 12 * MIB, 12 * MIB)
    split = allocator.allocate(11 * MIB - 512)
    # 1 MiB + 512 is left: split.
    assert split.size == 11 * MIB - 512
    assert sums(allocator) == (22 * MIB - 512, 23 * MIB - 512, 24 * MIB)
    allocator.free(whole)
    assert sums(allocator) == (11 * MIB - 512, 11 * MIB - 512, 24 * MIB)


def test_slack_comes_from_cached_blocks_too() -> None:
    allocator = Allocator()
    allocator.free(allocator.allocate(30 * MIB))
    # A cached block of 30 MiB for 29.5 MiB: half a MiB is left, no split. The next time it serves 29 MiB, the same.
    for size in (29 * MIB + 512 * KIB, 29 * MIB):
        block = allocator.allocate(size)
        assert sums(allocator) == (size, 30 * MIB, 30 * MIB)
        allocator.free(block)
    # For 28 MiB it is split: 2 MiB are left, enough for 1.5 MiB, which get all of them (half a MiB is left).
    first, second = allocator.allocate(28 * MIB), allocator.allocate(MIB + 512 * KIB)
    assert (place(allocator, first), place(allocator, second)) == ((0, 0), (0, 28 * MIB))
    assert sums(allocator) == (29 * MIB + 512 * KIB, 30 * MIB, 30 * MIB)


def test_the_smallest_block_that_suffices_is_taken() -> None:
    allocator = Allocator()
    # At 0, 3072, 3584, 4608, 5120, 7168, with a free rest from 7680 on.
    blocks = [allocator.allocate(size) for size in (3072, 512, 1024, 512, 2048, 512)]
    for index in (0, 2, 4):
        allocator.free(blocks[index])
    # Holes: 3072 at 0, 1024 at 3584, 2048 at 5120. For 1536 the last one; 512 are left at 6656.
    assert place(allocator, allocator.allocate(1536)) == (0, 5120)
    assert place(allocator, allocator.allocate(512)) == (0, 6656)
    assert place(allocator, allocator.allocate(1024)) == (0, 3584)
    assert place(allocator, allocator.allocate(1024)) == (0, 0)
    # 3072 − 1024 = 2048 are left at 1024.
    assert place(allocator, allocator.allocate(2048)) == (0, 1024)
    assert place(allocator, allocator.allocate(512)) == (0, 7680)


def test_among_equal_blocks_the_lowest_address_is_taken() -> None:
    allocator = Allocator()
    blocks = [allocator.allocate(1024) for _ in range(5)]
    for index in (3, 1):
        allocator.free(blocks[index])
    assert place(allocator, allocator.allocate(1024)) == (0, 1024)
    assert place(allocator, allocator.allocate(1024)) == (0, 3072)
    # Across segments: the older one, also where it was freed later.
    older, younger = allocator.allocate(16 * MIB), allocator.allocate(16 * MIB)
    allocator.free(younger)
    allocator.free(older)
    assert place(allocator, allocator.allocate(16 * MIB)) == (1, 0)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_free_neighbours_merge(order: tuple[int, ...]) -> None:
    allocator = Allocator()
    # 2 + 3 + 4 MiB of 20; 11 are left at 9 MiB.
    blocks = [allocator.allocate(size * MIB) for size in (2, 3, 4)]
    wall = allocator.allocate(11 * MIB)
    assert (place(allocator, wall), allocator.allocated) == ((0, 9 * MIB), 20 * MIB)
    for index in order:
        allocator.free(blocks[index])
    [segment] = allocator.segments()
    assert segment.free == ((segment.address, 9 * MIB),)
    allocator.free(wall)
    [segment] = allocator.segments()
    assert segment.free == ((segment.address, 20 * MIB),)
    assert sums(allocator) == (0, 0, 20 * MIB)


def test_segments_do_not_merge() -> None:
    allocator = Allocator()
    for block in [allocator.allocate(10 * MIB), allocator.allocate(10 * MIB)]:
        allocator.free(block)
    allocator.allocate(20 * MIB)
    assert reserved_parts(allocator) == [10 * MIB, 10 * MIB, 20 * MIB]


def test_the_pools_do_not_share() -> None:
    allocator = Allocator()
    allocator.free(allocator.allocate(3 * MIB))
    # 20 MiB are free among the large ones; a small block still gets a segment of 2 MiB.
    allocator.allocate(512)
    assert reserved_parts(allocator) == [20 * MIB, 2 * MIB]
    # And the 2 MiB that are free in a small segment serve no large block.
    allocator.free(allocator.allocate(2 * MIB - 511 * 512))
    assert reserved_parts(allocator) == [20 * MIB, 2 * MIB]
    assert allocator.segments()[0].free == ((allocator.segments()[0].address, 20 * MIB),)


def test_cached_segments_are_given_back_under_a_capacity() -> None:
    allocator = Allocator(capacity=46 * MIB)
    large, shared, small = allocator.allocate(22 * MIB), allocator.allocate(3 * MIB), allocator.allocate(1000)
    # 22 + 20 + 2 = 44 MiB.
    assert sums(allocator) == (25 * MIB + 1000, 25 * MIB + 1024, 44 * MIB)
    allocator.free(large)
    allocator.free(small)
    # 24 MiB do not fit into the free 22, and 44 + 24 > 46. The segments of 22 and of 2 MiB are free as a whole and
    # go, that of 20 MiB is in use: 20 + 24 = 44.
    again = allocator.allocate(24 * MIB)
    assert reserved_parts(allocator) == [20 * MIB, 24 * MIB]
    assert (place(allocator, shared), place(allocator, again)) == ((0, 0), (1, 0))
    assert sums(allocator) == (27 * MIB, 27 * MIB, 44 * MIB)
    # 2 MiB more fit exactly, and nothing beyond.
    allocator.allocate(1)
    assert allocator.reserved == 46 * MIB
    assert allocator.peak_reserved == 46 * MIB


def test_out_of_memory() -> None:
    allocator = Allocator(capacity=44 * MIB)
    large, shared = allocator.allocate(22 * MIB), allocator.allocate(3 * MIB)
    allocator.free(large)
    # 29 MiB → 30 MiB; 20 + 30 > 44 even without the cached 22 MiB, which are gone all the same.
    with pytest.raises(OutOfMemory) as failure:
        allocator.allocate(29 * MIB)
    problem = failure.value
    assert (problem.requested, problem.segment) == (29 * MIB, 30 * MIB)
    assert (problem.allocated, problem.reserved, problem.event) == (3 * MIB, 20 * MIB, -1)
    assert str(problem) == "30,408,704 bytes need a segment of 31,457,280 bytes; 20,971,520 bytes are reserved"
    # What it had it has still, and what fits still fits: 20 + 24 = 44.
    assert sums(allocator) == (3 * MIB, 3 * MIB, 20 * MIB)
    allocator.allocate(24 * MIB)
    allocator.free(shared)
    assert sums(allocator) == (24 * MIB, 24 * MIB, 44 * MIB)


def test_a_cached_block_serves_where_no_segment_would_fit() -> None:
    allocator = Allocator(capacity=20 * MIB)
    kept = allocator.allocate(2 * MIB)
    allocator.allocate(8 * MIB)
    # 10 MiB want a segment of their own, but the 10 MiB that are left suffice: no segment is needed.
    assert place(allocator, allocator.allocate(10 * MIB)) == (0, 10 * MIB)
    with pytest.raises(OutOfMemory):
        allocator.allocate(1)
    allocator.free(kept)
    assert sums(allocator) == (18 * MIB, 18 * MIB, 20 * MIB)


def test_empty_cache_gives_back_what_is_free_as_a_whole() -> None:
    allocator = Allocator()
    small, large, own = allocator.allocate(1), allocator.allocate(2 * MIB), allocator.allocate(64 * MIB)
    other = allocator.allocate(3 * MIB)
    allocator.free(large)
    allocator.free(own)
    allocator.empty_cache()
    # The block of 3 MiB holds the segment of 20 MiB.
    assert reserved_parts(allocator) == [2 * MIB, 20 * MIB]
    allocator.free(small)
    allocator.free(other)
    assert allocator.reserved == 22 * MIB
    allocator.empty_cache()
    assert (allocator.segments(), sums(allocator), allocator.peak_reserved) == ((), (0, 0, 0), 86 * MIB)
    assert place(allocator, allocator.allocate(5)) == (0, 0)


def test_peaks() -> None:
    allocator = Allocator()
    block = allocator.allocate(11 * MIB)
    allocator.free(block)
    other = allocator.allocate(700)
    peaks = (allocator.peak_requested, allocator.peak_allocated, allocator.peak_reserved)
    assert peaks == (11 * MIB, 12 * MIB, 14 * MIB)
    allocator.empty_cache()
    allocator.reset_peaks()
    allocator.free(other)
    peaks = (allocator.peak_requested, allocator.peak_allocated, allocator.peak_reserved)
    assert peaks == (700, 1024, 2 * MIB)


def test_misuse_is_refused() -> None:
    allocator, another = Allocator(), Allocator()
    block = allocator.allocate(100)
    with pytest.raises(ValueError, match="not allocated here"):
        another.free(block)
    allocator.free(block)
    with pytest.raises(ValueError, match="not allocated here"):
        allocator.free(block)
    with pytest.raises(ValueError, match="-1 bytes"):
        allocator.allocate(-1)
    with pytest.raises(ValueError, match="-5 bytes"):
        allocator.replay([0], [-5])
    with pytest.raises(ValueError, match="event 1: storage 0 is alive already"):
        allocator.replay([0, 0], [8])
    with pytest.raises(ValueError, match="event 0: storage 1 is not alive"):
        allocator.replay([~1], [8, 8])
    # The storage that was born before the mistake lives.
    assert sums(allocator) == (8, 512, 2 * MIB)


# Tapes ----------------------------------------------------------------------------------------------

# Weights of 3 MiB (0) stay. A step: 100 bytes of input (1), an activation of 11 MiB (2), a workspace of 2 MiB (3),
# gradients of 3 MiB (4).
SIZES = [3 * MIB, 100, 11 * MIB, 2 * MIB, 3 * MIB]
PREFIX = [0]
STEP = [1, 2, 3, ~3, 4, ~2, ~4, ~1]


def test_a_tape_is_replayed_step_by_step() -> None:
    allocator = Allocator()
    assert allocator.replay(PREFIX, SIZES) == Peaks(3 * MIB, 3 * MIB, 20 * MIB, 0)
    timeline: list[int] = []
    # The first step: 2 MiB for small ones. 17 MiB are left behind the weights and serve the 11 MiB: split, 6 left.
    # The workspace takes 2 of them; when it is free, 6 again: the gradients take 3.
    first = allocator.replay(STEP, SIZES, timeline)
    small = 512
    assert timeline == [
        3 * MIB + small,
        14 * MIB + small,
        16 * MIB + small,
        14 * MIB + small,
        17 * MIB + small,
        6 * MIB + small,
        3 * MIB + small,
        3 * MIB,
    ]
    assert first == Peaks(17 * MIB + 100, 17 * MIB + small, 22 * MIB, 4)
    # The second finds the same holes.
    again: list[int] = []
    assert allocator.replay(STEP, SIZES, again) == first
    assert again == timeline
    assert sums(allocator) == (3 * MIB, 3 * MIB, 22 * MIB)
    assert (allocator.peak_requested, allocator.peak_allocated) == (first.requested, first.allocated)


def test_a_tape_that_never_rises_peaks_at_its_beginning() -> None:
    allocator = Allocator()
    allocator.replay([0, 1], [4 * MIB, 11 * MIB])
    assert allocator.replay([~1, 1, ~0], [4 * MIB, 11 * MIB]) == Peaks(15 * MIB, 15 * MIB, 20 * MIB, -1)


def test_peaks_of_a_tape_are_its_own() -> None:
    allocator = Allocator()
    sizes = [64 * MIB, 11 * MIB]
    assert allocator.replay([0, ~0], sizes) == Peaks(64 * MIB, 64 * MIB, 64 * MIB, 0)
    allocator.empty_cache()
    assert allocator.replay([1, ~1], sizes) == Peaks(11 * MIB, 12 * MIB, 12 * MIB, 0)
    # Those of the allocator are over all that it did.
    assert (allocator.peak_requested, allocator.peak_allocated, allocator.peak_reserved) == (64 * MIB,) * 3


def test_the_first_of_equal_peaks_is_named() -> None:
    assert Allocator().replay([0, 1, ~1, 1, ~1, 1], [10, 20]).event == 1


def test_out_of_memory_names_the_event() -> None:
    allocator = Allocator(capacity=40 * MIB)
    allocator.replay(PREFIX, SIZES)
    timeline: list[int] = []
    with pytest.raises(OutOfMemory) as failure:
        allocator.replay([1, 2, 3, 4, ~1], [3 * MIB, 100, 18 * MIB, 2 * MIB, 16 * MIB], timeline)
    # 3 MiB lie in a segment of 20, 100 bytes in one of 2. The 17 MiB that are left do not suffice for 18: a segment
    # of their own, 20 + 2 + 18 = 40. 2 MiB come from the 17; the 15 that remain do not suffice for 16: 40 + 16 > 40.
    assert timeline == [3 * MIB + 512, 21 * MIB + 512, 23 * MIB + 512]
    problem = failure.value
    assert (problem.event, problem.requested, problem.segment) == (3, 16 * MIB, 16 * MIB)
    assert (problem.allocated, problem.reserved) == (23 * MIB + 512, 40 * MIB)
    assert sums(allocator) == (23 * MIB + 100, 23 * MIB + 512, 40 * MIB)
    assert (allocator.peak_allocated, allocator.peak_reserved) == (23 * MIB + 512, 40 * MIB)
    # What came before has happened: the storages live, and can die.
    allocator.replay([~2, ~3, ~1, ~0], [3 * MIB, 100, 18 * MIB, 2 * MIB])
    assert sums(allocator) == (0, 0, 40 * MIB)


def test_fits() -> None:
    assert fits([PREFIX, STEP, STEP], SIZES, 22 * MIB)
    assert not fits([PREFIX, STEP, STEP], SIZES, 22 * MIB - 1)
    assert fits([], [], 0)
    assert not fits([[0]], [1], 2 * MIB - 1)


# PyTorch's own tests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "segments", "reserved", "kept"),
    [
        (512, 1, 2 * MIB, 2 * MIB),
        (MIB, 2, 4 * MIB, 2 * MIB),
        (MIB + 512, 1, 20 * MIB, 20 * MIB),
        (10 * MIB - 512, 2, 40 * MIB, 20 * MIB),
        (10 * MIB + 512, 3, 36 * MIB, 12 * MIB),
    ],
)
def test_as_pytorch_expects_of_a_captured_graph(size: int, segments: int, reserved: int, kept: int) -> None:
    """`test_graph_memory_stats_and_use_result_after_destroy_graph` in test/test_cuda.py.

    `b = a.clone()`, then five times `b = b.clone() + 1`, in a pool of its own; numbers as printed there, without
    the tensors of the random generator, which lie in other segments.
    """
    allocator = Allocator()
    b = allocator.allocate(size)
    for _ in range(5):
        clone = allocator.allocate(size)
        result = allocator.allocate(size)
        allocator.free(clone)
        allocator.free(b)
        b = result
    assert (len(allocator.segments()), allocator.reserved, allocator.allocated) == (segments, reserved, size)
    allocator.empty_cache()
    assert (len(allocator.segments()), allocator.reserved, allocator.allocated) == (1, kept, size)


def test_as_pytorch_expects_of_a_memory_pool() -> None:
    """`TestMemPool` in test/test_cuda.py: three tensors of 1 MB make 1, 1 and 2 segments."""
    allocator = Allocator()
    numbers = []
    for _ in range(3):
        allocator.allocate(4 * (MIB // 4))
        numbers.append(len(allocator.segments()))
    assert numbers == [1, 1, 2]


def test_as_pytorch_expects_of_statistics() -> None:
    """`test_memory_stats` and `test_allocator_settings` in test/test_cuda.py: 256 and 21 · 1024² floats."""
    allocator = Allocator()
    allocator.free(allocator.allocate(4 * 256))
    assert allocator.peak_allocated == 1024
    allocator.empty_cache()
    assert allocator.reserved == 0
    nbytes = 4 * 21 * 1024 * 1024
    allocator.allocate(nbytes)
    assert sums(allocator) == (nbytes, nbytes, nbytes)


def test_as_pytorch_expects_of_full_devices() -> None:
    """`test_out_of_memory`, `test_out_of_memory_retry`, `test_set_per_process_memory_fraction` in test/test_cuda.py."""
    total = 80 * GIB
    context = 400 * MIB
    allocator = Allocator(total - context)
    tensor = allocator.allocate(4 * 1024)
    for absurd in (800_000_000 * GIB, 8_000_000_000 * GIB):
        with pytest.raises(OutOfMemory):
            allocator.allocate(absurd)
    with pytest.raises(OutOfMemory):
        Allocator().allocate(8_000_000_000 * GIB)
    half = allocator.allocate(total // 2)
    with pytest.raises(OutOfMemory):
        allocator.allocate(total // 2)
    allocator.free(half)
    allocator.free(allocator.allocate(total // 2))
    allocator.free(tensor)

    allocator = Allocator(int(total * 0.5))
    allocator.allocate(4 * 1024)
    allocator.free(allocator.allocate(int(total * 0.499) - allocator.peak_reserved))
    allocator.empty_cache()
    with pytest.raises(OutOfMemory):
        allocator.allocate(int(total * 0.5))


# A second model -------------------------------------------------------------------------------------


class Naive:
    """The same rules with no data structure: every question is answered by looking at every block.

    A segment is (whether it is small, its parts in order); a part is [bytes, whose it is or None].
    """

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.segments: list[tuple[bool, list[list]]] = []
        self.asked: dict[int, int] = {}
        self.peaks = (0, 0, 0)

    def sums(self) -> tuple[int, int, int]:
        parts = [part for _, parts in self.segments for part in parts]
        return (
            sum(self.asked.values()),
            sum(size for size, owner in parts if owner is not None),
            sum(size for size, _ in parts),
        )

    def layout(self) -> list[list[tuple[int, int | None]]]:
        return [[(size, owner) for size, owner in parts] for _, parts in self.segments]

    def note(self) -> None:
        self.peaks = tuple(map(max, self.peaks, self.sums()))

    def allocate(self, owner: int, asked: int) -> bool:
        """Whether there was room."""
        if asked == 0:
            return True
        size = 512
        while size < asked:
            size += 512 * max(1, (asked - size) // 512)
        small = size <= MIB
        holes = [
            (part[0], number, place)
            for number, (is_small, parts) in enumerate(self.segments)
            for place, part in enumerate(parts)
            if is_small == small and part[1] is None and part[0] >= size
        ]
        if not holes:
            segment = 2 * MIB if small else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
            if not self.has_room(segment):
                self.empty_cache()
                if not self.has_room(segment):
                    return False
            self.segments.append((small, [[segment, None]]))
            holes = [(segment, len(self.segments) - 1, 0)]
        found, number, place = min(holes)
        parts = self.segments[number][1]
        rest = found - size
        if (rest >= 512) if small else (rest > MIB):
            parts[place : place + 1] = [[size, owner], [rest, None]]
        else:
            parts[place][1] = owner
        self.asked[owner] = asked
        self.note()
        return True

    def has_room(self, segment: int) -> bool:
        return self.capacity is None or self.sums()[2] + segment <= self.capacity

    def free(self, owner: int) -> None:
        if owner not in self.asked:
            return
        del self.asked[owner]
        for _, parts in self.segments:
            merged: list[list] = []
            for size, whose in parts:
                whose = None if whose == owner else whose
                if merged and whose is None and merged[-1][1] is None:
                    merged[-1][0] += size
                else:
                    merged.append([size, whose])
            parts[:] = merged

    def empty_cache(self) -> None:
        self.segments = [each for each in self.segments if len(each[1]) > 1 or each[1][0][1] is not None]


def layout(allocator: Allocator, live: dict[int, Block]) -> list[list[tuple[int, int | None]]]:
    """What lies where, as `Naive` says it; checks on the way that blocks tile their segments."""
    found = []
    for start, size, free in allocator.segments():
        pieces: list[tuple[int, int, int | None]] = [(address, length, None) for address, length in free]
        pieces += [
            (block.address, block.size, owner)
            for owner, block in live.items()
            if block.size and start <= block.address < start + size
        ]
        pieces.sort()
        assert pieces[0][0] == start
        for before, after in pairwise([*pieces, (start + size, 0, -1)]):
            assert before[0] + before[1] == after[0], "blocks do not tile the segment"
            assert before[2] is not None or after[2] is not None, "free neighbours"
        assert all(address % 512 == 0 and length % 512 == 0 for address, length, _ in pieces)
        found.append([(length, owner) for _, length, owner in pieces])
    return found


Action = tuple[str, int]


def compare(actions: Iterable[Action], capacity: int | None, *, every: bool) -> None:
    """Do the same in both models; `every`: look at the layout after each action, not only at the end."""
    allocator, naive = Allocator(capacity), Naive(capacity)
    live: dict[int, Block] = {}
    tape: list[int] = []
    sizes: list[int] = []
    timeline: list[int] = []
    failed = emptied = False
    for what, number in actions:
        if what == "allocate":
            owner = len(sizes)
            sizes.append(number)
            if naive.allocate(owner, number):
                live[owner] = allocator.allocate(number)
                tape.append(owner)
                timeline.append(allocator.allocated)
            else:
                failed = True
                with pytest.raises(OutOfMemory) as failure:
                    allocator.allocate(number)
                problem = failure.value
                assert (problem.requested, problem.allocated, problem.reserved) == (number, *naive.sums()[1:])
        elif what == "free" and live:
            owner = sorted(live)[number % len(live)]
            allocator.free(live.pop(owner))
            naive.free(owner)
            tape.append(~owner)
            timeline.append(allocator.allocated)
        elif what == "empty":
            emptied = True
            allocator.empty_cache()
            naive.empty_cache()
        assert sums(allocator) == naive.sums()
        if every:
            assert layout(allocator, live) == naive.layout()
    assert layout(allocator, live) == naive.layout()
    peaks = (allocator.peak_requested, allocator.peak_allocated, allocator.peak_reserved)
    assert peaks == naive.peaks
    # A tape knows neither of emptying the cache nor of going on after a failure, which has emptied it.
    if not failed and not emptied:
        again = Allocator(capacity)
        replayed: list[int] = []
        middle = len(tape) // 2
        parts = [again.replay(part, sizes, replayed) for part in (tape[:middle], tape[middle:])]
        assert replayed == timeline
        assert (max(part.requested for part in parts), max(part.allocated for part in parts)) == peaks[:2]
        assert (again.peak_requested, again.peak_allocated, again.peak_reserved) == peaks
        assert (sums(again), again.segments()) == (sums(allocator), allocator.segments())
        highest = max(timeline[middle:], default=0)
        before = timeline[middle - 1] if middle else 0
        assert parts[1].event == (timeline[middle:].index(highest) if highest > before else -1)


BOUNDS = [512, KIB, MIB, 2 * MIB, 3 * MIB, 9 * MIB, 10 * MIB, 11 * MIB, 19 * MIB, 20 * MIB, 21 * MIB]

requests = st.one_of(
    st.integers(0, 8 * KIB),
    st.builds(lambda bound, more: max(0, bound + more), st.sampled_from(BOUNDS), st.integers(-1025, 1025)),
    st.integers(1, 40 * MIB),
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), requests),
        st.tuples(st.just("allocate"), requests),
        st.tuples(st.just("free"), st.integers(0, 1000)),
        st.tuples(st.just("empty"), st.just(0)),
    ),
    max_size=60,
)
capacities = st.one_of(st.none(), st.integers(0, 64 * MIB), st.sampled_from([22 * MIB, 40 * MIB, 128 * MIB]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions, capacities)
def test_the_second_model_agrees_after_every_action(actions: list[Action], capacity: int | None) -> None:
    compare(actions, capacity, every=True)


def like_training(random: Random) -> list[Action]:
    """Sizes that come again and again, as those of layers do, mostly freed last in, first out."""
    palette = [max(1, random.choice(BOUNDS) * random.randint(1, 3) // random.randint(1, 4)) for _ in range(6)]
    return [
        ("allocate", random.choice(palette))
        if random.random() < 0.55
        else ("free", random.choice([-1, -1, -1, -2, random.randrange(1000)]))
        for _ in range(random.randint(1, 120))
    ]


def like_noise(random: Random) -> list[Action]:
    """Sizes of every magnitude, freed in any order, with an emptied cache now and then."""
    return [
        random.choice(
            [
                ("allocate", int(2 ** random.uniform(0, 25))),
                ("allocate", max(0, random.choice(BOUNDS) + random.choice([-513, -512, -1, 0, 1, 512, 513]))),
                ("free", random.randrange(1000)),
                ("free", random.randrange(1000)),
                ("empty" if random.random() < 0.1 else "free", 0),
            ]
        )
        for _ in range(random.randint(1, 80))
    ]


@pytest.mark.parametrize("make", [like_training, like_noise])
@pytest.mark.parametrize("room", [None, 24, 64, 160])
def test_the_second_model_agrees_on_many_tapes(make: Callable[[Random], list[Action]], room: int | None) -> None:
    random = Random(f"{make.__name__} {room}")
    for _ in range(250):
        capacity = None if room is None else room * MIB + random.choice([-1, 0, 1])
        compare(make(random), capacity, every=False)
