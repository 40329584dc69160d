"""The training step of a reference: noise, loss, gradient, clipping and optimizer, as in the configuration."""

from collections.abc import Callable

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn

from benchmarks.reference.bruno import Bruno
from benchmarks.reference.convert import copy_into, with_couplings
from benchmarks.reference.lbae import Lbae
from benchmarks.reference.matnet import MatNet, joined
from benchmarks.reference.set_vae import SetVae
from benchmarks.reference.set_vae_layers import standard_noise
from benchmarks.reference.stream import StreamVae
from exflow.typing import Batch, Params


class ReferenceStep:
    """A call takes a step and returns its loss; arguments as those of `benchmarks.bench_train_step.ExflowStep`."""

    def __init__(self, config: ConfigDict, params: Params, batch: Batch, compiled: bool = False):
        self.model, loss = _built(config, batch.x_set.shape[2:], params)
        self.loss = torch.compile(loss) if compiled else loss
        self.groups = dict(self.model.named_children()) if config.model.family == "matnet" else {}
        self.optimizer = _optimizer(config.optimizer, self.model, self.groups)
        self.limits, self.pixels = config.optimizer, torch.from_numpy(batch.x_set)

    def __call__(self) -> float:
        """See the class."""
        loss = self.loss(self.pixels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.limits.clip_value:
            nn.utils.clip_grad_value_(self.model.parameters(), self.limits.clip_value)
        if self.limits.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.limits.clip_norm)
        for name, options in self.limits.groups.items():
            if name in self.groups and options.clip_norm:
                nn.utils.clip_grad_norm_(self.groups[name].parameters(), options.clip_norm)
        self.optimizer.step()
        return loss.item()


def _built(
    config: ConfigDict, image_shape: tuple[int, int, int], params: Params
) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The model with exflow's parameters, and its loss of 8-bit pixels."""
    if config.model.family == "bruno":
        bruno = Bruno(config, image_shape)
        copy_into(bruno, with_couplings(params))
        return bruno, lambda pixels: bruno(pixels + torch.rand(pixels.shape))
    if config.model.family == "matnet":
        matnet, objective = MatNet(config, image_shape), config.objective
        copy_into(matnet, joined(params))
        start = objective.annealing_start if objective.annealing_steps else 1.0
        return matnet, lambda pixels: matnet(torch.bernoulli(pixels.flatten(0, 1) / 255), torch.randn, start)
    if config.model.family == "lbae":
        lbae = Lbae(config, image_shape)
        copy_into(lbae, params)
        return lbae, lambda pixels: lbae(pixels.flatten(0, 1) / 255)
    model = set_vae(config, image_shape)
    copy_into(model, params["networks"])
    weight = 1 + config.objective.alpha
    return model, lambda pixels: model(torch.bernoulli(pixels / 255), standard_noise, weight)


def set_vae(config: ConfigDict, image_shape: tuple[int, int, int]) -> nn.Module:
    """The set VAE of the configuration."""
    return (StreamVae if config.model.set_vae.hierarchy == "stream" else SetVae)(config, image_shape)


def _optimizer(options: ConfigDict, model: nn.Module, groups: dict[str, nn.Module]) -> torch.optim.Optimizer:
    """That of the configuration, at a constant rate; groups of parameters with their own penalties."""
    rate = options.learning_rate
    if options.name == "rmsprop":
        return torch.optim.RMSprop(model.parameters(), rate, alpha=0.9, eps=1e-10, foreach=True)
    betas = options.b1, options.b2
    if groups:
        penalized = [
            {"params": [*group.parameters()], "weight_decay": options.groups[name].l2} for name, group in groups.items()
        ]
        return torch.optim.Adam(penalized, rate, betas, options.epsilon, fused=True)
    return torch.optim.Adam(model.parameters(), rate, betas, weight_decay=options.l2, fused=True)
