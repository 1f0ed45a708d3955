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
# is linked without shared libraries, which starts faster.
build_programs() {
  need_cargo
  local quiet=(--quiet)
  if ! programs_are_current; then
    say "building testbed and puncher (a first build takes some minutes)"
    [ ! -t 2 ] || quiet=()
  fi
  # What a linker may not know: to keep one of functions that are alike, and to pack what is relocated at the start.
  local fold='-C link-arg=-Wl,--icf=all' pack='-C link-arg=-Wl,-z,pack-relative-relocs' static='-C target-feature=+crt-static'
  build_program testbed "$(first_that_links testbed "$fold")"
  build_program puncher "$(first_that_links puncher "$static $fold $pack" "$static")"
}

# build_program NAME FLAGS: one program, with these flags for its linking.
build_program() {
  # shellcheck disable=SC2086 # several words
  cargo rustc --release --manifest-path "$root/Cargo.toml" "${quiet[@]}" --package "$1" --bin "$1" -- $2
}

# first_that_links NAME FLAGS...: the first set of flags with which a program can be linked here, or none; remembered, because the
# programs would be built again with others. Another compiler is tried anew.
first_that_links() {
  local known flags found=''
  known=$target/linked-$1-$(rustc --version | tr -c '[:alnum:].\n' '-')
  shift
  if [ ! -e "$known" ]; then
    mkdir -p "$known.d"
    for flags in "$@"; do
      # shellcheck disable=SC2086 # several words
      if (cd "$root" && echo 'fn main() {}' | rustc $flags --out-dir "$known.d" - 2>/dev/null); then found=$flags && break; fi
    done
    rm -r "$known.d"
    echo "$found" >"$known"
  fi
  cat "$known"
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
