"""Every configuration key with its default and meaning. The defaults are BRUNO as published where it says so."""

from ml_collections import ConfigDict


def base_config() -> ConfigDict:
    """All keys with their defaults, locked against new keys; config files start from it.

    Returns:
      Sections `data`, `model`, `objective`, `optimizer`, `training` and `evaluation`. 0 or "" switch an option off.
    """
    config = ConfigDict(
        {
            "name": "",  # filled in by load_config: the name of the config file ...
            "variant": "",  # ... and what stood behind the colon
            "data": _data(),
            "model": _model(),
            "objective": _objective(),
            "optimizer": _optimizer(),
            "training": _training(),
            "evaluation": _evaluation(),
        }
    )
    return config.lock()


def _augmentation() -> dict:
    """Random affine maps, each range symmetric around no change."""
    return {
        "probability": 0.0,  # of changing an image (set) at all
        "rotation_degrees": 0.0,  # angle, uniform in +- this
        "scale": 0.0,  # log of the factor per axis, uniform in +- this
        "shear": 0.0,  # uniform in +- this
        "translation": 0.0,  # per axis as a fraction of the image's size, uniform in +- this
        # Mirror images, before the map. The published augmentation of the set VAEs, which adds to all sets a copy that
        # is turned and mirrored, is half of the sets augmented: probability=.5, rotation_degrees=180, both flips .5
        "flip_horizontal": 0.0,  # probability that left and right change places, in what is changed at all
        "flip_vertical": 0.0,  # the same for up and down
    }


def _data() -> dict:
    return {
        "dataset": "glyphs",  # a name of exflow.data.registry: glyphs, omniglot, mnist, fashion_mnist, cifar10, ...
        "options": "",  # more of the data set's own, such as "num_train=100, seed=1"; its builder lists them
        "split": "standard",  # omniglot: vinyals; with "_trainval" appended, validation joins train
        "image_size": 28,  # height and width of the cached images, pixels
        "resize": "bilinear",  # how the data set's pictures are brought to that size: bilinear | area | nearest | box
        "downscale": 1,  # the model sees exact means of this many x this many pixels, taken after augmentation
        "pipeline": "tfdata",  # tfdata (host, any size) | device (inside the compiled step, data set in device memory)
        "sets_per_batch": 32,  # sets (sequences) per step, over all devices and hosts
        "set_size": 20,  # images per set
        "min_set_size": 0,  # > 0: ragged sets, size uniform in min_set_size..set_size
        "rotate": True,  # turn every set by a random multiple of 90 degrees
        "distinct": False,  # the sets of a batch are different classes ...
        "distinct_rotations": True,  # ... where a class and its rotation count as two; False: never both in a batch
        # Inside the compiled step, on training sets only:
        "augment": _augmentation(),  # drawn per image: a writer's variation
        "augment_set": _augmentation(),  # drawn per set, the same for all its images: makes new classes
        "outlier_every": 0,  # robustness test: in every such step the last image of each set is white; 0: never
    }


