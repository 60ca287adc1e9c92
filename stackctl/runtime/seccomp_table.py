"""What a container's processes may ask of the kernel: the default allow-list.

The facts (which calls are safe for everybody, which hang on a capability) agree
with what Docker's engine allows since 2026, so that an image that runs there
runs here. Where this list is narrower:

- socket families: unix, inet, inet6, netlink; packet with NET_RAW. Others have
  a record of kernel holes (AF_ALG, AF_VSOCK, ...) and no user in a container.
- socketcall (i386) hides the family behind a pointer that no filter can follow:
  it answers ENOSYS and C libraries fall back to the single calls.
- x32 is off, as it is in most distributions' kernels.
"""

from __future__ import annotations

from stackctl.runtime.bpf import Compare, Condition
from stackctl.values import dataclass

ENOSYS = 38
EAFNOSUPPORT = 97

_FREE = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek _llseek
    open openat openat2 creat close close_range dup dup2 dup3 pipe pipe2 fcntl fcntl64 flock
    ioctl sendfile sendfile64 splice tee vmsplice copy_file_range readahead fadvise64
    fadvise64_64 fallocate truncate truncate64 ftruncate ftruncate64 sync syncfs fsync
    fdatasync sync_file_range cachestat

    stat stat64 fstat fstat64 lstat lstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs
    fstatfs64 statmount listmount access faccessat faccessat2 chmod fchmod fchmodat fchmodat2
    chown chown32 fchown fchown32 fchownat lchown lchown32 umask utime utimes utimensat
    utimensat_time64 futimesat getcwd chdir fchdir getdents getdents64 link linkat symlink
    symlinkat readlink readlinkat unlink unlinkat rename renameat renameat2 mkdir mkdirat
    rmdir mknod mknodat name_to_handle_at
    getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr
    llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark

    select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
    eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_settime64
    timerfd_gettime timerfd_gettime64 io_setup io_destroy io_submit io_cancel io_getevents
    io_pgetevents io_pgetevents_time64

    mmap mmap2 munmap mprotect mremap madvise msync mincore brk mlock mlock2 mlockall munlock
    munlockall remap_file_pages memfd_create memfd_secret membarrier mseal pkey_alloc pkey_free
    pkey_mprotect map_shadow_stack process_mrelease

    fork vfork execve execveat exit exit_group wait4 waitid waitpid kill tkill tgkill
    pidfd_open pidfd_send_signal getpid getppid gettid getpgid getpgrp setpgid getsid setsid
    set_tid_address set_robust_list get_robust_list set_thread_area get_thread_area
    restart_syscall rseq prctl ptrace process_vm_readv process_vm_writev getcpu uretprobe
    futex futex_time64 futex_wait futex_wake futex_requeue futex_waitv
    rt_sigaction rt_sigprocmask rt_sigpending rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigaltstack sigprocmask sigreturn
    pause alarm getitimer setitimer

    sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr
    sched_getparam sched_setparam sched_getscheduler sched_setscheduler
    sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set
    getrlimit ugetrlimit setrlimit prlimit64 getrusage sysinfo times uname getrandom

    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid
    getresuid32 getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32
    setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32
    setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset seccomp
    landlock_create_ruleset landlock_add_rule landlock_restrict_self

    time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64
    clock_nanosleep clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64

    socketpair bind listen accept accept4 connect shutdown getsockname getpeername
    getsockopt setsockopt sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg recvmmsg_time64

    ipc msgget msgsnd msgrcv msgctl semget semop semtimedop semtimedop_time64 semctl shmget
    shmat shmdt shmctl mq_open mq_unlink mq_timedsend mq_timedsend_time64 mq_timedreceive
    mq_timedreceive_time64 mq_notify mq_getsetattr

    arch_prctl modify_ldt
"""

#: Allowed whatever the capabilities and arguments.
FREE = frozenset(_FREE.split())

#: Allowed to who has one of these capabilities.
BY_CAPABILITY: dict[str, frozenset[str]] = {
    capability: frozenset(names.split())
    for capability, names in {
        "SYS_ADMIN": """bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick
            lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount
            mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd
            setdomainname sethostname setns syslog umount umount2 unshare""",
        "BPF": "bpf",
        "DAC_READ_SEARCH": "open_by_handle_at",
        "PERFMON": "perf_event_open",
        "SYS_BOOT": "reboot",
        "SYS_CHROOT": "chroot",
        "SYS_MODULE": "delete_module init_module finit_module",
        "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        "SYS_PACCT": "acct",
        "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
        "SYS_RAWIO": "iopl ioperm",
        "SYS_TIME": "settimeofday stime clock_settime clock_settime64",
        "SYS_TTY_CONFIG": "vhangup",
        "SYSLOG": "syslog",
    }.items()
}

#: clone(2) flags that make namespaces (NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET).
NEW_NAMESPACES = 0x7E020000

# Numbers of include/linux/socket.h.
_FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16}
_PACKET = 17

#: Linux, UNAME26 (0x20000), PER_LINUX32 (8), both, and the question (0xffffffff).
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Conditional:
    """`name` is allowed when one of the conditions holds, else it fails with `errno`."""

    name: str
    conditions: tuple[Condition, ...]
    errno: int | None = None


def conditional(capabilities: frozenset[str]) -> tuple[Conditional, ...]:
    """Calls that hang on their arguments, for a process with these capabilities."""
    families = [*_FAMILIES.values(), *([_PACKET] if "NET_RAW" in capabilities else [])]
    calls = [
        Conditional(
            "socket",
            tuple(Condition(0, Compare.EQ, family) for family in families),
            EAFNOSUPPORT,
        ),
        Conditional(
            "personality", tuple(Condition(0, Compare.EQ, value) for value in _PERSONALITIES)
        ),
        Conditional("socketcall", (), ENOSYS),
    ]
    if "SYS_ADMIN" not in capabilities:
        no_namespace = Condition(0, Compare.EQ, 0, mask=NEW_NAMESPACES)
        calls.append(Conditional("clone", (no_namespace,)))
        # Its flags lie behind a pointer: ENOSYS makes the C library use clone.
        calls.append(Conditional("clone3", (), ENOSYS))
    return tuple(calls)
