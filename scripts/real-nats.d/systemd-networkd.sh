# shellcheck shell=sh
# What systemd-networkd loads for IPMasquerade=ipv4 on the device downwards.
ip link set lo up
ip link add lan type veth peer name lan-far
ip link set lan-far up
# What the package's own script does at its installation.
getent passwd systemd-network >/dev/null || echo 'systemd-network:x:998:998::/:/usr/sbin/nologin' >>/etc/passwd
getent group systemd-network >/dev/null || echo 'systemd-network:x:998:' >>/etc/group
mkdir -p /run/systemd/network /run/systemd/netif/links
chown -R systemd-network: /run/systemd/netif
# Where /sys is writable, networkd waits for udev to name each device; in a container it is not.
mount -o remount,ro,bind /sys
printf '[Match]\nName=lan\n[Network]\nAddress=192.168.0.1/24\nIPMasquerade=ipv4\n' >/run/systemd/network/lan.network
/lib/systemd/systemd-networkd >/tmp/log 2>&1 &
until nft list ruleset | grep -q 192.168.0; do
  kill -0 $! || { cat /tmp/log >&2 && exit 1; }
  sleep 0.1
done
nft list ruleset
networkctl --version | sed -n 1p >&2
kill $!
wait
