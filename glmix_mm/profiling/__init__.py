"""What a model costs: multiply-adds and parameters."""

from .flops import Count, Part, build, count

__all__ = ['Count', 'Part', 'build', 'count']
