"""A Ray to work on: the cluster at `RAY_ADDRESS`, or one started here and stopped again."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from inkloop.errors import UserError

# A busy laptop takes longer than Ray's minute to start two workers; no laptop is preempted; and workers whose epochs
# are short would wait for the trainer, which looks for their results every two seconds. What they print is said once.
TRAIN = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
}
QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_AIR_NEW_OUTPUT": "0", "RAY_DEDUP_LOGS": "0"}
# One thread a process: two threads beside another busy process train 15 times slower.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
OBJECT_STORE_BYTES = 1 << 30
KNOCK_S = 10


@contextmanager
def ray_session() -> Iterator[int]:
    """Connect to the Ray at `RAY_ADDRESS` or start one; yields the number of CPUs it has; disconnects or stops it.

    Raises UserError if no Ray answers at `RAY_ADDRESS`.
    """
    for name, value in (TRAIN | QUIET).items():
        os.environ.setdefault(name, value)
    import ray

    environment = {"env_vars": TRAIN | ONE_THREAD}
    if address := os.environ.get("RAY_ADDRESS"):
        try:
            _knock(address)
            ray.init(address, runtime_env=environment, logging_level=logging.ERROR)
        except (OSError, ray.exceptions.AuthenticationError) as error:
            raise UserError(
                f"RAY_ADDRESS={address}: no Ray answers there, or none that lets us in. Start it (`ray start --head`), "
                "or unset RAY_ADDRESS; if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
            ) from error
    else:
        ray.init(
            "local",
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            runtime_env=environment,
            logging_level=logging.ERROR,
        )
    try:
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError if nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), KNOCK_S).close()
