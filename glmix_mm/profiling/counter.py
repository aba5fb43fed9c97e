"""Counts the multiply-adds that run inside a context, module by module.

``torch.utils.flop_counter`` does the counting (two of its FLOPs are one multiply-add). What this
adds: formulas for the operators it has none for, attention that cannot hide in a fused module,
the share of every module, and a list of what went uncounted.
"""

import math
import re
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

# Names of operators that multiply matrices: mm, addmm_, conv2d, scaled_dot_product_attention, ...
MATRIX_WORK = re.compile(
    r'(^|_)((badd|add)?b?mm|(add)?mv|v?dot|matmul|gemm|einsum|(bi|tri)?linear|conv(\dd|olution)?'
    r'|attention|rnn|lstm|gru)(_|$)'
)
# Modules whose products of activations are attention. Those of others are not: GLMix's slots,
# FCViT's global context.
ATTENTION = re.compile(r'Attention|MSA')
ACTIVATION_PRODUCTS = ('bmm', 'baddbmm')
# Operators of other namespaces are unknown, so any of them may multiply matrices.
KNOWN_NAMESPACES = ('aten', 'prim', 'prims', 'torchvision')


class MultiplyAddCounter:
    """Counts multiply-adds of matrix products and convolutions while it is active.

    Args:
        model: the module whose calls are followed; outside of it only the total is known.

    Attention is counted as its two products, softmax left out, whichever kernel runs;
    ``nn.MultiheadAttention``'s fused path, which hides its products, is switched off meanwhile.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._flops = FlopCounterMode(display=False, custom_mapping=missing_formulas())
        self._operators = OperatorRecorder()
        self._ancestors = ancestors(model)
        self._calls: list[Call] = []
        self._ran: dict[nn.Module, Cost] = defaultdict(Cost)
        self._own: dict[nn.Module, Cost] = defaultdict(Cost)
        self._products = 0  # of attention in modules that call no operator for it
        self._stack = ExitStack()

    def __enter__(self) -> 'MultiplyAddCounter':
        """Start counting from zero."""
        for module in self.model.modules():
            for hook in (
                module.register_forward_pre_hook(self._before),
                module.register_forward_hook(self._after),
            ):
                self._stack.callback(hook.remove)
        self._stack.enter_context(unfused_attention_modules())
        self._stack.enter_context(self._operators)
        self._stack.enter_context(self._flops)
        return self

    def __exit__(self, *error) -> None:
        """Stop counting; the counts stay readable."""
        self._stack.close()

    @property
    def total(self) -> 'Cost':
        """Return the multiply-adds so far."""
        counts = self._flops.flop_counts['Global']
        fused = sum(flops for packet, flops in counts.items() if 'attention' in str(packet))
        return Cost(self._flops.get_total_flops() // 2, fused // 2 + self._products)

    def of(self, module: nn.Module) -> 'Cost | None':
        """Return the multiply-adds of a module, its children included; None if it did not run.

        A container that is not called itself, such as ``nn.ModuleList``, sums up its children.
        What is called from a foreign part of the model counts there (DINO's decoder calls layers
        of the head), so that the parts of a model add up.
        """
        if module in self._own:
            return self._own[module]
        ran = [cost for cost in map(self.of, module.children()) if cost is not None]
        return sum(ran, Cost()) if ran else None

    def not_counted(self) -> list[str]:
        """Return what ran and looks like matrix work, but has no formula: operators and modules."""
        operators = [
            f'operator {packet}'
            for packet in sorted(self._operators.seen, key=str)
            if packet not in self._flops.flop_registry and looks_like_matrix_work(packet)
        ]
        modules = [
            f'module {name} ({type(module).__name__})'
            for name, module in self.model.named_modules()
            if module in self._ran and not self._ran[module].multiply_adds and owns_matrix(module)
        ]
        return operators + modules

    def _before(self, module, args) -> None:
        caller = self._calls[-1] if self._calls else None
        foreign = caller is not None and (
            caller.foreign or caller.module not in self._ancestors[module]
        )
        self._calls.append(Call(module, self.total, foreign, self._activation_products()))

    def _after(self, module, args, output) -> None:
        call = self._calls.pop()
        if ATTENTION.search(type(module).__name__) and not any(
            ATTENTION.search(type(outer.module).__name__) for outer in self._calls
        ):
            self._products += self._activation_products() - call.products
        cost = self.total - call.start
        self._ran[module] += cost
        self._own[module] += Cost() if call.foreign else cost

    def _activation_products(self) -> int:
        counts = self._flops.flop_counts['Global']
        return sum(counts[getattr(torch.ops.aten, name)] for name in ACTIVATION_PRODUCTS) // 2


@dataclass(frozen=True)
class Cost:
    """Multiply-adds.

    Attributes:
        multiply_adds: all that were counted.
        attention: those of them that are attention's two products, of queries with keys and of
            weights with values.
    """

    multiply_adds: int = 0
    attention: int = 0

    def __add__(self, other: 'Cost') -> 'Cost':
        """Add both figures."""
        return Cost(self.multiply_adds + other.multiply_adds, self.attention + other.attention)

    def __sub__(self, other: 'Cost') -> 'Cost':
        """Subtract both figures."""
        return Cost(self.multiply_adds - other.multiply_adds, self.attention - other.attention)


class Call(NamedTuple):
    """A module that is running.

    Attributes:
        module: the module.
        start: the total when it began.
        foreign: whether a foreign part of the model called it.
        products: the multiply-adds of activations with activations when it began.
    """

    module: nn.Module
    start: Cost
    foreign: bool
    products: int


class OperatorRecorder(TorchDispatchMode):
    """Remembers which operators ran."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func._overloadpacket)
        return func(*args, **(kwargs or {}))


