# shellcheck shell=bash disable=SC2034,SC2154
# The main job, end to end: `testbed run classic` gives the right answers, quickly, every time, and leaves nothing behind.

checks=(table repeat rootless liar kill host files tests)

is_random='"random" in (c["axes"]["nat-a"], c["axes"]["nat-b"])'
verdicts="sorted((c['id'], c['verdict']) for c in $punches)"

check_table() {
  local run=$work/table cells certain all_passed as_theory random
  quiet "$testbed" run classic --trials 20 --out "$run"
  cells=$(query "$run" "len($punches)")
  certain=$(query "$run" "len([c for c in $punches if not $is_random])")
  all_passed=$(query "$run" "len([c for c in $punches if not $is_random and c['passed'] == 20 == c['trials']])")
  random=$(query "$run" "len([c for c in $punches if $is_random])")
  as_theory=$(query "$run" "len([c for c in $punches if $is_random and c['verdict'] == 'as_expected'])")
  figure "classic: cells" "$cells" "9" "cells == 9"
  figure "classic: cells without a random NAT that passed 20/20" "$all_passed of $certain" "4 of 4" \
    "certain == 4 && all_passed == certain"
  figure "classic: cells with a random NAT as theory says" "$as_theory of $random" "5 of 5" \
    "random == 5 && as_theory == random"
  figure "classic: exit code" "$code" "0" "code == 0"
  figure "classic: time" "$seconds s" "< 30 s" "${seconds%.*} < 30"
}

check_repeat() {
  local good=0 i
  for ((i = 1; i <= 50; i++)); do
    quiet "$testbed" run classic --trials 20 --out "$work/repeat-$i"
    if [ "$code" -eq 0 ]; then good=$((good + 1)); else cp "$work/output" "$work/bad" && tail -n 30 "$work/bad" >&2; fi
  done
  figure "classic, 50 times in a row: exit 0" "$good" "50" "good == 50"
}

check_rootless() {
  local same
  quiet "$testbed" run classic --trials 20 --out "$work/rooted"
  mkdir "$work/nobody" && chown 65534:65534 "$work/nobody"
  quiet setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$testbed" run classic --trials 20 --rootless --out "$work/nobody/run"
  same=$([ "$(query "$work/rooted" "$verdicts")" = "$(query "$work/nobody/run" "$verdicts")" ] && echo 1 || echo 0)
  figure "rootless, as an unprivileged user: exit code" "$code" "0" "code == 0"
  figure "rootless: the same verdicts as root's" "$same" "1" "same == 1"
}

check_liar() {
  local errors
  quiet "$testbed" run "$root/testbed/tests/suites/liar.toml" --trials 3 --out "$work/liar"
  errors=$(query "$work/liar" "len([c for c in $punches if c['verdict'] == 'error'])")
  figure "a program that lies: cells that are errors" "$errors of $(query "$work/liar" "len($punches)")" "all" \
    "errors == $(query "$work/liar" "len($punches)") && errors > 0"
  figure "a program that lies: exit code" "$code" "2" "code == 2"
}

check_kill() {
  local summary
  summary=$(unshare --net python3 "$root/scripts/accept.d/kill.py" "$testbed" "$work" 30)
  figure "kill -9 at 30 moments: all gone within 5 s, slowest ${summary#* }" "${summary%% *}" "30" "${summary%% *} == 30"
}

check_host() {
  local same
  need sysctl procps
  quiet "$testbed" run classic --trials 2 --out "$work/warm-up"
  host_state >"$work/before"
  quiet "$testbed" run classic --trials 5 --out "$work/measured"
  host_state >"$work/after"
  same=$(diff "$work/before" "$work/after" >&2 && echo 1 || echo 0)
  figure "the host's links, addresses, routes, rules and net.* are as before" "$same" "1" "same == 1"
}

# Every file that the run writes lands in the upper layer of an overlay over the whole file system.
check_files() {
  local layers=$work/layers strays
  mkdir "$layers" && mount -t tmpfs tmpfs "$layers" && mkdir "$layers/"{upper,work,all}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" "$layers/all"
  install -m 755 "$testbed" "$target/release/puncher" "$layers"
  quiet unshare --mount sh -c "
    mount --rbind /proc '$layers/all/proc' && mount --rbind /sys '$layers/all/sys' && mount --rbind /dev '$layers/all/dev' &&
    mkdir '$layers/all/programs' '$layers/all/out' && cp '$layers/testbed' '$layers/puncher' '$layers/all/programs' &&
    chroot '$layers/all' /programs/testbed run classic --trials 2 --out /out/run"
  strays=$(find "$layers/upper" -mindepth 1 ! -type d ! -path '*/out/*' ! -path '*/programs/*' | tee /dev/stderr | wc -l)
  umount "$layers/all" && umount "$layers"
  figure "files written outside of --out" "$strays" "0, exit code 0" "strays == 0 && code == 0"
}

check_tests() {
  quiet "$root/scripts/test"
  figure "./scripts/test: $(tail -n 1 "$work/output")" "$seconds s" "< 300 s, exit 0" "${seconds%.*} < 300 && code == 0"
}
