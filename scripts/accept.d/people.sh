# shellcheck shell=bash disable=SC2034,SC2154
# What people meet: the terminal, the report in a browser, the captures in Wireshark, the first build, the sizes, the pages and
# what they say of commands.

checks=(terminal page picture captures build sizes links words blocks)

people=$root/scripts/accept.d/people
# Pictures are kept for people to look at.
pictures=${PICTURES:-$root/target/people}

prepare() {
  need tmux tmux
  need chromium chromium
  need node nodejs
  need npm npm
  need pdftoppm poppler-utils
  need tshark tshark
  mkdir -p "$pictures"
  python3 "$people/made_up_results.py" "$work/large" 22 3
  python3 "$people/made_up_results.py" "$work/matrix" 22 1
}

# shown COLUMNS ROWS COMMAND: what a terminal of that size shows of a command, with what has scrolled away.
shown() {
  local socket=$work/tmux
  tmux -S "$socket" -f /dev/null start-server \; set -g history-limit 9000 \; new-session -d -x "$1" -y "$2" "$3; echo 'ended: '\$?; sleep 600"
  for ((tries = 0; tries < 600; tries++)); do
    LC_ALL=C.UTF-8 tmux -S "$socket" capture-pane -p -e -S - >"$work/shown"
    ! grep -q '^ended: ' "$work/shown" || break
    sleep 0.1
  done
  tmux -S "$socket" kill-server
  cat "$work/shown"
}

# widest FILE: columns of its longest line, without colours.
widest() { sed 's/\x1b\[[0-9;]*m//g' "$1" | LC_ALL=C.UTF-8 wc -L; }

check_terminal() {
  local size columns rows seen
  for size in "80 24" "120 40" "200 50"; do
    read -r columns rows <<<"$size"
    shown "$columns" "$rows" "LC_ALL=C.UTF-8 TERM=xterm-256color '$testbed' report '$work/matrix'" >"$work/transcript"
    cp "$work/transcript" "$pictures/terminal-$columns.txt"
    seen=$(sed 's/\x1b\[[0-9;]*m//g' "$work/transcript" | grep -c '^ *22 none  ' || true)
    figure "22 NATs a side in $columns columns: rows of the last NAT" "$seen" "1" "seen == 1"
    seen=$(sed 's/\x1b\[[0-9;]*m//g' "$work/transcript" | tail -n "$rows" | grep -cE '^(worst|cause)  ' || true)
    figure "… on the last screen: the worst cell and causes" "$seen" "2 lines or more" "seen >= 2"
  done
  LC_ALL=C.UTF-8 COLUMNS=80 "$testbed" report "$work/large" >"$work/output"
  seen=$(widest "$work/output")
  figure "a run of 1,452 cells without a terminal, COLUMNS=80: widest line" "$seen" "at most 80" "seen <= 80"
  shown 80 24 "LC_ALL=C.UTF-8 TERM=xterm-256color NO_COLOR=1 '$testbed' report '$work/matrix'" >"$work/transcript"
  seen=$(grep -c $'\x1b' "$work/transcript" || true)
  figure "NO_COLOR: lines with colours" "$seen" "0" "seen == 0"
  shown 80 24 "LC_ALL=C.UTF-8 TERM=dumb '$testbed' report '$work/matrix'" >"$work/transcript"
  seen=$(LC_ALL=C grep -c '[^ -~]' "$work/transcript" || true)
  figure "TERM=dumb: lines that are not plain ASCII" "$seen" "0" "seen == 0"
  LC_ALL=C "$testbed" report "$work/matrix" >"$work/output"
  seen=$(LC_ALL=C grep -c '[^ -~]' "$work/output" || true)
  figure "the C locale: lines that are not plain ASCII" "$seen" "0" "seen == 0"
  "$testbed" run unsolicited --filter 'nat-a=linux-default' --keep none --out "$work/progress" >"$work/output" 2>"$work/progress.txt" || true
  seen=$(grep -cvE '^testbed: ' "$work/progress.txt" || true)
  figure "progress without a terminal: other lines than those of testbed" "$seen" "0" "seen == 0"
}

# seen NAME: what the browser said of it.
seen() { awk -v name="$1" '$1 == name { print $2 }' "$work/seen"; }

