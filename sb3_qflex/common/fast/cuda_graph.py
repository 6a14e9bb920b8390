"""
Loops over folded networks as CUDA graphs: one launch instead of some hundred small ones.

Off unless the environment variable ``SB3_QFLEX_CUDA_GRAPHS`` is "1", and without effect on a CPU. Nobody has run it on
a card yet: ``make test-cuda`` compares it with the loop that it replaces.
"""

import os
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch as th

from sb3_qflex.common.fast.folding import FoldedMLP

VARIABLE = "SB3_QFLEX_CUDA_GRAPHS"
#: Graphs that are kept; each holds its inputs and all between them and its outputs.
_MOST = 8

#: From folded networks and tensors to tensors, without sizes or branches that depend on their values.
Loop = Callable[..., Sequence[th.Tensor]]


def is_on(device: th.device) -> bool:
    """
    Whether loops are captured there.

    :param device: The device.
    """
    return device.type == "cuda" and os.environ.get(VARIABLE) == "1"


class CudaGraphs:
    """The captured loops of a policy."""

    def __init__(self) -> None:
        self._graphs: dict[Hashable, _Graph] = {}

    def run(self, key: Hashable, loop: Loop, networks: list[FoldedMLP], *tensors: th.Tensor) -> Sequence[th.Tensor]:
        """
        ``loop(networks, *tensors)``, as a graph where that is on.

        :param key: What the loop does depends on it, and else on the networks and tensors alone.
        :param loop: The loop.
        :param networks: Folded networks.
        :param tensors: Of the shapes that make another graph where they differ.
        """
        if not is_on(tensors[0].device):
            return loop(networks, *tensors)
        inputs = [*(tensor for network in networks for tensor in network.tensors()), *tensors]
        full_key = key, tuple((tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in inputs)
        if full_key not in self._graphs:
            if len(self._graphs) == _MOST:
                self._graphs.clear()
            self._graphs[full_key] = _Graph(loop, networks, inputs)
        return self._graphs[full_key](inputs)

    def __getstate__(self) -> dict[str, Any]:
        # Neither in files nor in copies.
        return vars(CudaGraphs())


class _Graph:
    """
    A loop for inputs of one set of shapes.

    :param loop: The loop.
    :param networks: Its networks.
    :param inputs: Their tensors, then the loop's own.
    """

    def __init__(self, loop: Loop, networks: list[FoldedMLP], inputs: list[th.Tensor]):
        # The graph reads and writes the same memory each time.
        self._inputs = [tensor.clone() for tensor in inputs]
        rest = iter(self._inputs)
        copies = [network.of([next(rest) for _ in network.tensors()]) for network in networks]
        others = list(rest)
        self._outputs, self._replay = _capture(lambda: loop(copies, *others))

    def __call__(self, inputs: list[th.Tensor]) -> list[th.Tensor]:
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        self._replay()
        return [output.clone() for output in self._outputs]


def _capture(function: Callable[[], Sequence[th.Tensor]]) -> tuple[Sequence[th.Tensor], Callable[[], object]]:
    """Outputs of a function, and what computes them again into the same memory."""
    stream = th.cuda.Stream()
    stream.wait_stream(th.cuda.current_stream())
    with th.cuda.stream(stream):
        # Libraries set themselves up at first calls, which a capture does not allow.
        for _ in range(3):
            function()
    th.cuda.current_stream().wait_stream(stream)
    graph = th.cuda.CUDAGraph()
    with th.cuda.graph(graph):
        outputs = function()
    return outputs, graph.replay
