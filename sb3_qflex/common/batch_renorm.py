"""The BatchRenorm layer of QFlex's networks (arXiv 1702.03275; constants of the reference implementation)."""

import math

import torch as th
from torch import nn
from torch.nn import functional as F

RENORM_SCALE_MAX = 3.0  # r is clipped to [1/3, 3]
RENORM_SHIFT_MAX = 5.0  # d is clipped to [-5, 5]


class BatchRenorm(nn.Module):
    r"""
    Batch renormalisation of a ``(batch, num_features)`` tensor.

    The first ``warmup_steps`` forwards in train mode normalise with the statistics of the batch, later ones with
    :math:`\hat{x} r + d`, where :math:`r` and :math:`d` correct the batch statistics towards the running averages.
    Eval mode normalises with the running averages and leaves every buffer untouched.

    Differences to ``sb3_contrib.common.torch_layers.BatchRenorm``: running averages start at 0 and are divided by
    :math:`1 - (1 - \text{momentum})^t`, the batch variance is the biased one, ``eps`` is 1e-5, the warm-up is 10
    forwards (there 100 000), and a column without variance has a finite gradient. A batch whose statistics are not
    finite leaves the running averages as they were.

    :param num_features: Number of columns, at least 1.
    :param eps: Added to variances under the square root.
    :param momentum: Weight of the newest batch in the running averages, in (0, 1]; 1 minus the decay.
    :param warmup_steps: Forwards in train mode that use pure batch statistics, at least 0.
    """

    running_mean: th.Tensor
    running_var: th.Tensor
    steps: th.Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.01, warmup_steps: int = 10):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.warmup_steps = warmup_steps
        self._log_decay = math.log1p(-momentum) if momentum < 1.0 else -math.inf
        self.scale = nn.Parameter(th.ones(num_features))
        self.bias = nn.Parameter(th.zeros(num_features))
        # Debiased averages, so that eval mode needs no correction; the start is what eval mode uses before training.
        self.register_buffer("running_mean", th.zeros(num_features))
        self.register_buffer("running_var", th.ones(num_features))
        self.register_buffer("steps", th.zeros((), dtype=th.long))

    def forward(self, x: th.Tensor) -> th.Tensor:
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.scale, self.bias, training=False, eps=self.eps
            )
        _, _, r, d = self.measure(x)
        # scale (x_hat r + d) + bias, as one batch norm whose affine part absorbs the constants r and d.
        return F.batch_norm(x, None, None, self.scale * r, self.scale * d + self.bias, training=True, eps=self.eps)

    @th.no_grad()
    def measure(self, x: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
        """
        Statistics of a batch in train mode; updates the running averages.

        :param x: Shape (batch, num_features).
        :return: x minus the batch mean, (batch, num_features); 1 / sqrt(batch variance + eps), r and d,
            (num_features,).
        """
        # The statistics alone of torch's batch norm: torch.var_mean over the rows takes ten times as long on a CPU.
        batch_mean, batch_var = th.batch_norm_update_stats(x, None, None, 0.0)
        inverse_std = (batch_var + self.eps).rsqrt()
        r, d = self._corrections(batch_mean, inverse_std)
        self._update_averages(batch_mean, batch_var)
        return x - batch_mean, inverse_std, r, d

    def _corrections(self, batch_mean: th.Tensor, batch_inverse_std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Constants r and d; 1 and 0 during the warm-up."""
        on_host = self._counts_on_host()
        if on_host and self.steps.item() < self.warmup_steps:
            return th.ones_like(batch_mean), th.zeros_like(batch_mean)
        inverse_std = (self.running_var + self.eps).rsqrt()
        r = (inverse_std / batch_inverse_std).clamp(1.0 / RENORM_SCALE_MAX, RENORM_SCALE_MAX)
        d = ((batch_mean - self.running_mean) * inverse_std).clamp(-RENORM_SHIFT_MAX, RENORM_SHIFT_MAX)
        if on_host:
            return r, d
        warm = self.steps >= self.warmup_steps
        return th.where(warm, r, 1.0), th.where(warm, d, 0.0)

    def _update_averages(self, batch_mean: th.Tensor, batch_var: th.Tensor) -> None:
        # With m_t the average that starts at 0 and M_t = m_t / (1 - decay^t), M_t = M_{t-1} + w_t (x_t - M_{t-1})
        # for w_t = (1 - decay) / (1 - decay^t).
        averages, batch = (self.running_mean, self.running_var), (batch_mean, batch_var)
        if self._counts_on_host():
            if math.isfinite(batch_var.sum().item()):
                self.steps += 1
                weight = self.momentum / -math.expm1(self.steps.item() * self._log_decay)
                th._foreach_lerp_(averages, batch, weight)
            return
        finite = th.isfinite(batch_var).all()
        self.steps.add_(finite)
        weights = self.momentum / -th.expm1(self.steps * self._log_decay)
        for average, new in zip(averages, batch, strict=True):
            average.copy_(th.where(finite, th.lerp(average, new, weights.to(average.dtype)), average))

    def _counts_on_host(self) -> bool:
        """Whether the counter may be read: on a CPU at no cost, elsewhere every layer would wait for the device."""
        return self.steps.device.type == "cpu"

    def extra_repr(self) -> str:
        return (
            f"num_features={self.num_features}, eps={self.eps}, "
            f"momentum={self.momentum}, warmup_steps={self.warmup_steps}"
        )
