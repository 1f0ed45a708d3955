# shellcheck shell=bash disable=SC2034
# What the scripts share. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
# nft lives where only root's PATH looks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$(basename "$0"): $*"
  exit 2
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "cannot run \"$*\": it needs root, and there is no sudo"
  fi
}

# need COMMAND PACKAGE: installs the Debian package unless the command is there.
need() {
  command -v "$1" >/dev/null && return
  command -v apt-get >/dev/null || die "cannot find \"$1\": install it (Debian calls the package $2)"
  say "installing $2"
  as_root apt-get update -qq >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >&2
}

# want COMMAND PACKAGE: the same, but what cannot be had is done without.
want() { (need "$1" "$2") || say "going on without $1"; }

need_cargo() {
  command -v cargo >/dev/null || die 'cannot find "cargo": install a Rust toolchain, see https://rustup.rs'
}

# build_programs: both programs, for use, as `$target/release/testbed` and `puncher`. A trial starts puncher three times, so it
# is linked without shared libraries, which starts faster. Where the static C library is missing, it is linked as usual.
build_programs() {
  need_cargo
  local quiet=(--quiet) common=(--release --manifest-path "$root/Cargo.toml")
  if ! programs_are_current; then
    say "building testbed and puncher (a first build takes some minutes)"
    [ ! -t 2 ] || quiet=()
  fi
  cargo build "${common[@]}" "${quiet[@]}" --package testbed --bin testbed
  local puncher=("${common[@]}" "${quiet[@]}" --package puncher --bin puncher)
  cargo rustc "${puncher[@]}" -- -C target-feature=+crt-static 2>/dev/null || cargo build "${puncher[@]}"
}

# programs_are_current: whether both programs are there and no source is newer.
programs_are_current() {
  local program
  for program in testbed puncher; do
    [ -x "$target/release/$program" ] || return 1
  done
  [ -z "$(find "$root/testbed/src" "$root/puncher/src" "$root/Cargo.lock" -newer "$target/release/testbed" -type f -print -quit)" ]
}

# Whether the host lets an unprivileged user have namespaces.
can_unshare() { unshare --user --map-root-user --net true 2>/dev/null; }

# write_manual PROGRAMS FOLDER: the completions and manual pages of both programs, as they lie below a prefix.
write_manual() {
  local program man=$2/share/man/man1
  mkdir -p "$man" "$2/share/bash-completion/completions" "$2/share/zsh/site-functions" "$2/share/fish/vendor_completions.d"
  for program in testbed puncher; do
    "$1/$program" man "$man"
    "$1/$program" completions bash >"$2/share/bash-completion/completions/$program"
    "$1/$program" completions zsh >"$2/share/zsh/site-functions/_$program"
    "$1/$program" completions fish >"$2/share/fish/vendor_completions.d/$program.fish"
  done
}
