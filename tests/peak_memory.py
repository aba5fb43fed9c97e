"""Peak memory of a function on the CPU, from the allocator's own records."""

from collections.abc import Callable, Iterator

from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile


def peak_bytes(function: Callable[[], object]) -> int:
    """Return the most bytes that torch held at a time in a call, above what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as records:
        function()
    tree = records.profiler.kineto_results.experimental_event_tree()
    events = sorted(_allocations(tree), key=lambda event: event.start_time_ns)
    before = events[0].extra_fields.total_allocated - events[0].extra_fields.alloc_size
    return max(event.extra_fields.total_allocated for event in events) - before


def _allocations(events: list) -> Iterator:
    for event in events:
        if event.tag == _EventType.Allocation:
            yield event
        yield from _allocations(event.children)
