# shellcheck shell=sh
# The masquerading that ufw-framework(8) tells to put into before.rules, loaded by ufw with its defaults.
ip link set lo up
for name in iptables ip6tables; do
  for end in '' -restore -save; do ln -sf xtables-nft-multi "/usr/sbin/$name$end"; done
done
# What the package's own script does at its installation.
cp /usr/share/ufw/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/
[ -f /etc/default/ufw ] || cp /usr/share/ufw/default/ufw /etc/default/ufw
mkdir -p /var/lib/ufw
printf '%s\n' '*nat' ':POSTROUTING ACCEPT [0:0]' '-A POSTROUTING -s 192.168.0.0/24 -o eth0 -j MASQUERADE' COMMIT >>/etc/ufw/before.rules
sed -i 's/^DEFAULT_FORWARD_POLICY=.*/DEFAULT_FORWARD_POLICY="ACCEPT"/' /etc/default/ufw
ufw --force enable >/dev/null
iptables-save
ufw --version | sed -n 1p >&2
