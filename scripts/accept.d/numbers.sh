# shellcheck shell=bash disable=SC2034,SC2154
# The numbers that verdicts rest on: what theory says, held against packets.

checks=(monte_carlo)

check_monte_carlo() {
  quiet cargo test --release --manifest-path "$root/Cargo.toml" --package testbed --test monte_carlo -- --include-ignored
  [ "$code" -eq 0 ] || cat "$work/output" >&2
  figure "theory against a Monte Carlo, all cells of full: exit code" "$code" "0" "code == 0"
  figure "… seconds, with building" "$seconds" "at most 1200" "${seconds%.*} <= 1200"
}
