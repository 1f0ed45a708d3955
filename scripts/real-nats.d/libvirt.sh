# shellcheck shell=sh
# The network "default" that comes with libvirt, started by its daemon.
ip link set lo up
for name in iptables ip6tables; do
  for end in '' -restore -save; do ln -sf xtables-nft-multi "/usr/sbin/$name$end"; done
done
ln -sf xtables-nft-multi /usr/sbin/ebtables
ldconfig
# What the package's own script does at its installation.
echo 'libvirt:x:990:' >>/etc/group
# Only networks are wanted, and virtual machines need more of a system.
rm -f /usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so
libvirtd >/tmp/log 2>&1 &
until virsh -c network:///system list >/dev/null 2>&1 || virsh -c network:///system net-list >/dev/null 2>&1; do
  kill -0 $! || { cat /tmp/log >&2 && exit 1; }
  sleep 0.1
done
virsh -c network:///system net-define /usr/share/libvirt/networks/default.xml >/dev/null
virsh -c network:///system net-start default >/dev/null
xtables-nft-multi iptables-save
libvirtd --version >&2
kill "$(cat /run/libvirt/network/default.pid)" $!
wait
