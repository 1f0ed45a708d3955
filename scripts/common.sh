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

# What a linker may not know: to keep one of functions that are alike, and to pack what is relocated at the start. Each line is one way
# to link, the best first. scripts/release leaves out the packing, which older C libraries cannot undo.
fold='-C link-arg=-Wl,--icf=all' pack='-C link-arg=-Wl,-z,pack-relative-relocs' static='-C target-feature=+crt-static'
testbed_links=("$fold $pack" "$fold")
# What cargo is told besides.
cargo_arguments=()

# build_programs: both programs, for use, as `$target/release/testbed` and `puncher`.
build_programs() {
  need_cargo
  local quiet=--quiet
  if ! programs_are_current; then
    say "building testbed and puncher (a first build takes some minutes)"
    [ ! -t 2 ] || quiet=
  fi
  build_program testbed release "$quiet" "$(first_that_links "${testbed_links[@]}")"
  build_puncher "$quiet"
}

# Whether puncher may depend on shared libraries where no way to link it without them works.
puncher_may_be_shared=yes

# build_puncher QUIET: a trial starts puncher three times, so it is linked without shared libraries, which starts
# faster; with musl it starts fastest, and asks for names without glibc's plug-ins, which a static program cannot load.
build_puncher() {
  local host musl lld link ways=()
  host=$(rustc -vV | sed -n 's/^host: //p')
  musl=${host/-gnu/-musl}
  # The linker that Rust ships; for musl it has to be named.
  lld="-C link-arg=-B$(rustc --print sysroot)/lib/rustlib/$host/bin/gcc-ld -C link-arg=-fuse-ld=lld"
  if has_musl "$musl"; then ways+=("--target $musl $lld $fold $pack" "--target $musl"); fi
  ways+=("--target $host $static $fold $pack" "--target $host $static")
  [ -z "$puncher_may_be_shared" ] || ways+=("--target $host")
  link=$(first_that_links "${ways[@]}")
  [ -n "$link" ] || die "cannot link puncher without shared libraries: neither for $musl nor for $host; install musl-tools, or let rustup add the target"
  # The C functions in puncher need nothing of a C library, so the host's compiler does.
  local -x "CC_${musl//-/_}=${CC:-cc}" "CFLAGS_${musl//-/_}=-U_FORTIFY_SOURCE"
  build_program puncher small "$1" "$link"
  install_changed "$target/$(cut -d' ' -f2 <<<"$link")/small/puncher" "$target/release/puncher"
}

# has_musl TARGET: whether Rust can compile for this target, after trying to get what that takes.
has_musl() {
  local library
  library=$(rustc --print sysroot)/lib/rustlib/$1
  [ -z "${WITHOUT_MUSL:-}" ] || return 1
  if [ ! -d "$library" ] && command -v rustup >/dev/null; then
    say "getting Rust's library for $1"
    rustup --quiet target add "$1" >&2 || say "going on without it"
  fi
  [ -d "$library" ]
}

# build_program NAME PROFILE QUIET LINK: one program; LINK starts with its target, if it has one, and QUIET may be empty.
build_program() {
  local name=$1 link=$4 arguments=(--profile "$2" ${3:+"$3"} "${cargo_arguments[@]}")
  if [[ $link == --target* ]]; then
    arguments+=(--target "$(cut -d' ' -f2 <<<"$link")")
    link=$(cut -d' ' -f3- <<<"$link ")
  fi
  # shellcheck disable=SC2086 # several words
  cargo rustc "${arguments[@]}" --manifest-path "$root/Cargo.toml" --target-dir "$target" --package "$name" --bin "$name" -- $link
}

# install_changed FROM TO: unless it is the same already, since what is newer is taken for changed.
install_changed() { cmp --quiet "$1" "$2" || install -m 755 "$1" "$2"; }

# first_that_links WAY...: the first way to link by which a program can be built and run here, or none. It is remembered, because the
# programs would be built again with another. Another compiler is tried again.
first_that_links() {
  local known way found=''
  known=$target/linked-$(rustc --version | tr -c '[:alnum:].\n' '-')-$(cksum <<<"$*" | cut -d' ' -f1)
  if [ ! -e "$known" ]; then
    mkdir -p "$known.d"
    for way in "$@"; do
      # shellcheck disable=SC2086 # several words
      if (cd "$known.d" && echo 'fn main() {}' | rustc $way --crate-name tried - && ./tried) 2>/dev/null; then found=$way && break; fi
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
