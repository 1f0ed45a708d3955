#!/bin/sh
# within.sh PACKAGES SCRIPT: runs SCRIPT in network, mount, PID, host name and IPC namespaces of its own, where the unpacked files in
# the folder PACKAGES lie over this machine's system. What it writes is gone afterwards. Daemons of packages can be
# started so without being installed.
set -eu
packages=$(realpath "$1") script=$(realpath "$2")
# shellcheck disable=SC2016 # For the shell in there.
exec unshare --net --mount --pid --fork --uts --ipc --kill-child sh -euc '
  base=/mnt
  mount -t tmpfs none "$base"
  mkdir "$base/upper" "$base/work" "$base/root"
  # A layer may not lie within another one.
  cp -a "$1" "$base/packages"
  mount -t overlay none -o "lowerdir=$base/packages:/,upperdir=$base/upper,workdir=$base/work" "$base/root"
  cd "$base/root"
  mount -t proc none proc
  mount -t sysfs none sys
  # Docker wants control groups to be there; nothing makes one.
  mount -t cgroup2 none sys/fs/cgroup
  mount --rbind /dev dev
  for folder in run tmp; do mount -t tmpfs none "$folder"; done
  cp "$2" tmp/script
  PATH=/usr/sbin:/sbin:/usr/bin:/bin exec chroot . /bin/sh -eu /tmp/script' sh "$packages" "$script"
