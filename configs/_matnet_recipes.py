"""What the configurations of Matryoshka networks share."""

from ml_collections import ConfigDict

from exflow.config import base_config

TRAIN_IMAGES = 50_000  # of MNIST, where 10,000 are held out for validation

SMOKE = {
    "data.sets_per_batch": 8,
    "training.num_steps": 12,
    "training.log_every": 6,
    "training.evaluate_every": 12,
    "training.checkpoint_every": 12,
    "training.quick_compilation": True,
    "evaluation.batch_size": 64,
    "evaluation.marginal_samples": 4,
    "evaluation.marginal_sets": 64,
    "evaluation.num_sample_rows": 2,
}


def single_images(dataset: str, batch: int) -> ConfigDict:
    """A configuration that learns from single images, `batch` of them a step, by Adam as Bachman's code does it.

    Its Adam has b2 = 0.98, epsilon 1e-4 and gradients clipped at a norm of 1,000 per network. Its
    penalty c |p|^2 of all parameters is the key `l2` of both groups, which is 2 c and is added behind the clipping.
    """
    config = base_config("matnet")
    config.data.dataset = dataset
    config.data.pipeline = "device"
    config.data.batches = "images"
    config.data.set_size = 1
    config.data.sets_per_batch = batch
    config.data.rotate = False
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.b1 = 0.8
    config.optimizer.b2 = 0.98
    config.optimizer.epsilon = 1e-4
    config.optimizer.groups.generator.clip_norm = 1000.0
    config.optimizer.groups.inference.clip_norm = 1000.0
    config.optimizer.groups.generator.l2 = 2e-5
    config.optimizer.groups.inference.l2 = 2e-5
    config.evaluation.nll_set_size = 1
    config.evaluation.settings = ()
    config.evaluation.marginal_samples = 2_500
    return config


def schedule(milestones: tuple[int, ...], hold: int, decay: int, batch: int, images: int = TRAIN_IMAGES) -> dict:
    """Milestones, length at full rate and length of the fall to zero; all in epochs of `images`, as published."""
    epoch = images // batch
    return {
        "optimizer.schedule": "milestones",
        "optimizer.milestones": tuple(epoch * milestone for milestone in milestones),
        "optimizer.hold_steps": epoch * hold,
        "optimizer.decay_steps": epoch * decay,
        "training.num_steps": epoch * (hold + decay),
        "training.log_every": epoch,
        "training.evaluate_every": 10 * epoch,
        "training.checkpoint_every": 10 * epoch,
    }


CPU = {"model.compute_dtype": "bfloat16_products"}  # quick on processors with bfloat16 matrix units, else no loss
WORKSHOP = {  # the form of modules of the first published code
    "model.matnet.block": "projection",
    "model.matnet.shortcut_encoder": (),
    "model.matnet.entry_layers": 1,
    "model.matnet.exit_layers": 1,
    "model.matnet.entry_normalized": False,
    "model.matnet.normalization": "batch",
    "model.matnet.inference_noise": 0.1,
    "model.matnet.merge_state": False,
    "model.matnet.activation": "relu",
    "model.matnet.initialization": "normal",
    "model.matnet.scale_owner": "inference",
    "model.matnet.top_shortcuts": True,
    "objective.sleep_start_step": 0,
    "data.sets_per_batch": 200,
}
CONV = {  # convolutional networks of the final code: of MNIST, which those of other data change
    "model.matnet.levels": "7-64-5,14-64-5,28-32-0",
    "model.matnet.top_latent_dim": 32,
    "model.matnet.latent_dim": 4,
    "model.matnet.top_hidden": 128,
    "model.matnet.top_shortcuts": False,
    "model.matnet.shortcut_encoder": (),
    "model.matnet.entry_layers": 0,
    "model.matnet.exit_layers": 0,
    "model.matnet.normalization": "none",
    "model.matnet.inference_noise": 0.0,
    "model.matnet.generator_noise": 0.0,
}
