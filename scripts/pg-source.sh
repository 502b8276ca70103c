# shellcheck shell=bash
# PostgreSQL's source, from Debian's source packages; meant to be sourced after lib.sh.

# The release whose source package has this major version. Debian has no 16: an unpacked source put
# at $CACHE/src/16 is used.
source_release() {
    case "$1" in
        15) echo bookworm ;;
        17) echo trixie ;;
        18) echo sid ;;
        *)  return 1 ;;
    esac
}

# The Debian mirror this machine already uses.
debian_mirror() {
    local m
    m="$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
        | awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }')"
    if [ -z "$m" ]; then
        m="$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null \
            | sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]+\/debian\/?) .*/\2/p' | head -n1)"
    fi
    if [ -z "$m" ]; then
        m="$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null \
            | sed -nE 's/^URIs: *([^ ]+\/debian\/?)( .*)?$/\1/p' | head -n1)"
    fi
    [ -n "$m" ] && printf '%s\n' "${m%/}"
}

# fetch_source VERSION: unpacks the source at $CACHE/src/VERSION, unless it is there. Prints why not.
fetch_source() {
    local n="$1"
    mkdir -p "$CACHE/src"
    (
        if command -v flock >/dev/null; then flock 8; fi
        [ ! -e "$CACHE/src/$n/configure" ] || exit 0
        tmp="$(mktemp -d "$CACHE/src/.tmp.XXXXXX")" || exit 1
        trap 'rm -rf "$tmp"' EXIT
        unpack_source "$n" "$tmp"
    ) 8>"$CACHE/src.lock"
}

unpack_source() { # version, temporary directory
    local n="$1" tmp="$2" release mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    release="$(source_release "$n")" \
        || { echo "no Debian release has it; unpack its source at $CACHE/src/$n"; return 1; }
    if ! command -v apt-get >/dev/null || [ ! -e "$keyring" ]; then
        echo "no Debian sources here; unpack its source at $CACHE/src/$n"
        return 1
    fi
    mirror="$(debian_mirror)" || { echo "no Debian mirror found in /etc/apt"; return 1; }
    say "PostgreSQL $n: fetching the source package of Debian $release"
    mkdir -p "$tmp/lists/partial" "$tmp/archives/partial" "$tmp/package" "$tmp/source"
    echo "deb-src [signed-by=$keyring] $mirror $release main" >"$tmp/sources.list"
    # A private sources list: the configuration of the system stays as it is.
    local apt=(apt-get -qq
        -o "Dir::Etc::sourcelist=$tmp/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$tmp/lists" -o "Dir::Cache::archives=$tmp/archives"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root
        -o Debug::NoLocking=1)
    if ! { "${apt[@]}" update \
            && (cd "$tmp/package" && "${apt[@]}" source --download-only "postgresql-$n"); } </dev/null >&2; then
        echo "its source package cannot be fetched"
        return 1
    fi
    if ! tar -xf "$tmp"/package/postgresql-"$n"_*.orig.tar.[bgx]z* -C "$tmp/source" --strip-components=1; then
        echo "its source package cannot be unpacked"
        return 1
    fi
    chmod -R a+rX "$tmp/source"
    mv "$tmp/source" "$CACHE/src/$n"
}
