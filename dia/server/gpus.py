"""How full the memory of the GPUs is."""

import sys

__all__ = ["gpu_memory"]


def gpu_memory() -> dict[str, dict[str, float]]:
    """By the name `gpu_N`, in 10^9 bytes. Nothing until the model has brought torch: asking must not load it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    report = {}
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        report[f"gpu_{index}"] = {
            "allocated_gb": round(torch.cuda.memory_allocated(index) / 1e9, 3),
            "reserved_gb": round(torch.cuda.memory_reserved(index) / 1e9, 3),
            "total_gb": round(total / 1e9, 3), "free_gb": round(free / 1e9, 3),
        }  # fmt: skip
    return report
