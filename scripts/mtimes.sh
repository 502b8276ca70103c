#!/usr/bin/env bash
# Lets cargo know in a fresh clone what has not changed since the last run. For .ci/run alone.
#
#   scripts/mtimes.sh start RUN    before the first build
#   scripts/mtimes.sh done RUN     after the last one; RUN is a word of its own for every run
#
# Cargo builds again what is older than a file it was made from, and in a fresh clone every file is
# new. `start` gives a file that is as it was the time it had, every other file the present time, and
# writes both down in the target directory. `done` adds what the target directory then looks like.
# To have everything built again, remove the file .mtimes there.
#
# Why nothing is taken for built that is not:
#  - A file whose contents or mode changed, that is new, or that was away for a run, gets a time later
#    than all that was built before, also when the clock went back.
#  - Old times are given back only while the target directory is, file by file, as `done` saw it. After
#    a build by hand, one in another checkout, or a run that did not reach its end, every file gets the
#    present time. What cargo built is thus always from the files that the list tells of.
#  - Before a time is given back, the list is marked as in use, and stays so until `done`; which keeps
#    no file that is not as `start` left it.
#  - The list belongs to one path. Cargo does not tell checkouts of one workspace from each other: it
#    takes what one of them built as the other's, with the paths that are compiled into it.
# Directories and files that git does not track keep the times they have, in a clone the present.
#
# Not seen are builds of other sources in the same target directory while a run goes on. Cargo mixes
# them up by itself, with new times as well; here what they left would last. A run needs the directory
# for itself.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ROOT="$(cd "$ROOT" && pwd -P)"
cd "$ROOT"
# As in a hook of git, where they mean another repository.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

FORMAT=1
WHAT="${1:-}" RUN="${2:-}"
case "$WHAT:$RUN" in
    start:?*|done:?*) ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

TARGET="$(target_dir)"
mkdir -p "$TARGET"
TARGET="$(cd "$TARGET" && pwd -P)"
MANIFEST="$TARGET/.mtimes"
TMP="$(mktemp -d)"

# What goes wrong leaves no list, and no old time.
leave() {
    local rc=$?
    set +e
    if [ "$rc" -ne 0 ]; then
        rm -f "$MANIFEST" "$MANIFEST.new"
        if [ "$WHAT" = start ] && [ -s "$TMP/files" ]; then xargs -0 touch -c -- <"$TMP/files"; fi
    fi
    rm -rf "$TMP"
    exit "$rc"
}
trap leave EXIT

# Fills FILES with what git tracks here, SUMS with hash and mode, TIMES with seconds.nanoseconds.
describe() {
    local file i
    local -a hashes stats
    FILES=() SUMS=() TIMES=()
    # The clone may belong to another user.
    git -c safe.directory='*' ls-files -z >"$TMP/tracked"
    while IFS= read -r -d '' file; do
        if [ -f "$file" ] && [ ! -L "$file" ]; then FILES+=("$file"); fi
    done <"$TMP/tracked"
    [ "${#FILES[@]}" -gt 0 ] || die "git tracks no file in $ROOT"
    printf '%s\0' "${FILES[@]}" >"$TMP/files"
    xargs -0 sha256sum -z -- <"$TMP/files" >"$TMP/hashes"
    xargs -0 stat --printf '%a %.9Y\n' -- <"$TMP/files" >"$TMP/stats"
    mapfile -d '' hashes <"$TMP/hashes"
    mapfile -t stats <"$TMP/stats"
    [ "${#hashes[@]}" -eq "${#FILES[@]}" ] && [ "${#stats[@]}" -eq "${#FILES[@]}" ] || die "files come and go"
    for i in "${!FILES[@]}"; do
        SUMS+=("${hashes[i]%% *} ${stats[i]% *}")
        TIMES+=("${stats[i]#* }")
    done
}

# Sets STATE to a hash of names, sizes and times of all files in the target directory, and NEWEST to
# the latest second in which cargo noted something. All files, as cargo's layout is its own matter, but
# those that are also written when nothing is built.
look_at_target() {
    (
        cd "$TARGET"
        find . -type f ! -path './.mtimes*' ! -name .rustc_info.json ! -name '*.d' -printf '%T@ %s %p\n'
    ) >"$TMP/target"
    STATE="$(LC_ALL=C sort "$TMP/target" | sha256sum | cut -d' ' -f1)"
    NEWEST="$(awk '/\/\.?fingerprint\/|\/output$/ { s = int($1); if (s > n) n = s } END { print n + 0 }' "$TMP/target")"
}

