"""Hierarchical few-shot models of Omniglot (Giannone & Winther 2022, arXiv:2110.12279): eleven set VAEs.

    python -m exflow.main --config=configs/set_vae_omniglot.py                 # SCHA-VAE with attention (LAG)
    python -m exflow.main --config=configs/set_vae_omniglot.py:ns              # or vae, ns_lag, cns, hfsgm, ...
    python -m exflow.main --config=configs/set_vae_omniglot.py:cpu_cns         # small, trains on two cores
    python -m exflow.main --config=configs/set_vae_omniglot.py:ns --config.data.dataset=omniglot_back_eval

Sets of 5 binarised drawings of one character; half of the training sets are flipped and turned. Published, nats per
image, as a bound of one draw | of 1,000 draws: VAE 101.5 | 95.9, NS 96.6 | 92.4, CNS 92.9 | 89.7, CNS-LAG 92.8 | 89.7,
SCHA-VAE 89.4 | 85.8, SCHA-VAE-LAG 88.4 | 85.4, on another version of Omniglot (grey pictures of Burda et al., for those
who have the file: `--config.data.options=source=burda`), after 1,000 epochs. An epoch is counted as 8,000 sets.
`fast_` in front of a model takes a fraction of the updates, with averaged parameters and bfloat16 layers: `:fast_ns`
reaches 96.3 (20,000 updates), `:fast_vae` 103.6 (12,000 of 400 images), in 9 and 5 minutes of an H200 that they shared.

Parameters: VAE 13,345,099; NS 14,762,959; CNS 16,984,897; CNS-LAG 17,182,273 (with the weights that the original code
creates and never uses). SCHA-VAE has 4,778,305 and with attention 5,669,953; the published 11.9 and 12.8 millions
include the networks of another model that are never used.
"""

from ml_collections import ConfigDict

from exflow.config import base_config

EPOCH_SETS = 8_000  # 4,000 sets of five of 1,000 characters, and as many flipped and turned


def get_config() -> ConfigDict:
    config = base_config("set_vae")
    config.data.dataset = "omniglot_ns"
    config.data.resize = "area"
    config.data.pipeline = "device"
    config.data.sets_per_batch = 16
    config.data.set_size = 5
    config.data.rotate = False
    config.data.augment_set.probability = 0.5
    config.data.augment_set.rotation_degrees = 180.0
    config.data.augment_set.flip_horizontal = 0.5
    config.data.augment_set.flip_vertical = 0.5
    config.model.set_vae.hierarchy = "stream"
    config.model.set_vae.hidden = 128
    config.model.set_vae.aggregation = "attention"
    config.model.set_vae.unused_parameters = True
    config.objective.alpha = 2.0
    config.objective.alpha_decay = 0.9
    config.objective.epoch_steps = EPOCH_SETS // 16
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 2e-4
    config.optimizer.clip_value = 1.0
    config.optimizer.l2 = 1e-5
    config.training.num_steps = 1_000 * EPOCH_SETS // 16
    config.evaluation.nll_set_size = 5
    config.evaluation.settings = ((5, 1), (5, 5), (20, 1), (20, 5))
    return config


BATCH_100 = {
    "data.sets_per_batch": 100,
    "objective.alpha_decay": 0.98,
    "objective.epoch_steps": EPOCH_SETS // 100,
    "optimizer.learning_rate": 1e-3,
    "training.num_steps": 1_000 * EPOCH_SETS // 100,
    "model.set_vae.aggregation": "mean",
}
VECTOR = BATCH_100 | {"model.set_vae.hierarchy": "vector", "model.set_vae.hidden": 512}
MAP = BATCH_100 | {"model.set_vae.hierarchy": "map", "model.set_vae.hidden": 256}
ALL = {"model.set_vae.set_latent_levels": "all"}
LAG = {"model.set_vae.aggregation": "attention"}

