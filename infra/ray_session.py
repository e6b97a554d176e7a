"""A Ray to work on: the cluster at `RAY_ADDRESS`, or one started here and stopped again."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

# A busy laptop takes longer than Ray's minute to start two workers; and no laptop is preempted.
PATIENCE = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_AIR_NEW_OUTPUT": "0", "RAY_DEDUP_LOGS": "0"}
# One thread a process: two threads beside another busy process train 15 times slower.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
OBJECT_STORE_BYTES = 1 << 30


@contextmanager
def ray_session() -> Iterator[int]:
    """Connect to the Ray at `RAY_ADDRESS` or start one; yields the number of CPUs it has; disconnects or stops it."""
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)
    import ray

    environment = {"env_vars": PATIENCE | ONE_THREAD}
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address, runtime_env=environment, logging_level=logging.ERROR)
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
