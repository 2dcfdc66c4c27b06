"""The earlier systems of the paper's Table 1, rebuilt, and the bench that tests them all alike."""

import importlib.util

from alld.errors import ConfigError

if importlib.util.find_spec("skimage") is None:
    raise ConfigError("the rivals need scikit-image: pip install 'alld[rivals]'")