MODELS = {
    "vae": VECTOR
    | {
        "data.set_size": 1,
        "model.set_vae.set_latent_levels": "none",
        "model.set_vae.class_rule": "elbo",
        "objective.epoch_steps": 5 * EPOCH_SETS // 100,
        "training.num_steps": 5_000 * EPOCH_SETS // 100,
        "evaluation.settings": (),
    },
    "ns": VECTOR,
    "ns_lag": VECTOR | LAG,
    "hfsgm": VECTOR | ALL,
    "hfsgm_lag": VECTOR | ALL | LAG | {"model.set_vae.prior_aggregation": "attention", "model.set_vae.film": True},
    "cns": MAP | {"optimizer.learning_rate": 2e-4},
    "cns_lag": MAP | LAG,
    "chfsgm": MAP | ALL | {"model.set_vae.hidden": 128},
    "chfsgm_lag": MAP | ALL | LAG | {"model.set_vae.hidden": 128},
    "scha": {"model.set_vae.aggregation": "mean"},
    "scha_lag": {},
}
CLEAN = {  # no unused weights, nothing that depends on the rest of the batch, the whole context, sets of any size
    "data.min_set_size": 1,
    "model.set_vae.normalization": "group",
    "model.set_vae.head_normalization": "none",
    "model.set_vae.unused_parameters": False,
    "model.set_vae.residual_posteriors": True,
    "model.set_vae.log_variance_bound": 10.0,
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 100,
    "optimizer.clip_value": 0.0,
    "optimizer.clip_norm": 200.0,
    "optimizer.ema_decay": 0.999,
}
CLEAN_STREAM = {"model.set_vae.decoder_set_stream": "map", "model.set_vae.examples_to_set_latents": True}
FAST = {  # a fraction of the published updates
    "objective.alpha_decay": 0.9,
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 100,
    "optimizer.ema_decay": 0.999,
    "model.compute_dtype": "bfloat16",
    "training.steps_per_call": 20,
    "training.evaluate_every": 4_000,
}
FAST_STEPS = {  # that a model's own options are not enough for
    "vae": {"data.sets_per_batch": 400, "objective.epoch_steps": 5 * EPOCH_SETS // 400, "training.num_steps": 12_000},
    "cns": {"optimizer.learning_rate": 5e-4, "training.num_steps": 12_000},
}
CPU = {
    "data.sets_per_batch": 16,
    "objective.alpha": 0.0,  # few updates, so all of them on the bound itself
    "model.set_vae.latent_dim": 8,
    "model.set_vae.set_latent_dim": 8,
    "model.set_vae.encoder_filters": 16,
    "model.set_vae.hidden": 32,
    "model.set_vae.encoder_blocks": "32-1,16-2,8-2,4-1,2-1,1-1",
    "model.set_vae.levels": "8-1,4-2,2-1,1-1",
    "model.set_vae.decoder_blocks": "32-1,16-1,8-1",
    "objective.epoch_steps": EPOCH_SETS // 16,
    "optimizer.learning_rate": 1e-3,
    "optimizer.schedule": "cosine",
    "optimizer.ema_decay": 0.995,
    "training.num_steps": 5_000,
    "training.evaluate_every": 1_000,
}
CPU_VECTOR = {"model.set_vae.hidden": 128, "model.set_vae.latent_dim": 16, "model.set_vae.set_latent_dim": 16}
SMOKE = {  # the whole pipeline in less than a minute of two cores
    "data.dataset": "glyphs",  # fewer pictures, and no download
    "data.options": "num_train=20, num_validation=4, num_test=4",
    "data.sets_per_batch": 4,
    "model.set_vae.hidden": 8,
    "model.set_vae.latent_dim": 4,
    "model.set_vae.set_latent_dim": 4,
    "model.set_vae.num_levels": 2,
    "model.set_vae.encoder_filters": 4,
    "model.set_vae.block_depth": 1,
    "model.set_vae.encoder_blocks": "4-1",
    "model.set_vae.levels": "4-2",
    "model.set_vae.decoder_blocks": "32-1",
    "model.set_vae.unused_parameters": False,
    "training.quick_compilation": True,
    "training.num_devices": 1,
    "training.num_steps": 8,
    "training.log_every": 4,
    "training.evaluate_every": 8,
    "training.checkpoint_every": 4,
    "evaluation.splits": ("test",),
    "evaluation.settings": (),
    "evaluation.num_sample_rows": 2,
}

VARIANTS = {
    **MODELS,
    **{
        f"clean_{name}": row | CLEAN | (CLEAN_STREAM if name.startswith("scha") else {})
        for name, row in MODELS.items()
        if name != "vae"
    },
    **{
        f"fast_{name}": row | FAST | {"training.num_steps": 20_000} | FAST_STEPS.get(name, {})
        for name, row in MODELS.items()
    },
    **{
        f"cpu_{name}": row | CPU | (CPU_VECTOR if row.get("model.set_vae.hierarchy") == "vector" else {})
        for name, row in MODELS.items()
    },
    **{f"smoke_{name}": row | CPU | SMOKE for name, row in MODELS.items()},
    "smoke": CPU | SMOKE,
}
