#!/usr/bin/env bash
# boot.sh IMAGES PAYLOAD: boots the guest, runs PAYLOAD/run.sh in it as root, prints what that prints and exits with its
# status; 125 when the guest did not get that far, 126 when QEMU could not begin. QEMU emulates the processor, so that this
# runs in a container or a virtual machine too, ten times slower than here. The guest has no network and writes to a
# throwaway overlay. It has SLUICE_VM_SECONDS (default 2400) for each boot. Where the payload says `the payload goes on after a
# reboot` and reboots, it is booted again, with what it has written.
#
# Once, in dozens of runs, both emulated processors hung in the kernel; why is not known. Such a guest says where they are and
# ends, which is shown, and all is begun anew, once.
set -uo pipefail
images=$(readlink -f "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$2" -chf "$work/payload.tar" .
truncate -s %1M "$work/payload.tar" # a disk's size
# A processor that does not leave the kernel for two minutes is no slow one.
hung='softlockup_panic=1 sysctl.kernel.watchdog_thresh=60 sysctl.kernel.softlockup_all_cpu_backtrace=1'

# One disk of NVMe alone, the root: of two, on one controller or on two, the kernel numbers now one first, now the other.
boot() {
  timeout "${SLUICE_VM_SECONDS:-2400}" qemu-system-x86_64 \
    -machine q35 -accel tcg,thread=multi,tb-size=512 -cpu Nehalem -m 3072 -smp 2 \
    -nodefaults -no-reboot -display none -monitor none \
    -chardev "file,id=console,path=$work/console,append=on" -serial chardev:console \
    -chardev "file,id=output,path=$work/output,append=on" -serial chardev:output \
    -kernel "$images/vmlinux" \
    -append "console=ttyS0 root=/dev/nvme0n1 rw panic=-1 quiet loglevel=5 mitigations=off net.ifnames=0 $hung ${SLUICE_VM_APPEND:-}" \
    -drive "if=none,id=root,file=$work/root.qcow2,format=qcow2,cache=unsafe" \
    -drive "if=none,id=payload,file=$work/payload.tar,format=raw,readonly=on" \
    -device nvme,serial=root,drive=root -device virtio-blk-pci,drive=payload \
    -device virtio-rng-pci </dev/null
}

# One guest from its first boot to its last. Sets qemu and status, which is empty when the payload did not end.
live() {
  local boots
  : >"$work/console" >"$work/output"
  qemu-img create -q -f qcow2 -b "$images/root.img" -F raw "$work/root.qcow2"
  for ((boots = 1; ; boots++)); do
    boot
    qemu=$?
    [ "$(grep -ac '^the payload goes on after a reboot' "$work/output")" -eq "$boots" ] && [ $qemu -eq 0 ] || break
  done
  tr -d '\r' <"$work/output"
  status=$(tr -d '\r' <"$work/output" | sed -n 's/^payload ended with \([0-9]*\)$/\1/p' | tail -n 1)
  # 124: its time was over.
  if [ $qemu -ne 0 ] && [ $qemu -ne 124 ] && [ ! -s "$work/console" ]; then exit 126; fi
}

tell() {
  local fault
  fault=$(grep -anm 1 -E 'BUG:|Oops|Kernel panic' "$work/console" | cut -d : -f 1)
  echo "the guest did not end its payload (qemu ended with $qemu); its console${fault:+ from the first fault on}:"
  if [ -n "$fault" ]; then tail -n "+$fault" "$work/console" | head -n 200; else tail -n 40 "$work/console"; fi
}

live
if [ -z "$status" ] && grep -aq 'BUG: soft lockup' "$work/console"; then
  tell
  echo 'both emulated processors hung; the guest begins anew'
  live
fi
if [ -z "$status" ]; then
  tell
  exit 125
fi
exit "$status"
