"""Keys of the Compose Specification, so that "not supported yet" differs from a typo.

A key that the model has a field for is supported; one that is only listed here
is refused with its place. The list is a fact about the specification (its
schema), not about this program: a new field in the model is enough to support
a key. Deliberately refused keys carry a reason.
"""

from __future__ import annotations


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: By the name of the model class, the specification's keys at that place.
KNOWN: dict[str, frozenset[str]] = {
    "StackFile": _keys("version name include services models networks volumes secrets configs"),
    "Service": _keys(
        """annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command
        configs container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period
        cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on deploy develop
        device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint
        env_file environment expose extends external_links extra_hosts gpus group_add
        healthcheck hostname image init ipc isolation label_file labels links logging
        mac_address mem_limit mem_reservation mem_swappiness memswap_limit models
        network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform
        ports post_start pre_start pre_stop privileged profiles provider pull_policy
        pull_refresh_after read_only restart runtime scale secrets security_opt shm_size
        stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits
        use_api_socket user userns_mode uts volumes volumes_from working_dir"""
    ),
    "HealthCheck": _keys("disable interval retries test timeout start_period start_interval"),
    "Deploy": _keys(
        """mode endpoint_mode replicas labels rollback_config update_config resources
        restart_policy placement"""
    ),
    "Resources": frozenset(("limits", "reservations")),
    "ResourceLimits": frozenset(("cpus", "memory", "pids")),
    "Reservations": frozenset(("cpus", "memory", "generic_resources", "devices")),
    "ServicePort": _keys("name mode host_ip target published protocol app_protocol"),
    "ServiceVolume": _keys("type source target read_only consistency bind volume tmpfs image"),
    "BindOptions": _keys("propagation create_host_path recursive selinux"),
    "VolumeOptions": _keys("labels nocopy subpath"),
    "TmpfsOptions": _keys("size mode"),
    "ServiceNetwork": _keys(
        """aliases interface_name ipv4_address ipv6_address link_local_ips mac_address driver_opts
        priority gw_priority"""
    ),
    "ServiceDependency": _keys("restart required condition"),
    "EnvFile": _keys("path format required"),
    "Network": _keys(
        """name driver driver_opts ipam external internal enable_ipv4 enable_ipv6 attachable
        labels"""
    ),
    "Ipam": _keys("driver config options"),
    "IpamConfig": _keys("subnet ip_range gateway aux_addresses"),
    "Volume": _keys("name driver driver_opts external labels"),
}
