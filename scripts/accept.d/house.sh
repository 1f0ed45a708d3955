# shellcheck shell=bash disable=SC2034,SC2154
# The house rules: layers and names, the pages' code, what a library user gets, what the compiler says is missing, and that
# a change of the code changed nothing that a run finds.

checks=(layers docs tree exercises same)
builds=

check_layers() {
  quiet cargo test --quiet --manifest-path "$root/Cargo.toml" --package testbed --test tests layers
  [ "$code" -eq 0 ] || cat "$work/output" >&2
  figure "layers, the kernel's own layer, and names: exit code of the tests" "$code" "0" "code == 0"
}

check_docs() {
  quiet env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --workspace --manifest-path "$root/Cargo.toml"
  [ "$code" -eq 0 ] || cat "$work/output" >&2
  figure "documentation without a warning: exit code" "$code" "0" "code == 0"
  quiet cargo test --quiet --doc --workspace --manifest-path "$root/Cargo.toml"
  [ "$code" -eq 0 ] || cat "$work/output" >&2
  figure "examples of the documentation: exit code of the tests" "$code" "0" "code == 0"
  local run
  run=$(grep -cE '^test .* (ok|compile)$|[1-9][0-9]* passed' "$work/output" || true)
  figure "… crates with such examples" "$run" "at least 2" "run >= 2"
}

check_tree() {
  local tree found
  tree=$(cargo tree --manifest-path "$root/Cargo.toml" --package puncher --no-default-features --edges normal --prefix none --format '{p}')
  found=$(grep -cE '^(clap|anyhow|humantime)( |$)' <<<"$tree" || true)
  figure "what the library of puncher needs: packages" "$(sort -u <<<"$tree" | wc -l)" "at least 2" "$(sort -u <<<"$tree" | wc -l) >= 2"
  figure "… of these clap, anyhow or humantime" "$found" "0" "found == 0"
}

# The scratch copy always lies in the same folder, so that its build products are used again the next time.
check_exercises() {
  need python3 python3
  local copy=$target/exercises name
  rm -rf "$copy"
  git clone --quiet --no-hardlinks "$root" "$copy"
  for name in value method cause format axis profile check topology; do
    quiet env CARGO_TARGET_DIR="$target" python3 "$root/scripts/accept.d/exercises.py" "$copy" "$name"
    cat "$work/output" >&2
    figure "exercise \"$name\" in $seconds s: exit code" "$code" "0" "code == 0"
  done
}

# What of a run the seed fixes.
fixed="sorted((c['id'], [t['seed'] for t in c['each']]) for c in $punches)"
verdicts="{c['id']: c['verdict'] for c in $punches}"

# BEFORE is the testbed of an older version, with its puncher beside it. Both versions play TRIALS trials a cell, and --jobs 16
# lets neither be slower than the other. Expectations may differ only for the reasons that compare_expectations.py knows.
check_same() {
  [ -n "${BEFORE:-}" ] || die "BEFORE names no older testbed to compare with"
  need python3 python3
  build_release
  local suite version same other
  for suite in classic matrix order unsolicited; do
    for version in before now; do
      local program=$testbed
      [ "$version" = now ] || program=$BEFORE
      quiet "$program" run "$suite" --seed 7 --jobs 16 --keep none --trials "${TRIALS:-5}" --out "$work/$suite-$version"
    done
    query "$work/$suite-before" "$fixed" >"$work/fixed-before"
    query "$work/$suite-now" "$fixed" >"$work/fixed-now"
    same=$(cmp -s "$work/fixed-before" "$work/fixed-now" && echo 1 || echo 0)
    figure "$suite before and now: the same cells and seeds" "$same" "1" "same == 1"
    other=$(python3 "$folder/compare_expectations.py" "$work/$suite-before" "$work/$suite-now")
    figure "… expectations that differ without a known reason" "$other" "0" "other == 0"
    query "$work/$suite-before" "$verdicts" >"$work/verdicts-before"
    query "$work/$suite-now" "$verdicts" >"$work/verdicts-now"
    same=$(cmp -s "$work/verdicts-before" "$work/verdicts-now" && echo 1 || echo 0)
    [ "$same" -eq 1 ] || diff <(tr , '\n' <"$work/verdicts-before") <(tr , '\n' <"$work/verdicts-now") >&2 || true
    figure "… and the same verdicts" "$same" "1" "same == 1"
  done
}
