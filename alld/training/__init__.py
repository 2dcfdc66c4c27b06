"""The recipe, through fastai."""

import warnings

# fastai compiles a function in a way that torch has deprecated; no user of ours can mend that.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