def _model() -> dict:
    return {
        "family": "bruno",  # a name of exflow.models.registry
        "process": "gaussian",  # gaussian | student_t | mixture (of both, per dimension) | low_rank (shared factors)
        "conditioning": "none",  # conditioners also see each image's context: none | original | clean (nn.conditional)
        "turn_back": False,  # with conditioning: first undo the rotation by the angle of the context (core.rotation)
        # Flow
        "scales": 2,  # of the convolutional stack, which halves the image scales - 1 times; 0: dense couplings only
        "filters": 64,  # of every convolution of a conditioner
        "residual_blocks": 8,  # per convolutional conditioner
        "dense_units": 512,  # of both hidden layers of a dense conditioner
        "dense_couplings": 6,  # after the convolutional stack
        "dense_mask": "alternate",  # of dense couplings: alternate (flat index, as published) | checkerboard
        "coupling": "affine",  # affine | affine_scaled (learned range of the log-scales) | spline (rational-quadratic)
        "spline_bins": 8,  # per entry
        "spline_bound": 12.0,  # splines map +- this onto itself; logit pixels lie within 12.3
        "weight_norm": True,
        "initialization": "original",  # data-dependent pass: original (un-normalised) | sequential (see nn.weight_norm)
        "bounded_features": False,  # conditioners also see 2 tanh(x / 2), in which dequantization noise hardly shows
        "alpha": 1e-5,  # the logit acts on alpha / 2 + (1 - alpha) x
        # How it is computed
        # Of the conditioner networks, or of the hidden layers of a set VAE: float32 | bfloat16 (slower than float32 on
        # CPU) | bfloat16_products (BRUNO: rounds the operands of dense products only, twice as fast on CPUs with AMX);
        # densities stay float32
        "compute_dtype": "float32",
        "block_loop": "auto",  # equal residual blocks: scan (compiles fast) | unroll (fast on CPU) | auto (by backend)
        "conv_gradient": "auto",  # plain | matmul (custom weight gradient for CPU) | auto (by backend)
        "remat": False,  # recompute activations in the backward pass: less memory, more time
        # Process
        "process_init": "constant",  # constant (the three values below) | empirical (maximum likelihood, closed form)
        "process_init_batches": 8,  # batches of training sets that "empirical" is fitted on
        "process_refresh_every": 0,  # steps after which it is fitted again to the latents of as many batches; 0: never
        "variance": 1.0,  # v of every latent dimension
        "correlation": 0.1,  # rho / v, in [0, 1)
        "correlation_range": (),  # (low, high): drawn from it for every latent dimension, in place of `correlation`
        "degrees_of_freedom": 1000.0,  # nu > 2, student_t and mixture; 10 lets a mixture tell its parts apart
        "process_rank": 8,  # factors that the dimensions share, low_rank only
        "learn_mean": False,  # the published model keeps the mean at 0
        "set_vae": _set_vae(),  # everything of family "set_vae"; the keys above are BRUNO's
    }


def _set_vae() -> dict:
    """Hierarchical set VAEs; the defaults are the Neural Statistician as in Giannone & Winther 2022."""
    return {
        "hierarchy": "vector",  # vector | map (latents are 4x4 maps) | stream (residual streams: SCHA-VAE)
        "likelihood": "bernoulli",  # a name of exflow.core.likelihoods.likelihood
        "hidden": 512,  # width; a multiple of 4
        "latent_dim": 32,  # channels of every latent of an element
        "context_dim": 32,  # channels of every latent of a set
        "aggregation": "mean",  # of elements to a set: mean | max | attention (LAG) | learned_query
        "residual_posteriors": False,  # posteriors are offsets from their priors
        "log_variance_bound": 0.0,  # > 0 keeps log-variances of latents inside (-bound, bound), softly; 0: none
        # vector and map
        "num_levels": 3,  # latents of an element
        "context_levels": "top",  # levels with a latent of the set: none | top | all
        "prior_aggregation": "mean",  # the same in priors of the latents of the set below the top
        "film": False,  # the latent of the set modulates what else enters a network of an element latent
        "encoder_filters": 64,  # of the first of three stages
        "raw_elements": False,  # posteriors of elements see the encoder's maps, not their projection
        "num_blocks": 1,  # residual blocks of a network of an element latent ...
        "block_depth": 3,  # ... and their layers
        "activation": "elu",  # elu | relu
        "normalization": "batch",  # of hidden layers: batch | group | none. Only batch depends on the other sets
        "head_normalization": "",  # of means and log-variances; "": global_batch for vectors, batch for maps
        "initialization": "uniform_fan_in",  # uniform_fan_in | xavier_normal
        "shared_variance": False,  # vector data: one learned variance per entry
        "unused_parameters": False,  # create the weights that the published models count and never use
        # stream: "resolution-number,..." of blocks or levels, from fine to coarse
        "encoder_blocks": "32-9,16-6,8-6,4-6,2-3,1-3",
        "levels": "8-6,4-6,2-3,1-3",
        "decoder_blocks": "32-9,16-6,8-6",
        "decoder_context": "corner",  # what the decoder sees of the set's stream: corner (as published) | mean | map
        "latents_to_contexts": False,  # element latents enter the prior of the next latent of the set
        "limit_level": 0,  # latents from this level on do not enter the streams; 0: all do
        "level_loop": "auto",  # equal levels and blocks: scan (compiles fast) | unroll (fast on CPU) | auto (backend)
        # How a trained model answers
        "class_rule": "kl",  # class of a query: kl (between posteriors of the set's latents) | elbo (its log-density)
        "sample_means": True,  # pictures are means of the likelihood, as published; False (and vectors): draws
    }