# Whether all that cargo builds here is in the target directory.
cargo_builds_there() {
    local each said
    said="$(cargo metadata --no-deps --offline --format-version 1 2>/dev/null </dev/null)" || return 1
    # The second is known to cargo since 1.91; before, there was one directory.
    grep -oE '"(target|build)_directory":"[^"]*"' <<<"$said" | cut -d'"' -f4 >"$TMP/directories"
    while IFS= read -r each; do
        [ "$each" -ef "$TARGET" ] || return 1
    done <"$TMP/directories"
    [ -s "$TMP/directories" ]
}

head_of_manifest() { # state of the target directory, or `in-use`
    printf 'mtimes %s\ncheckout %s\nrun %s\ntarget %s\n' "$FORMAT" "$ROOT" "$RUN" "$1"
}

# Reads the manifest: its run to OF_RUN, its state to OF_STATE, its files to OLD_SUM and OLD_TIME.
declare -A OLD_SUM=() OLD_TIME=()
read_manifest() {
    local format checkout hash mode time file
    OF_RUN="" OF_STATE=""
    [ -r "$MANIFEST" ] || return 1
    {
        IFS= read -r format && IFS= read -r checkout && IFS= read -r OF_RUN && IFS= read -r OF_STATE || return 1
        [ "$format" = "mtimes $FORMAT" ] && [ "$checkout" = "checkout $ROOT" ] || return 1
        OF_RUN="${OF_RUN#run }" OF_STATE="${OF_STATE#target }"
        while IFS=' ' read -r hash mode time file; do
            OLD_SUM["$file"]="$hash $mode"
            OLD_TIME["$file"]="$time"
        done
    } <"$MANIFEST"
}

write_manifest() { # file with its contents
    cp "$1" "$MANIFEST.new"
    mv -f "$MANIFEST.new" "$MANIFEST"
}

# A name that a line cannot hold; such a file is always new.
odd() { case "$1" in ' '*|*' '|*$'\n'*) ;; *) return 1 ;; esac; }

start() {
    local i file now time why="" kept=0
    describe
    look_at_target
    if [ ! -e "$MANIFEST" ]; then
        why="the target directory has no list"
    elif ! read_manifest; then
        why="the list is of another checkout"
    elif [ "$OF_STATE" = in-use ]; then
        why="the run before did not reach its end, or goes on"
    elif [ "$OF_STATE" != "$STATE" ]; then
        why="something else was built since"
    fi
    if [ -n "$why" ]; then
        say "$why: every file is new"
        OLD_SUM=() OLD_TIME=()
    fi

    # In a later second than anything cargo noted: file systems differ in how exact they are.
    for i in 1 2 3; do
        if [ "$(date +%s)" -gt "$NEWEST" ]; then break; fi
        sleep 1
    done
    now="$(date +%s.%N)"
    if [ "${now%.*}" -le "$NEWEST" ]; then
        warn "the clock went back, the files get a time to come"
        now="$((NEWEST + 1)).000000000"
    fi

    head_of_manifest in-use >"$TMP/manifest"
    for i in "${!FILES[@]}"; do
        file="${FILES[i]}" time="$now"
        if ! odd "$file"; then
            if [ "${OLD_SUM["$file"]-}" = "${SUMS[i]}" ]; then
                time="${OLD_TIME["$file"]}"
                kept=$((kept + 1))
            fi
            printf '%s %s %s\n' "${SUMS[i]}" "$time" "$file" >>"$TMP/manifest"
        fi
        TIMES[i]="$time"
    done
    write_manifest "$TMP/manifest"
    for i in "${!FILES[@]}"; do touch -c -d "@${TIMES[i]}" -- "${FILES[i]}"; done
    say "$kept of ${#FILES[@]} files are as they were"
}

finish() {
    local i file dropped=0
    if ! read_manifest || [ "$OF_RUN" != "$RUN" ] || [ "$OF_STATE" != in-use ]; then
        die "another run used the target directory, or this one did not begin"
    fi
    cargo_builds_there || die "cargo does not build in $TARGET"
    look_at_target
    [ "$NEWEST" -gt 0 ] || die "cargo left nothing in $TARGET"
    describe
    head_of_manifest "$STATE" >"$TMP/manifest"
    for i in "${!FILES[@]}"; do
        file="${FILES[i]}"
        if odd "$file"; then continue; fi
        if [ "${OLD_SUM["$file"]-} ${OLD_TIME["$file"]-}" = "${SUMS[i]} ${TIMES[i]}" ]; then
            printf '%s %s %s\n' "${SUMS[i]}" "${TIMES[i]}" "$file" >>"$TMP/manifest"
        else
            say "changed during the run: $file"
            dropped=$((dropped + 1))
        fi
    done
    write_manifest "$TMP/manifest"
    say "noted $((${#FILES[@]} - dropped)) files"
}

case "$WHAT" in
    start) start ;;
    done)  finish ;;
esac
