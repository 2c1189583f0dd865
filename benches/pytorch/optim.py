"""AdamW as the official code steps it: tensor by tensor, epsilon on the uncorrected root."""

import math

import torch

NO_DECAY = ("bias", "norm")


class OfficialAdamW:
    def __init__(self, named_parameters, lr, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8):
        self.named, self.lr, self.betas, self.eps = list(named_parameters), lr, betas, eps
        self.decay = weight_decay
        self.state = {}

    @torch.no_grad()
    def step(self):
        beta1, beta2 = self.betas
        for name, p in self.named:
            if p.grad is None:
                continue
            if name not in self.state:
                self.state[name] = [0, torch.zeros_like(p), torch.zeros_like(p)]
            state = self.state[name]
            state[0] += 1
            step, mean, square = state
            mean.mul_(beta1).add_(p.grad, alpha=1.0 - beta1)
            square.mul_(beta2).addcmul_(p.grad, p.grad, value=1.0 - beta2)
            denominator = square.sqrt().add_(self.eps)
            size = self.lr * math.sqrt(1.0 - beta2**step) / (1.0 - beta1**step)
            p.addcdiv_(mean, denominator, value=-size)
            if self.decay and not any(part in name for part in NO_DECAY):
                p.add_(p, alpha=-self.lr * self.decay)

    def zero_grad(self):
        for _, p in self.named:
            p.grad = None


def fused(named_parameters, lr, weight_decay=0.01):
    """PyTorch's own AdamW, one kernel for all tensors."""
    decayed, rest = [], []
    for name, p in named_parameters:
        (rest if any(part in name for part in NO_DECAY) else decayed).append(p)
    groups = [{"params": decayed, "weight_decay": weight_decay},
              {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)
