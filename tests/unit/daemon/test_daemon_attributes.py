"""Every attribute of the Compose Specification: carried out, warned about or refused, never silent.

The tables hold facts about the specification: which keys there are at which place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stackctl.daemon.desired import desired
from stackctl.errors import StackFileErrors
from stackctl.model.image import Image, ImageConfig
from stackctl.spec.attributes import NoEffect, Refused
from stackctl.spec.hashes import config_hash
from stackctl.spec.loader import Loaded, LoadRequest, load
from stackctl.spec.shape import Shape, stack_shape

#: Place -> keys. `*` is any name, `[]` any item.
SPECIFICATION = {
    "": "version name include services models networks volumes secrets configs",
    "include[]": "path env_file project_directory",
    "services.*": """develop deploy annotations attach build blkio_config cap_add cap_drop cgroup
        cgroup_parent command configs container_name cpu_count cpu_percent cpu_shares cpu_quota
        cpu_period cpu_rt_period cpu_rt_runtime cpus cpuset credential_spec depends_on
        device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file
        label_file environment expose extends provider external_links extra_hosts gpus group_add
        healthcheck hostname image init ipc isolation labels links logging mac_address mem_limit
        mem_reservation mem_swappiness memswap_limit network_mode models networks
        oom_kill_disable oom_score_adj pid pids_limit platform ports pre_start post_start pre_stop
        privileged profiles pull_policy pull_refresh_after read_only restart runtime scale
        security_opt shm_size secrets sysctls stdin_open stop_grace_period stop_signal storage_opt
        tmpfs tty ulimits use_api_socket user uts userns_mode volumes volumes_from working_dir""",
    "services.*.develop": "watch",
    "services.*.develop.watch[]": "ignore include path action target exec initial_sync",
    "services.*.develop.watch[].exec": "command user privileged working_dir environment",
    "services.*.deploy": """mode endpoint_mode replicas labels rollback_config update_config
        resources restart_policy placement""",
    "services.*.deploy.rollback_config": """parallelism delay failure_action monitor
        max_failure_ratio order""",
    "services.*.deploy.update_config": """parallelism delay failure_action monitor
        max_failure_ratio order""",
    "services.*.deploy.resources": "limits reservations",
    "services.*.deploy.resources.limits": "cpus memory pids",
    "services.*.deploy.resources.reservations": "cpus memory generic_resources devices",
    "services.*.deploy.restart_policy": "condition delay max_attempts window",
    "services.*.deploy.placement": "constraints preferences max_replicas_per_node",
    "services.*.deploy.placement.preferences[]": "spread",
    "services.*.build": """context dockerfile dockerfile_inline entitlements args ssh labels
        cache_from cache_to no_cache no_cache_filter additional_contexts network provenance sbom
        pull target shm_size extra_hosts isolation privileged secrets tags ulimits platforms""",
    "services.*.build.secrets[]": "source target uid gid mode",
    "services.*.build.ulimits.*": "hard soft",
    "services.*.blkio_config": """device_read_bps device_read_iops device_write_bps
        device_write_iops weight weight_device""",
    "services.*.blkio_config.device_read_bps[]": "path rate",
    "services.*.blkio_config.weight_device[]": "path weight",
    "services.*.configs[]": "source target uid gid mode",
    "services.*.depends_on.*": "restart required condition",
    "services.*.devices[]": "source target permissions",
    "services.*.env_file[]": "path format required",
    "services.*.extends": "service file",
    "services.*.provider": "type options",
    "services.*.gpus[]": "capabilities count device_ids driver options",
    "services.*.healthcheck": """disable interval retries test timeout start_period
        start_interval""",
    "services.*.logging": "driver options",
    "services.*.models.*": "endpoint_var model_var",
    "services.*.networks.*": """aliases interface_name ipv4_address ipv6_address link_local_ips
        mac_address driver_opts priority gw_priority""",
    "services.*.ports[]": "name mode host_ip target published protocol app_protocol",
    "services.*.pre_start[]": """command image user privileged working_dir environment
        per_replica""",
    "services.*.post_start[]": "command user privileged working_dir environment",
    "services.*.pre_stop[]": "command user privileged working_dir environment",
    "services.*.secrets[]": "source target uid gid mode",
    "services.*.ulimits.*": "hard soft",
    "services.*.volumes[]": "type source target read_only consistency bind volume tmpfs image",
    "services.*.volumes[].bind": "propagation create_host_path recursive selinux",
    "services.*.volumes[].volume": "labels nocopy subpath",
    "services.*.volumes[].tmpfs": "size mode",
    "services.*.volumes[].image": "subpath",
    "models.*": "name model context_size runtime_flags",
    "networks.*": """name driver driver_opts ipam external internal enable_ipv4 enable_ipv6
        attachable labels""",
    "networks.*.ipam": "driver config options",
    "networks.*.ipam.config[]": "subnet ip_range gateway aux_addresses",
    "volumes.*": "name driver driver_opts external labels",
    "secrets.*": "name environment file external labels driver driver_opts template_driver",
    "configs.*": "name content environment file external labels template_driver",
}


def shape_at(path: str) -> Shape:
    shape = stack_shape()
    for step in filter(None, path.replace("[]", ".[]").split(".")):
        match step:
            case "*":
                shape = shape.values or Shape()
            case "[]":
                shape = shape.items or Shape()
            case _:
                shape = (shape.fields or {})[step]
    return shape


@pytest.mark.parametrize("path", SPECIFICATION)
def test_the_models_have_exactly_the_specified_keys(path: str) -> None:
    fields = shape_at(path).fields
    assert fields is not None
    assert sorted(fields) == sorted(SPECIFICATION[path].split())


#: An example of each attribute of a service, one that must make a difference.
EXAMPLES = {
    "annotations": "{a: b}",
    "attach": "false",
    "blkio_config": "{weight: 100}",
    "cap_add": "[SYS_TIME]",
    "cap_drop": "[KILL]",
    "cgroup": "host",
    "cgroup_parent": "x",
    "command": "other",
    "configs": "[{source: c, target: /c}]",
    "container_name": "named",
    "cpu_count": "1",
    "cpu_percent": "5",
    "cpu_period": "50000",
    "cpu_quota": "20000",
    "cpu_rt_period": "1",
    "cpu_rt_runtime": "1",
    "cpu_shares": "5",
    "cpus": "0.5",
    "cpuset": "'0'",
    "credential_spec": "{file: x}",
    "depends_on": "[other]",
    "deploy": "{replicas: 2}",
    "device_cgroup_rules": "['c 1:3 mr']",
    "devices": "[/dev/null]",
    "dns": "1.1.1.1",
    "dns_opt": "['ndots:2']",
    "dns_search": "x.test",
    "domainname": "x.test",
    "entrypoint": "other",
    "env_file": "vars.env",
    "environment": "{A: b}",
    "expose": "['99']",
    "extends": "other",
    "external_links": "[x]",
    "extra_hosts": "[a=1.2.3.4]",
    "gpus": "all",
    "group_add": "[5]",
    "healthcheck": "{test: x}",
    "hostname": "h",
    "image": "image",
    "init": "true",
    "ipc": "host",
    "isolation": "default",
    "label_file": "vars.env",
    "labels": "{a: b}",
    "links": "['other:o']",
    "logging": "{driver: none}",
    "mac_address": "02:00:00:00:00:01",
    "mem_limit": "64m",
    "mem_reservation": "32m",
    "mem_swappiness": "10",
    "memswap_limit": "-1",
    "models": "[m]",
    "network_mode": "none",
    "networks": "{default: {aliases: [x]}}",
    "oom_kill_disable": "true",
    "oom_score_adj": "5",
    "pid": "host",
    "pids_limit": "5",
    "platform": "linux/s390x",
    "ports": "['80']",
    "post_start": "[{command: x}]",
    "pre_start": "[{command: x}]",
    "pre_stop": "[{command: x}]",
    "privileged": "true",
    "profiles": "[p]",
    "provider": "{type: x}",
    "pull_policy": "always",
    "pull_refresh_after": "1h",
    "read_only": "true",
    "restart": "always",
    "runtime": "runc",
    "scale": "2",
    "secrets": "[s]",
    "security_opt": "[no-new-privileges]",
    "shm_size": "1m",
    "stdin_open": "true",
    "stop_grace_period": "1s",
    "stop_signal": "SIGINT",
    "storage_opt": "{size: 1g}",
    "sysctls": "{net.core.somaxconn: 1}",
    "tmpfs": "/t",
    "tty": "true",
    "ulimits": "{nofile: 5}",
    "use_api_socket": "true",
    "user": "u",
    "userns_mode": "host",
    "uts": "host",
    "volumes": "['v:/v']",
    "volumes_from": "[other]",
    "working_dir": "/w",
}
#: What other commands carry out: it is in the model, and makes no difference to a container.
ELSEWHERE = {"build": "{context: .}", "develop": "{watch: [{path: ., action: restart}]}"}
#: What the file says without them already.
BASE = """\
services:
  web:
    image: img
