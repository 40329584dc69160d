"""The keys that every configuration has, with defaults and meanings; each family adds its own (see `families`)."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from exflow.config.families import find_family
from exflow.config.imports import import_and_resolve


def base_config(family: str, imports: Iterable[str] = ()) -> ConfigDict:
    """All keys with their defaults, locked against new keys; config files start from it.

    Args:
      family: Of models, such as "bruno" or "set_vae": a file of `exflow/config/families`, or registered by an import.
      imports: Modules, or paths of .py files, that are imported first: families and data sets of one's own.

    Returns:
      Sections `data`, `model`, `objective`, `optimizer`, `training`, `evaluation` and `sampling`. 0 or "" switch an
      option off.

    Raises:
      UserError: No such family, or a module that cannot be imported.
    """
    imported = import_and_resolve(imports)
    own = find_family(family)
    config = ConfigDict(
        {
            "name": "",  # filled in by load_config: the name of the config file ...
            "variant": "",  # ... and what stood behind the colon
            "imports": imported,  # modules that are imported first
            "data": _data(),
            "model": _model() | {"family": family, family: dict(own.model)},
            "objective": dict(own.objective),
            "optimizer": _optimizer() | {"groups": {group: _group() for group in own.groups}},
            "training": _training(),
            "evaluation": _evaluation(),
            "sampling": _sampling(),
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
        "resize": "bilinear",  # how pictures are brought to that size: bilinear | area | nearest | box | pad
        "downscale": 1,  # the model sees exact means of this many x this many pixels, taken after augmentation
        "pipeline": "tfdata",  # tfdata (host, any size) | device (inside the compiled step, data set in device memory)
        "batches": "episodes",  # episodes (sets of one class) | images (sets of one, every image once an epoch)
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
        # Of the networks' products: float32 | bfloat16 (slower than float32 on CPU), and what else the family has;
        # densities stay float32
        "compute_dtype": "float32",
        "block_loop": "auto",  # equal blocks: scan (compiles fast) | unroll (BRUNO: faster on CPU) | auto (the best)
    }


def _optimizer() -> dict:
    return {
        "name": "rmsprop",  # rmsprop | adam, both with the semantics of TensorFlow 1
        "learning_rate": 1e-3,
        # constant | exponential (decay_rate per step) | cosine (to 0 at num_steps) | milestones
        "schedule": "constant",
        "decay_rate": 1.0,  # per step, exponential only; the original uses 0.999995
        "milestones": (),  # milestones only: steps that halve the rate and move b1 half of the way to 0.95
        "hold_steps": 0,  # milestones only: after so many steps the rate falls linearly ...
        "decay_steps": 0,  # ... to 0, over so many more; 0 = it does not
        "boost": 1.0,  # factor on the learning rate ...
        "boost_step": 0,  # ... from this step on
        "warmup_steps": 0,  # linear from 0; 0 = none
        "b1": 0.9,  # adam
        "b2": 0.999,  # adam
        "epsilon": 1e-8,  # adam: added to the square root of the uncorrected average of squares
        "clip_value": 0.0,  # of every entry of the gradient; 0 = none
        "clip_norm": 0.0,  # of the gradient's global norm; 0 = none
        "l2": 0.0,  # times the parameter, added to the clipped gradient; of the group "main"
        "weight_decay": 0.0,  # decoupled; of the group "main"
        "ema_decay": 0.0,  # of the averaged parameters; 0 = none
    }


def _group() -> dict:
    """Parameters that learn in another way than the group "main"."""
    return {
        "learning_rate_multiplier": 1.0,  # of the updates
        "freeze_steps": 0,  # these parameters stay as initialised for so many steps
        "clip_value": 0.0,  # of every entry of the group's gradient, after that of all groups; 0 = none
        "clip_norm": 0.0,  # of the norm of the group's gradient; 0 = none
        "l2": 0.0,  # times the parameter, added to the clipped gradient
        "weight_decay": 0.0,  # decoupled
    }


def _training() -> dict:
    return {
        "seed": 0,  # of parameters, batches and noise
        "init_from": "",  # start with the parameters of this working directory or bundled model (--mode=finetune)
        "only_groups": (),  # the only groups of parameters that change, such as inference (--mode=finetune); () = all
        # Parameter updates. A larger number makes a run longer, unless its schedule is cosine, which ends there
        "num_steps": 200_000,
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
        "quick_compilation": False,  # compile in a third of the time what then runs slower: for runs of a few steps
    }


def _evaluation() -> dict:
    return {
        "evaluators": (),  # names of exflow.evaluation.registry; (): all that the model can serve
        "batch_size": 256,  # images per encoding call
        "splits": ("test",),  # of train, validation, test
        "use_ema": True,  # evaluate the averaged parameters, where optimizer.ema_decay keeps them
        "nll_set_size": 20,  # images per set for likelihoods
        "settings": ((5, 1), (5, 5), (20, 1), (20, 5)),  # few-shot tasks as (way, shot)
        "num_trials": 20,  # few-shot trials; one trial queries every class in every rotation once
        "validation_trials": 1,  # the same during training
        "noise_draws": 1,  # dequantization draws per image; of binarised data, draws of the pixels
        "importance_samples": 1,  # of models with latents: draws per likelihood; 1 is the evidence lower bound
        "marginal_samples": 0,  # draws of the importance-weighted evaluation; 0: importance_samples
        "marginal_sets": 0,  # sets that it takes, the first ones; 0: all
        # Of models with a group "inference": bounds also after so many epochs of training it on the evaluated images
        # themselves (published: 199), which are labelled and not to be compared with others; 0 = none
        "finetune_epochs": 0,
        "finetune_learning_rate": 3e-5,  # the highest; a third of it first, halved twice
        "num_sample_rows": 8,  # sets in the sample figures
        "sample_quality": {  # distances of samples and reconstructions to real images, see docs/sample_quality.md
            "num_images": 0,  # of each kind, and as many real ones, at least 20, at most those of the split; 0: off
            # 28x28 (comes with exflow, grey) | a path of Inception's classify_image_graph_def.pb | module:function
            "extractor": "28x28",
            "metrics": ("fid", "kid", "prd", "manifolds"),  # some of these; prd needs scikit-learn
            "given": (1, 5),  # samples given so many images of a class, of models of sets
            "methods": (),  # of a sampler fitted after training, such as ("cov", "random"); (): sampling.method
            "crop": 0,  # side of the centre that features are of, such as 28 of digits padded to 32; 0: all
            "jpeg_quality": 0,  # all images through JPEG files, to compare with numbers made so (75); 0: none
        },
    }


def _sampling() -> dict:
    """Of models of codes, whose samples come from what is fitted to the training codes after training."""
    return {
        "method": "",  # one of the model's sampler, such as cov or threshold; "": its first
        "densities": (),  # methods by which the evaluation says how many bits codes need, such as autoregressive
        "num_images": 0,  # of --mode=sample: images that are written one by one besides the mosaic
        "steps": 10,  # of --mode=interpolate and --mode=edit: images from the first to the last
        "interpolation": "orthant",  # how codes become ends of a path: orthant (exact) | hyperplane (published)
        "attribute": "",  # of --mode=edit: name of an attribute of the data set, or a class label
        "direction": "contrast",  # of --mode=edit, which bits change: contrast (significant) | mean (published)
        "strength": 1.0,  # of --mode=edit: fraction of these bits, largest effects first; negative removes
    }
