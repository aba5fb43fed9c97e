"""The most memory that a function holds at a time, from the allocator's own records."""

from collections.abc import Callable, Iterator

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile


def peak_bytes(function: Callable[[], object], device: str | torch.device = 'cpu') -> int:
    """Return the most bytes that torch held at a time in a call, above what it held before.

    What the CPU held before counts as held throughout, even if the call frees it.

    Args:
        function: is called once.
        device: the CPU, or the CUDA device whose memory is meant.
    """
    device = torch.device(device)
    return _peak_cuda(function, device) if device.type == 'cuda' else _peak_cpu(function)


def _peak_cuda(function: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_cpu(function: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as records:
        function()
    tree = records.profiler.kineto_results.experimental_event_tree()
    events = sorted(_cpu_allocations(tree), key=lambda event: event.start_time_ns)
    if not events:
        return 0
    before = events[0].extra_fields.total_allocated - events[0].extra_fields.alloc_size
    return max(0, *(event.extra_fields.total_allocated - before for event in events))


def _cpu_allocations(events: list) -> Iterator:
    """Yield the events at which the CPU's allocator gave memory or took it back."""
    for event in events:
        if event.tag == _EventType.Allocation and event.extra_fields.device.type == 'cpu':
            yield event
        yield from _cpu_allocations(event.children)