def ancestors(model: nn.Module) -> dict[nn.Module, set[nn.Module]]:
    """Return the modules around each module of a model."""
    around = defaultdict(set)
    for module in model.modules():
        for inner in module.modules():
            around[inner].add(module)
    return around


@contextmanager
def unfused_attention_modules():
    """Switch off the fast path of ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer``."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def looks_like_matrix_work(packet) -> bool:
    """Tell whether an operator without a formula may hide matrix products."""
    namespace, _, name = packet._qualified_op_name.partition('::')
    return namespace not in KNOWN_NAMESPACES or MATRIX_WORK.search(name) is not None


def owns_matrix(module: nn.Module) -> bool:
    """Tell whether a module itself holds a weight with two dimensions or more."""
    if isinstance(module, (nn.Embedding, nn.LayerNorm)):
        return False
    weights = module.parameters(recurse=False)
    return any(sum(size > 1 for size in weight.shape) > 1 for weight in weights)


def missing_formulas() -> dict:
    """Return FLOP formulas, two FLOPs a multiply-add, of the operators that torch has none for."""
    aten = torch.ops.aten
    formulas = {torch.ops.torchvision.deform_conv2d: deform_conv_flops}
    for op in (aten.dot, aten.vdot, aten.mv):
        formulas[op] = lambda a, b, **_: 2 * math.prod(a)
    for op in (aten.addmv, aten.addmv_):
        formulas[op] = lambda x, a, b, **_: 2 * math.prod(a)
    for op in (aten.addmm_, aten.baddbmm_, aten.addbmm, aten.addbmm_):
        formulas[op] = lambda x, a, b, **_: 2 * math.prod(a) * b[-1]
    # Which of these torch knows depends on its version.
    for kernel in (
        '_scaled_dot_product_flash_attention',
        '_scaled_dot_product_flash_attention_for_cpu',
        '_scaled_dot_product_efficient_attention',
        '_scaled_dot_product_cudnn_attention',
        '_scaled_dot_product_fused_attention_overrideable',
        '_scaled_dot_product_attention_math_for_mps',
    ):
        if hasattr(aten, kernel):
            formulas[getattr(aten, kernel)] = attention_flops
    return {op: formula for op, formula in formulas.items() if op not in flop_registry}


def attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    """Return the FLOPs of query x key and of attention x value; shapes (N, heads, length, dim)."""
    return sdpa_flop_count(query, key, value)


def deform_conv_flops(x, weight, *args, out_shape=None, **kwargs) -> int:
    """Return the FLOPs of a deformable convolution, its interpolation left out.

    ``weight`` is (out_channels, in_channels / groups, kernel_h, kernel_w).
    """
    return 2 * math.prod(out_shape) * math.prod(weight[1:])
