"""What a container uses, in the shape of Docker's stats (ContainerStatsResponse). Pure."""

from __future__ import annotations

import os
from typing import Any

from stackctl.daemon.inspection import timestamp
from stackctl.model.container import Status
from stackctl.model.record import ContainerRecord
from stackctl.runtime.container import Stats

Message = dict[str, Any]


def sample(record: ContainerRecord, stats: Stats) -> Message:
    """A look in Docker's shape; counters of CPU time are nanoseconds."""
    usage = stats.usage
    nano = 1_000_000_000
    processors = stats.processors
    memory: Message = {}
    if usage.memory is not None:
        memory = {
            "usage": usage.memory,
            "stats": {},
            "limit": usage.memory_limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        }
    lives = record.status is not Status.EXITED and bool(stats.read_at)
    return {
        "id": record.id,
        "name": f"/{record.name}",
        "os_type": "linux",
        "read": timestamp(stats.read_at),
        "num_procs": 0,
        "pids_stats": {"current": usage.pids} if usage.pids is not None else {},
        "cpu_stats": {
            "cpu_usage": {
                "total_usage": int((usage.cpu or 0.0) * nano),
                "usage_in_kernelmode": 0,
                "usage_in_usermode": int((usage.cpu or 0.0) * nano),
            },
            **(
                {"system_cpu_usage": int(stats.system_cpu * nano), "online_cpus": processors}
                if lives
                else {}
            ),
            "throttling_data": {
                "periods": 0,
                "throttled_periods": 0,
                "throttled_time": int((usage.cpu_throttled or 0.0) * nano),
            },
        },
        "memory_stats": memory,
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": 0, "minor": 0, "op": "read", "value": usage.read or 0},
                {"major": 0, "minor": 0, "op": "write", "value": usage.written or 0},
            ]
            if lives
            else None,
            "io_serviced_recursive": None,
            "io_queue_recursive": None,
            "io_service_time_recursive": None,
            "io_wait_time_recursive": None,
            "io_merged_recursive": None,
            "io_time_recursive": None,
            "sectors_recursive": None,
        },
        "storage_stats": {},
        "networks": {
            each.name: {
                "rx_bytes": each.received,
                "rx_packets": each.received_packets,
                "rx_errors": each.received_errors,
                "rx_dropped": each.received_dropped,
                "tx_bytes": each.sent,
                "tx_packets": each.sent_packets,
                "tx_errors": each.sent_errors,
                "tx_dropped": each.sent_dropped,
            }
            for each in stats.interfaces
        },
    }
