"""What is told of GPUs; none is needed, for the numbers are given."""

import pytest

from dia.server.gpus import gpu_memory
from dia.server.views import memory_pressure


def test_a_machine_without_gpus_has_no_memory_of_theirs():
    assert gpu_memory() == {} or all(name.startswith("gpu_") for name in gpu_memory())


@pytest.mark.parametrize(
    ("free_gb", "pressure", "status"), [(80.0, 0.0, "normal"), (12.0, 0.85, "normal"), (4.0, 0.95, "high")]
)
def test_pressure_is_the_used_share(free_gb: float, pressure: float, status: str):
    told = memory_pressure({"gpu_0": {"free_gb": free_gb, "total_gb": 80.0}})
    assert told == {"gpu_0": {"pressure": pressure, "status": status}}