%s
  other: {image: img, user: me, volumes: [/anonymous]}
secrets: {s: {file: vars.env}}
configs: {c: {content: text}}
volumes: {v: }
models: {m: {model: x}}
"""


def loaded(directory: Path, line: str) -> Loaded:
    (directory / "vars.env").write_text("FROM=file\n")
    text = BASE % line
    if line.strip().startswith("image:"):
        text = text.replace("    image: img\n", "", 1)
    (directory / "stack.yaml").write_text(text)
    return load(LoadRequest(cwd=str(directory), name="p"))


def wanted(found: Loaded) -> Any:
    """All that a service's containers, and the plan, are made from, without hashes."""
    image = Image(id="sha256:1", reference="img", config=ImageConfig(command=("serve",)))
    result = desired(found.stack, lambda reference: image, name_volume=lambda c, t: t)
    shown = repr([s for s in result.services if s.name == "web"])
    for service in result.services:
        for config in service.replicas:
            shown = shown.replace(repr(config.made_of), "").replace(config.config_hash, "")
    return shown


def test_there_is_an_example_of_every_attribute() -> None:
    assert set(EXAMPLES) | set(ELSEWHERE) == set(SPECIFICATION["services.*"].split())


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_attribute_is_silently_ignored(tmp_path: Path, name: str) -> None:
    plain = loaded(tmp_path, "")
    shape = shape_at(f"services.*.{name}")
    line = f"    {name}: {EXAMPLES[name]}"
    found = loaded(tmp_path, line)
    try:
        made = wanted(found)
    except StackFileErrors as errors:
        (error,) = errors.errors
        assert isinstance(shape.support, Refused)
        assert error.place is not None and error.place.line > 0 and error.place.column > 0
        assert name in error.brief and shape.support.reason in error.brief
        return
    if made == wanted(plain):
        hashes = {config_hash(each.stack, each.stack.services["web"]) for each in (found, plain)}
        assert len(hashes) == 1, f"{name} makes no difference and containers anew"
    warned = [w for w in found.warnings if name in w.text and w.place and w.place.line > 0]
    if isinstance(shape.support, NoEffect) and name == "isolation":
        # `default` is all that there is outside of Windows.
        assert getattr(found.stack.services["web"], name) == EXAMPLES[name]
        return
    assert warned or made != wanted(plain), f"{name} makes no difference and says nothing"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_attributes_of_other_commands_are_in_the_model(tmp_path: Path, name: str) -> None:
    found = loaded(tmp_path, f"    {name}: {ELSEWHERE[name]}")
    assert getattr(found.stack.services["web"], name) is not None
