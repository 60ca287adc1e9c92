"""Runs inside a container and prints, a line each, everything that it finds allowed there.

Self-contained: it is handed to the container's own interpreter as text.
"""

import ctypes
import os
import re
import socket
import stat

# fmt: off
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID",
    "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN",
    "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE",
    "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL",
    "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND",
    "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)
# fmt: on

#: x86-64 and arm64 numbers of calls that a container has no business with, and two it has.
CALLS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "getpid": (39, 172),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
DENIED = (1, 38)  # EPERM, ENOSYS


def main():
    for line in sorted({*status(), *namespaces(), *calls(), *families(), *mounts(), *devices()}):
        print(line)
    for line in sorted({*files(), *descriptors()}):
        print(line)


def status():
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file.read().splitlines())
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        mask = int(fields[kind], 16)
        for number in range(64):
            if mask >> number & 1:
                yield f"{kind} {CAPABILITIES[number] if number < 41 else number}"
    yield f"seccomp mode {fields['Seccomp'].strip()}"


def namespaces():
    """Those of the host would be known by their fixed numbers."""
    first = {"cgroup": 0xEFFFFFFB, "ipc": 0xEFFFFFFF, "pid": 0xEFFFFFFC, "user": 0xEFFFFFFD,
             "uts": 0xEFFFFFFE}  # fmt: skip
    for name in sorted(os.listdir("/proc/self/ns")):
        number = int(re.search(r"\d+", os.readlink(f"/proc/self/ns/{name}")).group())
        if number == first.get(name):
            yield f"namespace {name} is the host's"


def calls():
    libc = ctypes.CDLL(None, use_errno=True)
    column = 0 if os.uname().machine == "x86_64" else 1
    for name, numbers in CALLS.items():
        ctypes.set_errno(0)
        # Bad pointers and descriptors: what is let through fails for another reason.
        arguments = [ctypes.c_long(-1)] * 6
        if name == "unshare":
            arguments = [ctypes.c_long(0x10000000)]  # CLONE_NEWUSER
        if name == "personality":
            arguments = [ctypes.c_long(0x0400000 | 0x40)]
        result = libc.syscall(ctypes.c_long(numbers[column]), *arguments)
        if result != -1 or ctypes.get_errno() not in DENIED:
            yield f"call {name} answers"


def families():
    for number in range(46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            for protocol in (0, 1):
                try:
                    socket.socket(number, kind, protocol).close()
                except OSError:
                    continue
                yield f"socket family {number} type {int(kind)}"


def mounts():
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            target, options = left.split()[4:6]
            target = re.sub(r"/cpu\d+/", "/cpuN/", target)
            flags = ",".join(o for o in options.split(",") if o not in ("relatime", "noatime"))
            yield f"mount {target} {right.split()[0]} {flags}"


def devices():
    for directory, _, names in os.walk("/dev"):
        for name in names:
            path = f"{directory}/{name}"
            found = os.lstat(path)
            if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
                numbers = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
                yield f"device {path} {numbers} {stat.S_IMODE(found.st_mode):o}"
    for kind, letter in ((stat.S_IFCHR, "c"), (stat.S_IFBLK, "b")):
        try:
            os.mknod("/tmp/node", kind | 0o600, os.makedev(1, 3))
        except OSError:
            continue
        os.unlink("/tmp/node")
        yield f"a device {letter} can be made"


def files():
    """What of /proc and /sys can be read or written that tells of, or steers, the machine."""
    for path in (
        *("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/sched_debug"),
        *("/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
    ):
        try:
            if os.path.isdir(path):
                if os.listdir(path):
                    yield f"shown {path}"
            else:
                with open(path, "rb") as file:
                    if file.read(1):
                        yield f"shown {path}"
        except OSError:
            pass
    for top in ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/sys"):
        for directory, _, names in os.walk(top):
            for name in names:
                path = f"{directory}/{name}"
                if os.access(path, os.W_OK):
                    yield f"writable {path}"
    for path in (
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/sys/kernel/uevent_helper",
    ):
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        yield f"writable {path}"


def descriptors():
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
            yield f"descriptor {name} {os.readlink(f'/proc/self/fd/{name}')}"


main()
