"""Overrides that several config files share: what trains a model in few updates, and what runs in seconds."""

FAST_ADAM = {  # instead of the published RMSProp: a fraction of the updates
    "model.bruno.initialization": "sequential",
    "model.bruno.process_init": "empirical",
    "model.bruno.learn_mean": True,
    "optimizer.name": "adam",
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 100,
    "optimizer.groups.process.freeze_steps": 0,
    "optimizer.groups.process.learning_rate_multiplier": 10.0,
    "optimizer.clip_norm": 100.0,
    "optimizer.ema_decay": 0.999,
}
FAST_ON_ACCELERATOR = FAST_ADAM | {  # the published model in minutes instead of hours
    "data.pipeline": "device",
    "model.compute_dtype": "bfloat16",
    "training.steps_per_call": 10,
    "training.evaluate_every": 1_000,
}
SMALL_CONV_BRUNO = FAST_ADAM | {  # images of half the size
    "data.pipeline": "device",
    "data.downscale": 2,
    "data.sets_per_batch": 16,
    "data.set_size": 10,
    "model.bruno.filters": 32,
    "model.bruno.residual_blocks": 1,
    "model.bruno.dense_units": 256,
    "training.num_steps": 3_000,
    "training.evaluate_every": 500,
}
FEW_STEPS = {  # of Omniglot's recipes
    "training.num_steps": 8,
    "training.log_every": 4,
    "training.evaluate_every": 8,
    "training.checkpoint_every": 4,
    "evaluation.num_trials": 1,
    "evaluation.settings": ((5, 1), (20, 1)),
}
SMOKE = FEW_STEPS | {  # the whole pipeline, learning nothing; on top of a small recipe
    "data.image_size": 8,
    "data.downscale": 1,
    "data.sets_per_batch": 4,
    "data.set_size": 5,
    "model.bruno.filters": 8,
    "model.bruno.dense_units": 32,
    "model.bruno.dense_couplings": 2,
    "model.bruno.process_init_batches": 1,
    "evaluation.splits": ("test",),
    "evaluation.settings": ((5, 1),),
    "evaluation.num_sample_rows": 2,
}