def _objective() -> dict:
    return {
        "generative_weight": 1.0,  # of the negative log-likelihood, nats per image
        "num_context": 0,  # 0: log p(x_n | x_<n); k: all but the first k images, each given those k alone
        "discriminative_weight": 0.0,  # of the few-shot cross-entropy, nats per query
        "ways": (0,),  # classes of an episode: a batch holds sets_per_batch / ways episodes; 0: one, of all its sets
        "shots": (1,),  # sizes of the support sets; the other images of the batch are the queries
        "queries_per_episode": 0,  # drawn at random; 0: all. BRUNO's fine-tuning has 1, of a random class
        "supports_per_set": 0,  # support windows per set and number of shots, each an episode; 0 = as many as images
        "temperature": 1.0,  # divides the class log-probabilities of the cross-entropy ...
        "learn_temperature": False,  # ... as a start value, at the learning rate of the process
        "label_smoothing": 0.0,  # in [0, 1)
        # set_vae: loss = -(w log p(x | latents) - KL / w) with w = 1 + alpha alpha_decay^epoch; evaluation has w = 1
        "alpha": 0.0,
        "alpha_decay": 1.0,  # per epoch, in (0, 1]
        "epoch_steps": 1,  # steps of an epoch
        "free_bits": 0.0,  # nats per image and level below which a divergence is not reduced further
    }


def _optimizer() -> dict:
    return {
        "name": "rmsprop",  # rmsprop | adam, both with the semantics of TensorFlow 1
        "learning_rate": 1e-3,
        "schedule": "constant",  # constant | exponential (decay_rate per step) | cosine (to 0 at num_steps)
        "decay_rate": 1.0,  # per step, exponential only; the original uses 0.999995
        "boost": 1.0,  # factor on the learning rate ...
        "boost_step": 0,  # ... from this step on
        "warmup_steps": 0,  # linear from 0; 0 = none
        "b1": 0.9,  # adam
        "b2": 0.999,  # adam
        "process_learning_rate_multiplier": 1.0,  # of the process parameters' updates
        "process_freeze_steps": 0,  # the process stays as initialised for so many steps
        "clip_value": 0.0,  # of every entry of the gradient; 0 = none
        "clip_norm": 0.0,  # of the gradient's global norm; 0 = none
        "l2": 0.0,  # times the parameter, added to the clipped gradient; not for the process
        "weight_decay": 0.0,  # decoupled, flow only
        "ema_decay": 0.0,  # of the averaged parameters; 0 = none
    }


def _training() -> dict:
    return {
        "seed": 0,  # of parameters, batches and noise
        "init_from": "",  # start with the parameters of this working directory or bundled model (--mode=finetune)
        "num_steps": 200_000,  # parameter updates
        "steps_per_call": 1,  # updates per dispatch of the compiled step
        "num_devices": 0,  # local devices to use; 0 = all, on a CPU-only machine one virtual device per core
        "log_every": 100,  # steps; this and the next two: 0 = never
        "evaluate_every": 5_000,  # steps between evaluations on the validation split
        "checkpoint_every": 1_000,  # steps; the last step is always saved
        "keep_checkpoints": 2,  # the latest ones; the best one is kept besides
        # Which checkpoint is the best on the validation split: nll | nll_prior | bits_per_dim (min), or a few-shot
        # accuracy of evaluation.settings such as few_shot/20way_1shot (max); "": always the latest
        "best_metric": "nll",
        "best_mode": "min",  # min | max
        "time_budget_seconds": 0.0,  # stop, save and exit 0 after this long; 0 = none. The same command resumes
        "max_nonfinite_steps": 20,  # stop with an error after so many skipped steps in a row
        "compilation_cache": True,  # keep compiled programs between runs
    }


def _evaluation() -> dict:
    return {
        "batch_size": 256,  # images per encoding call
        "splits": ("test",),  # of train, validation, test
        "use_ema": True,  # evaluate the averaged parameters, where optimizer.ema_decay keeps them
        "nll_set_size": 20,  # images per set for likelihoods
        "settings": ((5, 1), (5, 5), (20, 1), (20, 5)),  # few-shot tasks as (way, shot)
        "num_trials": 20,  # few-shot trials; one trial queries every class in every rotation once
        "validation_trials": 1,  # the same during training
        "noise_draws": 1,  # dequantization draws per image; of binarised data, draws of the pixels
        "importance_samples": 1,  # set_vae: latent draws per likelihood; 1 is the evidence lower bound
        "num_sample_rows": 8,  # sets in the sample figures
    }
