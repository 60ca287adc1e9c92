# A virtual machine of Debian's own packages under software emulation; sourced by
# vmtest.sh and freshtest.sh. Needs root, qemu-system-x86, mmdebstrap, e2fsprogs.
#
#   vm_root PLACE SUITE PACKAGES    a root file system at PLACE/root, unless it is there
#   vm_runs PLACE DIRECTORY COMMAND what the machine runs when it has booted, on its console
#   vm_boot PLACE NETWORK           runs it to its end; the console goes to PLACE/console.log
#                                   NETWORK: none, or user (reaches what this machine reaches)

vm_needs() {
    for program in qemu-system-x86_64 mmdebstrap mkfs.ext4; do
        command -v "$program" >/dev/null || {
            echo "this needs $program: apt-get install qemu-system-x86 mmdebstrap e2fsprogs" >&2
            exit 1
        }
    done
}

vm_root() {
    vm_needs
    mkdir -p "$1"
    [ -d "$1/root/usr" ] || {
        rm -rf "$1/root.new"
        mmdebstrap --variant=minbase --mode=root \
            --include="linux-image-amd64,systemd-sysv,udev,kmod,$3" "$2" "$1/root.new"
        mv "$1/root.new" "$1/root"
    }
}

vm_runs() {
    case "$2" in
        /tmp/*) echo "systemd empties /tmp when it boots: have the checkout elsewhere" >&2; exit 1 ;;
    esac
    cat > "$1/root/etc/systemd/system/vm.service" <<UNIT
[Unit]
After=basic.target
[Service]
Type=oneshot
Environment=HOME=/root LANG=C.UTF-8
StandardOutput=tty
TTYPath=/dev/ttyS0
StandardError=inherit
WorkingDirectory=$2
ExecStart=/bin/sh -c '$3'
ExecStopPost=/bin/systemctl poweroff --force --force
UNIT
    # A login prompt on the same line would hang up on what runs there.
    ln -sf /dev/null "$1/root/etc/systemd/system/serial-getty@ttyS0.service"
    mkdir -p "$1/root/etc/systemd/system/multi-user.target.wants"
    ln -sf ../vm.service "$1/root/etc/systemd/system/multi-user.target.wants/vm.service"
}

vm_boot() {
    rm -f "$1/disk.img"
    truncate -s 4G "$1/disk.img"
    mkfs.ext4 -q -d "$1/root" "$1/disk.img"
    timeout "${VM_LIMIT:-3600}" qemu-system-x86_64 \
        -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -nographic -no-reboot -nic "$2" \
        -drive file="$1/disk.img",format=raw,if=virtio,cache=unsafe \
        -kernel "$(echo "$1"/root/boot/vmlinuz-*)" -initrd "$(echo "$1"/root/boot/initrd.img-*)" \
        -append "root=/dev/vda rw console=ttyS0 quiet loglevel=1 systemd.unified_cgroup_hierarchy=1 panic=-1" \
        < /dev/null | stdbuf -oL tr -d '\r' | tee "$1/console.log"
}
