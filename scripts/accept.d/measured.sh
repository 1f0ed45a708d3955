# shellcheck shell=bash disable=SC2034,SC2154
# NATs of which nothing is declared: what is measured of them, and what a probe behind them tells.

checks=(catalogue every_two probe tools shares)

# What is printed of each NAT of the catalogue is proved, and says on every axis what the catalogue says.
check_catalogue() {
  local nats holds proved
  nats=$("$testbed" nat list | grep -c '^[a-z]')
  quiet "$testbed" nat measure --all
  cp "$work/output" "$work/measured.toml"
  holds=$(grep -c '^# The proof of this profile holds' "$work/measured.toml" || true)
  figure "nat measure --all: profiles whose proof holds, in $seconds s" "$holds" "$nats" "holds == nats && code == 0"
  quiet "$testbed" nat prove --nats "$work/measured.toml"
  proved=$(grep -c ': behaves as declared' "$work/output" || true)
  figure "nat prove of what it printed" "$proved" "$nats" "proved == nats && code == 0"
}

# The tests compare each axis of the description with the NAT that was built.
check_every_two() {
  quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" -p testbed --test tests -- nat_measure --include-ignored
  [ "$code" -eq 0 ] || tail -n 60 "$work/output" >&2
  figure "every two behaviours that go together are described as built: exit code of the tests" "$code" "0" "code == 0"
}

# The NAT file of `puncher probe`, behind every NAT of the catalogue.
check_probe() {
  local good=0 i runs=20
  # The tests start the puncher that lies beside them.
  cargo build --quiet --manifest-path "$root/Cargo.toml" -p puncher
  for ((i = 1; i <= runs; i++)); do
    quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" -p testbed --test tests -- lab::probe
    if [ "$code" -eq 0 ]; then good=$((good + 1)); else tail -n 30 "$work/output" >&2; fi
  done
  figure "puncher probe --nat: no axis that it names differs from the declaration" "$good" "$runs" "good == runs"
}

# The rules that tools load, each measured and proved.
check_tools() {
  quiet env TESTBED_PROGRAMS="$work" "$root/scripts/real-nats" "$work/real"
  cat "$work/real/table.md" >&2 || true
  figure "real-nats: exit code, in $seconds s" "$code" "0" "code == 0"
  quiet "$testbed" nat prove --nats "$work/real/nats.toml"
  figure "nat prove of the tools' rules: exit code" "$code" "0" "code == 0"
}

# A subscriber's share of the ports: each bound of its ranges is found, a pool that has what lies between them is refused, and the
# puncher meets it as often as theory says, also with few SYNs.
check_shares() {
  quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" -p testbed --test tests -- each_bound_of_several_ranges
  [ "$code" -eq 0 ] || tail -n 60 "$work/output" >&2
  figure "each bound of 15 ranges is found, and one range over them refused: exit code of the test" "$code" "0" "code == 0"
  cat >"$work/shares.toml" <<'SUITE'
name = "shares"
summary = "a share of the ports against a known port, by many and by few guesses"
topology = "pair"
trials = 100
axes = { nat-a = ["map-e"], nat-b = ["port-preserving"], method = ["spray"], budget-syns = [8, 16, 24, 48, 1280] }
SUITE
  quiet "$testbed" run "$work/shares.toml" --keep none --out "$work/shares"
  query "$work/shares" "'\n'.join(f'{c[\"id\"]}: {c[\"passed\"]} of {c[\"trials\"]}, theory {c[\"expected\"][\"probability\"]:.3f}' for c in $punches)" >&2
  figure "spray against a share, by SYNs a side: exit code, in $seconds s" "$code" "0" "code == 0"
}