check_page() {
  local tools=$root/target/people-tools bytes page=$work/large/report.html name value
  mkdir -p "$tools"
  cp "$people/package.json" "$people/package-lock.json" "$people/page.mjs" "$tools"
  (cd "$tools" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
  "$testbed" report "$work/large" --format html >"$page"
  bytes=$(stat -c %s "$page")
  figure "the page of 1,452 cells: bytes" "$bytes" "at most 3,000,000" "bytes <= 3000000"
  value=$(python3 "$people/undrawn.py" "$work/large/results.json" "$page")
  figure "… cells that fail and are not drawn, while others are" "$value" "0" "value == 0"
  (cd "$tools" && node page.mjs "$(command -v chromium)" "$page" "$pictures") >"$work/seen"
  figure "… first paint: ms" "$(seen paint)" "at most 1000" "$(seen paint) <= 1000"
  for name in lost-1280-light lost-1280-dark lost-390-light lost-print; do
    figure "… cells of the matrix out of reach, $name" "$(seen "$name")" "0" "$(seen "$name") == 0"
  done
  for name in over-1280-light over-390-light over-print; do
    figure "… pixels that the page is too wide, $name" "$(seen "$name")" "0" "$(seen "$name") == 0"
  done
  for name in axe-1280-light axe-1280-dark axe-390-light; do
    figure "… rules of axe-core that are violated, $name" "$(seen "$name")" "0" "$(seen "$name") == 0"
  done
  for name in searched search-and-filter cleared filtered arrows link-opens-cell; do
    figure "… by keyboard: $name" "$(seen "$name")" "1" "$(seen "$name") == 1"
  done
  value=$(seen cells-without-scripts)
  figure "… cells without scripts" "$value" "1452" "value == 1452"
  figure "… a bar that does nothing without scripts" "$(seen idle-bar)" "0" "$(seen idle-bar) == 0"
  pdftoppm -r 60 -l 8 -png "$pictures/print.pdf" "$pictures/print"
  say "pictures to look at: $pictures"
}

check_picture() {
  "$testbed" report "$work/matrix" --format svg >"$pictures/matrix.svg"
  local cells
  cells=$(python3 -c 'import sys, xml.dom.minidom as d; print(len(d.parse(sys.argv[1]).getElementsByTagName("title")))' "$pictures/matrix.svg")
  figure "the matrix as a picture: cells in well-formed SVG" "$cells" "484" "cells == 484"
}

check_captures() {
  local run=$work/captures file taken length
  quiet "$testbed" run classic --filter nat-a=sequential --filter nat-b=port-preserving --trials 2 --keep all --out "$run"
  file=$(find "$run" -name capture.pcapng -print -quit)
  length=$(tshark -r "$file" -T fields -e frame.cap_len 2>/dev/null | sort -n | tail -n 1)
  figure "a capture: bytes of its longest frame" "$length" "at most 128, its snap length" "length <= 128"
  taken=$(capinfos -l "$file" 2>/dev/null | grep -c '128' || true)
  figure "… states this snap length" "$taken" "1 line" "taken == 1"
  taken=$(tshark -r "$file" -Y 'tcp.port == 31000 || tcp.port == 31001' -T fields -e _ws.col.Protocol 2>/dev/null | sort -u | grep -vc '^TCP$' || true)
  figure "… protocols that Wireshark takes the rendezvous for, beside TCP" "$taken" "0" "taken == 0"
}

# From an empty folder; the registry's cache stays. BEFORE=COMMIT builds that one, too, for comparison.
check_build() {
  local folder
  if [ -n "${BEFORE:-}" ]; then
    folder=$work/before
    git -C "$root" archive --prefix=before/ "$BEFORE" | tar -x -C "$work"
    first_build "$BEFORE" "$folder"
  fi
  first_build "this build" "$root"
}

# first_build NAME FOLDER: builds both programs of the sources in FOLDER, and says how long that took.
first_build() {
  local before after processor
  rm -rf "$work/target"
  before=$(awk '{ print $1 + $2 + $3 + $4 }' <<<"$(cut -d' ' -f14-17 /proc/$$/stat)")
  # shellcheck disable=SC2016 # the inner shell's
  quiet env CARGO_TARGET_DIR="$work/target" bash -c '. "$1/scripts/common.sh" && cargo_arguments=(--locked) && build_programs' build "$2"
  after=$(awk '{ print $1 + $2 + $3 + $4 }' <<<"$(cut -d' ' -f14-17 /proc/$$/stat)")
  [ "$code" -eq 0 ] || cat "$work/output" >&2
  processor=$(((after - before) / $(getconf CLK_TCK)))
  figure "first build of both programs, $1: exit code, in $seconds s and $processor s of processor time" "$code" "0" "code == 0"
  rm -rf "$work/target"
}

check_sizes() {
  local program size bound
  for program in testbed:9 puncher:2.5; do
    size=$(stat --format %s "$work/${program%:*}")
    bound=$(awk -v m="${program#*:}" 'BEGIN { printf "%d", m * 1e6 }')
    figure "size of ${program%:*}, bytes" "$size" "at most $bound" "size <= bound"
  done
}

check_links() {
  quiet "$root/scripts/pages" check
  cat "$work/output"
  figure "links and marks of the pages: exit code" "$code" "0" "code == 0"
}

# The pages' own words are looked at with their links; here are those of --help, as the manual pages have them.
check_words() {
  mkdir -p "$work/man"
  "$testbed" man "$work/man"
  "$work/puncher" man "$work/man"
  quiet "$root/scripts/pages" words "$work"/man/*
  cat "$work/output"
  figure "awkward words in the manual pages: exit code" "$code" "0" "code == 0"
}

check_blocks() {
  quiet "$root/scripts/pages" run "$work"
  cat "$work/output"
  figure "commands of the pages: exit code" "$code" "0" "code == 0"
}
