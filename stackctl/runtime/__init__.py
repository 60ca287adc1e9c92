"""Containers: bundle -> process; cgroups, rootfs, seccomp, capabilities, exec, logs, the shim."""
