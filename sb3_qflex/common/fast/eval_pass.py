"""
An eval-mode pass through a whole ``networks.renorm_mlp``, without gradients, for networks that are asked once.

Between two updates a source policy sees one batch or one observation of each environment: to fold it costs more than
its products. ``nn.Sequential.forward`` of the same network is the readable definition.
"""

from collections.abc import Sequence

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.products import linear


def eval_pass(x: th.Tensor, norms: Sequence[BatchRenorm], layers: Sequence[nn.Linear]) -> th.Tensor:
    """
    BatchRenorm, Linear, ReLU, ..., BatchRenorm, Linear with the running averages.

    :param x: Shape (B, inputs).
    :param norms: The BatchRenorm layers.
    :param layers: The Linear layer behind each of them.
    :return: Shape (B, outputs).
    """
    for norm, layer in zip(norms, layers, strict=True):
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.scale, norm.bias, training=False, eps=norm.eps)
        x = linear(x, layer.weight, layer.bias, relu=layer is not layers[-1])
    return x
