# shellcheck shell=sh
# The rules of Docker's own bridge network, with no container.
ip link set lo up
for name in iptables ip6tables; do ln -sf xtables-nft-multi "/usr/sbin/$name"; done
dockerd --host unix:///run/docker.sock --storage-driver vfs >/tmp/log 2>&1 &
until grep -q 'API listen' /tmp/log; do
  kill -0 $! || { cat /tmp/log >&2 && exit 1; }
  sleep 0.1
done
xtables-nft-multi iptables-save
dockerd --version >&2
kill $!
wait
