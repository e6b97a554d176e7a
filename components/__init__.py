"""The Kubeflow components: one file a step, typed artifacts in and out, a thin call into the domain."""

import os
from functools import partial

from kfp import dsl

IMAGE = os.environ.get("INKLOOP_IMAGE", "ghcr.io/inkloop/inkloop-python:0.1.0")

# The image holds the product and kfp itself, so a step installs nothing when it starts.
component = partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
