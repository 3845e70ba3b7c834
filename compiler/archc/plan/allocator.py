"""PyTorch's caching allocator for CUDA, modelled to the byte: where storages lie, what is allocated and reserved.

The rules are those of `c10/cuda/CUDACachingAllocator.cpp` under default settings (no expandable segments, no
limit on splitting, no collection by age) for one stream, read in sources of late 2024 and of 2025; the constants
and the defaults are still those in the headers of PyTorch 2.13.

- A request takes a block of a multiple of 512 bytes; a request of nothing takes none (`round_size`, `allocate`).
- Blocks of up to 1 MiB are cut from segments of 2 MiB, larger ones below 10 MiB from segments of 20 MiB; from
  10 MiB on a segment is as large as the block, in whole 2 MiB (`get_pool`, `get_allocation_size`).
- The smallest free block that suffices is taken, among equals the one at the lowest address; its front is used
  (`BlockComparatorSize`, `alloc_found_block`).
- What is left stays free if it is at least 512 bytes among small blocks, more than 1 MiB among large ones.
  Otherwise the request gets all of the block, and all of it counts as allocated (`should_split`).
- A freed block merges with its free neighbours in the segment (`try_merge_blocks`).
- Where no free block suffices, a segment is reserved. If it would exceed the capacity, every segment that is free
  as a whole is given back, and it is tried once more (`malloc`, `release_cached_blocks`). The step before,
  `release_available_cached_blocks`, does nothing without a limit on splitting.

Nobody knows the addresses that `cudaMalloc` will give. Here each segment lies above all earlier ones. Only the
choice between free blocks of equal size depends on it, and what follows from that choice.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MIB = 1 << 20

UNIT = 512
"""Blocks are multiples of this many bytes (`kMinBlockSize`)."""

SMALL = MIB
"""The largest small block; what is left of a large one must be larger to be split off (`kSmallSize`)."""

SMALL_SEGMENT = 2 * MIB
"""What small blocks are cut from (`kSmallBuffer`)."""

SHARED_SEGMENT = 20 * MIB
"""What large blocks below `OWN` are cut from (`large_segment_size`, earlier `kLargeBuffer`)."""

OWN = 10 * MIB
"""From here on a block gets a segment of its own (`kMinLargeAlloc`)."""

OWN_UNIT = 2 * MIB
"""Such segments are multiples of this many bytes (`kRoundLarge`)."""

REFUSED = 1 << 60
"""1 EiB: a request of so much fails whatever the capacity (`allocate`)."""

# A free or taken block is one number, size · 2^96 + address, both counted in units of 512 bytes: such numbers sort by
# size, then by address, which is the order in which blocks are chosen. Addresses only grow; 2^96 units hold more than
# 2^36 of the largest segments.
_SHIFT = 96
_ADDRESS = (1 << _SHIFT) - 1
_SMALL = SMALL // UNIT


class OutOfMemory(Exception):
    """A segment does not fit, even after all cached ones are given back. Sizes are in bytes."""

    def __init__(self, requested: int, segment: int, allocated: int, reserved: int, event: int = -1) -> None:
        self.requested = requested
        """What was asked for."""
        self.segment = segment
        """The segment that it needed."""
        self.allocated = allocated
        self.reserved = reserved
        """What was still reserved when it failed."""
        self.event = event
        """Its place on the tape that was replayed; -1 without one."""
        super().__init__(f"{requested:,} bytes need a segment of {segment:,} bytes; {reserved:,} bytes are reserved")


class Block:
    """A part of a segment that a request has taken, in bytes. A request of nothing has one of size 0 at address 0."""

    __slots__ = ("_owner", "address", "requested", "size")

    def __init__(self, address: int, size: int, requested: int, owner: Allocator | None) -> None:
        self.address = address
        self.size = size
        self.requested = requested
        # Whose it is until it is freed.
        self._owner = owner


class Segment(NamedTuple):
    """Memory reserved in one piece, in bytes, and the blocks in it that are free: their addresses and sizes."""

    address: int
    size: int
    free: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Peaks:
    """The largest sums of bytes while a tape was replayed, those at its beginning included."""

    requested: int
    allocated: int
    reserved: int
    event: int
    """The first event after which so much was allocated; -1 if it was so from the beginning."""


def rounded(size: int) -> int:
    """The bytes of the block that a request needs. It may get up to 1 MiB more, where a large block is not split."""
    return (size + UNIT - 1) & -UNIT


def segment_size(size: int) -> int:
    """The bytes of the segment that is reserved for a block of `size` bytes if no free block suffices."""
    if size <= SMALL:
        return SMALL_SEGMENT
    return SHARED_SEGMENT if size < OWN else (size + OWN_UNIT - 1) & -OWN_UNIT


class Allocator:
    """The state of the allocator: what is reserved, what is free, and the statistics, in bytes.

    `allocated` is PyTorch's `memory_allocated()`: whole blocks. `requested` sums what was asked for,
    `reserved` the segments. Segments take at most `capacity` bytes; None: there is no limit.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.requested = self.allocated = self.reserved = 0
        self.peak_requested = self.peak_allocated = self.peak_reserved = 0
        self._small: list[int] = []
        self._large: list[int] = []
        # At both ends of every free block, the block. Of the two that meet at an address at most one is free,
        # and segments do not touch, so an address has one entry.
        self._edges: dict[int, int] = {}
        self._segments: dict[int, int] = {}
        self._end = 1
        self._held: dict[int, int] = {}

    def allocate(self, size: int) -> Block:
        """Take a block for a request of `size` bytes, or raise `OutOfMemory`."""
        if size <= 0:
            _refuse_negative(size)
            return Block(0, 0, 0, self)
        key = self._take((size + UNIT - 1) // UNIT)
        if not key:
            raise OutOfMemory(size, segment_size(rounded(size)), self.allocated, self.reserved)
        taken = (key >> _SHIFT) * UNIT
        self.requested = requested = self.requested + size
        self.allocated = allocated = self.allocated + taken
        if requested > self.peak_requested:
            self.peak_requested = requested
        if allocated > self.peak_allocated:
            self.peak_allocated = allocated
        return Block((key & _ADDRESS) * UNIT, taken, size, self)

    def free(self, block: Block) -> None:
        """Give a block back; ValueError if it is another allocator's, or was given back before."""
        if block._owner is not self:
            raise ValueError(f"the block at {block.address:#x} is not allocated here")
        block._owner = None
        size = block.size
        if size:
            self._give(size // UNIT << _SHIFT | block.address // UNIT)
            self.requested -= block.requested
            self.allocated -= size

    def replay(self, tape: Sequence[int], sizes: Sequence[int], timeline: list[int] | None = None) -> Peaks:
        """Let storages come and go: an event n is the birth of storage n, with `sizes[n]` bytes, and ~n its death.

        Storages that are alive at the end stay, so tapes can follow one another, with the same `sizes`. To
        `timeline`, the bytes allocated after every event are appended. Raises `OutOfMemory`, and ValueError if a
        storage is born while it lives or dies while it does not; what came before the event has then happened.
        """
        held, take, give = self._held, self._take, self._give
        most_requested = requested = self.requested
        most_units = units = self.allocated // UNIT
        earlier, self.peak_reserved = self.peak_reserved, self.reserved
        first = -1
        try:
            for at, event in enumerate(tape):
                if event >= 0:
                    if event in held:
                        raise ValueError(f"event {at}: storage {event} is alive already")
                    size = sizes[event]
                    if size > 0:
                        key = take((size + UNIT - 1) // UNIT)
                        if not key:
                            raise OutOfMemory(size, segment_size(rounded(size)), units * UNIT, self.reserved, at)
                        units += key >> _SHIFT
                        requested += size
                        if requested > most_requested:
                            most_requested = requested
                        if units > most_units:
                            most_units = units
                            first = at
                    else:
                        _refuse_negative(size)
                        key = 0
                    held[event] = key
                else:
                    try:
                        key = held.pop(~event)
                    except KeyError:
                        raise ValueError(f"event {at}: storage {~event} is not alive") from None
                    if key:
                        units -= give(key)
                        requested -= sizes[~event]
                if timeline is not None:
                    timeline.append(units * UNIT)
        finally:
            most_reserved = self.peak_reserved
            most_allocated = most_units * UNIT
            self.requested, self.allocated = requested, units * UNIT
            self.peak_requested = max(self.peak_requested, most_requested)
            self.peak_allocated = max(self.peak_allocated, most_allocated)
            self.peak_reserved = max(earlier, most_reserved)
        return Peaks(most_requested, most_allocated, most_reserved, first)

    def reset_peaks(self) -> None:
        """Let the peaks begin anew at what there is now."""
        self.peak_requested, self.peak_allocated, self.peak_reserved = self.requested, self.allocated, self.reserved

    def empty_cache(self) -> None:
        """Give back the segments that are free as a whole."""
        for free in (self._small, self._large):
            kept = []
            for key in free:
                address, size = key & _ADDRESS, key >> _SHIFT
                if self._segments.get(address) == size:
                    del self._segments[address], self._edges[address], self._edges[address + size]
                    self.reserved -= size * UNIT
                else:
                    kept.append(key)
            free[:] = kept

    def segments(self) -> tuple[Segment, ...]:
        """What is reserved, oldest first, which is by address."""
        free = sorted(((key & _ADDRESS) * UNIT, (key >> _SHIFT) * UNIT) for key in [*self._small, *self._large])
        segments = ((start * UNIT, size * UNIT) for start, size in self._segments.items())
        return tuple(
            Segment(start, size, tuple(free[bisect_left(free, (start, 0)) : bisect_left(free, (start + size, 0))]))
            for start, size in segments
        )

    def _take(self, size: int) -> int:
        """A block of at least `size` units; 0 if there is none."""
        if size <= _SMALL:
            free, least = self._small, 0
        else:
            free, least = self._large, _SMALL
        at = bisect_left(free, size << _SHIFT)
        if at == len(free):
            key = self._reserve(size)
            if not key:
                return 0
            # It is larger than all others. Making room for it may have given some of those back.
            at = len(free)
            free.append(key)
        key = free[at]
        address = key & _ADDRESS
        rest = (key >> _SHIFT) - size
        middle = address + size
        edges = self._edges
        del edges[address]
        if rest <= least:
            del free[at], edges[middle + rest]
            return key
        edges[middle] = edges[middle + rest] = left = rest << _SHIFT | middle
        if at and left < free[at - 1]:
            del free[at]
            insort(free, left, 0, at)
        else:
            free[at] = left
        return size << _SHIFT | address

    def _give(self, key: int) -> int:
        """Let a taken block be free, merged with its neighbours. Its size in units."""
        size = key >> _SHIFT
        # A taken block of the large pool is never small: the size tells the pool.
        free = self._small if size <= _SMALL else self._large
        address = key & _ADDRESS
        end = address + size
        edges = self._edges
        before = edges.pop(address, 0)
        after = edges.pop(end, 0)
        if before:
            del free[bisect_left(free, before)]
            address -= before >> _SHIFT
        if after:
            del free[bisect_left(free, after)]
            end += after >> _SHIFT
        if before or after:
            key = (end - address) << _SHIFT | address
        edges[address] = edges[end] = key
        insort(free, key)
        return size

    def _reserve(self, size: int) -> int:
        """A new segment for a block of `size` units, as a free block that is in no list yet; 0 if it does not fit."""
        if size * UNIT >= REFUSED:
            return 0
        segment = segment_size(size * UNIT)
        if self.capacity is not None and self.reserved + segment > self.capacity:
            self.empty_cache()
            if self.reserved + segment > self.capacity:
                return 0
        self.reserved += segment
        if self.reserved > self.peak_reserved:
            self.peak_reserved = self.reserved
        # One unit keeps segments apart. With more, addresses would have few different last bits, and so hash badly.
        address, length = self._end, segment // UNIT
        self._end = address + length + 1
        self._segments[address] = length
        key = length << _SHIFT | address
        self._edges[address] = self._edges[address + length] = key
        return key


def fits(tapes: Iterable[Sequence[int]], sizes: Sequence[int], capacity: int) -> bool:
    """Whether the tapes can be replayed one after the other in segments of at most `capacity` bytes."""
    allocator = Allocator(capacity)
    try:
        for tape in tapes:
            allocator.replay(tape, sizes)
    except OutOfMemory:
        return False
    return True


def _refuse_negative(size: int) -> None:
    if size < 0:
        raise ValueError(f"a request of {size:,} bytes")
