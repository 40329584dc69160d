"""Configurations: every key with its default, config files with variants, overrides and validation.

A fork adds an experiment as one file, `configs/my_omniglot.py`:

    '''My idea on Omniglot. Command, expected numbers, duration, hardware.'''

    from exflow.config import base_config


    def get_config():
        config = base_config("bruno")
        config.data.dataset = "omniglot"
        config.data.split = "vinyals"
        config.model.bruno.filters = 32
        config.training.num_steps = 50_000
        return config


    VARIANTS = {
        "smoke": {"training.num_steps": 4, "model.bruno.filters": 8},  # the whole pipeline in seconds
        "student_t": {"model.bruno.process": "student_t"},
    }

Then `python -m exflow.main --config=configs/my_omniglot.py:student_t --config.model.bruno.filters=16` runs it: the
file, then the variant, then the command line, each overwriting what came before; the result is validated and locked.

A data set or a family of models of your own lives in a module beside the config file, where it registers itself:
`base_config("my_family", imports=("my_family",))` imports it, and so does whatever opens the working directory later.
A single key of your own needs `with config.unlocked(): config.model.my_key = 1` in the file and can then be overridden
like any other.
"""

from exflow.config.base import base_config
from exflow.config.load import available_configs, load_config
from exflow.config.stored import from_json, to_json
from exflow.config.validation import validate

__all__ = ["available_configs", "base_config", "from_json", "load_config", "to_json", "validate"]
