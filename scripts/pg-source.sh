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

# Where a mirror's index names a release that the mirror does not have yet, or holds back: one that was
# there before, with the SHA-256 of its file, as in the source package that a Debian developer signed.
earlier_source() {
    case "$1" in
        15) echo 15.18 11df0df97fe3ea4ba9a791faaf39cee1d2fe571e78885b5b55d8517d27c323b4 ;;
        17) echo 17.11 dd27f2b3c59e73ed14aa3324901242bf69a032a6347805f274e6260322d42979 ;;
        18) echo 18.6 555610c24d53e4316da5b7d3fc25c279d96856d5e0e23ee308c328c5fa881d9f ;;
        *)  return 1 ;;
    esac
}

# fetch_earlier VERSION MIRROR DIR: its archive, into DIR.
fetch_earlier() {
    local n="$1" release sha file
    read -r release sha < <(earlier_source "$n") || return 1
    file="postgresql-${n}_$release.orig.tar.bz2"
    say "PostgreSQL $n: fetching $release instead"
    # apt's own program, which knows its proxies.
    /usr/lib/apt/apt-helper -qq -o APT::Sandbox::User=root download-file "$2/pool/main/p/postgresql-$n/$file" "$3/$file" "SHA256:$sha" \
        </dev/null >&2
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
            && (cd "$tmp/package" && "${apt[@]}" source --download-only "postgresql-$n"); } </dev/null >&2 \
        && ! { rm -f "$tmp"/package/* && fetch_earlier "$n" "$mirror" "$tmp/package"; }; then
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
