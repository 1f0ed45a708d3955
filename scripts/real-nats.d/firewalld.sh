# shellcheck shell=sh
# The zone "external", which masquerades, on the outside, "internal" on the inside, and a policy that lets the inside out, which
# firewalld wants since 1.0.
ip link set lo up
for name in wan lan0 lan1; do
  ip link add "$name" type veth peer name "$name-far"
  ip link set "$name" up
done
{
  firewall-offline-cmd --zone=external --add-interface=wan
  for name in lan0 lan1; do firewall-offline-cmd --zone=internal --add-interface="$name"; done
  firewall-offline-cmd --new-policy=out
  firewall-offline-cmd --policy=out --add-ingress-zone=internal
  firewall-offline-cmd --policy=out --add-egress-zone=external
  firewall-offline-cmd --policy=out --set-target=ACCEPT
} >/dev/null
mkdir -p /run/dbus
dbus-daemon --system --fork --nopidfile
firewalld --nofork --nopid >/tmp/log 2>&1 &
# firewalld loads everything in one transaction.
until nft list ruleset | grep -q masquerade; do
  kill -0 $! || { cat /tmp/log >&2 && exit 1; }
  sleep 0.1
done
nft list ruleset
echo "firewalld $(firewall-offline-cmd --version)" >&2
kill $!
wait
