"""How a function becomes a Kubeflow component here: its image, and nothing installed when it starts."""

import os
from functools import partial

from kfp import dsl

IMAGE_VARIABLE = "INKLOOP_IMAGE"
IMAGE = os.environ.get(IMAGE_VARIABLE, "ghcr.io/inkloop/inkloop-train:0.1.0")

# The image holds the product and kfp itself.
component = partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
