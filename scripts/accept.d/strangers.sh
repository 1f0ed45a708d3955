# shellcheck shell=bash disable=SC2034,SC2154
# Programs of strangers: none harms the machine, the run or another trial, as root and rootless.

checks=(attacks poison nat_programs udp languages programs)

# The files that a program must never change: owner, mode, size, time and inode of each.
system_files() {
  local home=${HOME:-/root}
  find /etc /usr "$home" /var/lib -xdev \( -path "$root" -o -path "$target" -o -path "${CARGO_HOME:-$home/.cargo}" -o \
    -path "${XDG_CACHE_HOME:-$home/.cache}" \) -prune -o -printf '%p %u:%g %m %s %T@ %i\n' 2>/dev/null | sort | sha256sum
}

check_attacks() {
  local before after attacks
  attacks=$(grep -c '^    "[a-z-]*",$' "$root/testbed/tests/hostile/attacks.rs")
  before=$(system_files)
  quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" -p testbed --test tests -- hostile::attacks
  [ "$code" -eq 0 ] || tail -n 30 "$work/output" >&2
  after=$(system_files)
  figure "$attacks attacks as root and rootless, in $seconds s: exit code of the tests" "$code" "0, at least 25 attacks" "code == 0 && attacks >= 25"
  figure "files below /etc, /usr, the home folder and /var/lib afterwards" "$([ "$before" = "$after" ] && echo the same || echo changed)" "the same" \
    "$([ "$before" = "$after" ] && echo 1 || echo 0)"
}

# A program that writes its node's settings, beside one that does not: the writes are refused, and the other is as if alone. What
# is kept of a trial has the command's text, so that text must not hold the word that a success prints.
check_poison() {
  local way suite passed
  cat >"$work/poison.toml" <<'SUITE'
name = "poison"
summary = "a program's trials must not spoil another's"
topology = "pair"
trials = 10
[[part]]
name = "poisoner"
axes = { nat-a = ["port-preserving"], nat-b = ["port-preserving"], method = ["spray"] }
[part.program]
peer = ["/bin/sh", "-c", "for key in ip_default_ttl tcp_syn_retries; do echo 1 > /proc/sys/net/ipv4/$key && echo poi''soned > /dev/stderr; done; exit 1"]
judge = "exit"
[[part]]
name = "victim"
axes = { nat-a = ["port-preserving"], nat-b = ["port-preserving"], method = ["simultaneous-open"] }
SUITE
  chmod 755 "$work"
  for way in "" --rootless; do
    rm -rf "$work/poison"
    # shellcheck disable=SC2086 # No argument, or one.
    quiet "$testbed" run "$work/poison.toml" --seed 1 --jobs 2 --keep all $way --out "$work/poison"
    passed=$(query "$work/poison" "[c['passed'] for c in $punches if 'victim' in c['id']][0]")
    suite=$({ grep -rl poisoned "$work/poison/cells" || true; } | wc -l)
    figure "settings that a program wrote ${way:-as root}" "$suite" "0" "suite == 0"
    figure "trials of the program beside it that passed ${way:-as root}" "$passed" "10" "passed == 10"
  done
}

check_nat_programs() {
  quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" -p testbed --test tests -- nat_programs own_nats
  [ "$code" -eq 0 ] || tail -n 30 "$work/output" >&2
  figure "NAT programs that multiply, kill, are never ready or change settings, in $seconds s: exit code of the tests" "$code" "0" "code == 0"
}

# coturn's natdiscovery finds by UDP what each NAT declares.
check_udp() {
  need turnutils_natdiscovery coturn
  quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" -p testbed --test tests -- cli::udp
  [ "$code" -eq 0 ] || tail -n 30 "$work/output" >&2
  figure "natdiscovery finds what NATs declare, in $seconds s: exit code of the test" "$code" "0" "code == 0"
}

# What a stranger writes with nothing but the contract: the ten lines of the page, other ways to claim, a root of its own.
check_languages() {
  quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" -p testbed --test tests -- cli::programs
  [ "$code" -eq 0 ] || tail -n 30 "$work/output" >&2
  figure "programs in other languages, by exit code, text and JSON, in $seconds s: exit code of the tests" "$code" "0" "code == 0"
}

# The matrices of docs/programs.md are what scripts/programs prints again.
check_programs() {
  local name cells other which
  for name in c python node libnice rndz libp2p punchhole; do
    rm -rf "${work:?}/$name"
    quiet "$root/scripts/programs" "$name" --seed 1 --out "$work/$name"
    read -r cells other which < <(python3 "$folder/programs.py" "$root/docs/programs.md" "$name" "$work/$name/results.json")
    figure "$name, $cells cells in $seconds s: cells that are not as docs/programs.md has them${which:+ ($which)}" "$other" "0" "other == 0 && cells > 0"
  done
}
