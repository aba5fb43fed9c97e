"""What models cost: multiply-adds, parameters, memory and time; curves of training runs."""

from .flops import Count, Part, build, count

__all__ = ['Count', 'Part', 'build', 'count']
