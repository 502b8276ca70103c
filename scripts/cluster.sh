# shellcheck shell=bash
# Throw-away clusters, for demo.sh and bench.sh; meant to be sourced after lib.sh.

# Settings of the caller's own PostgreSQL must not lead us there.
for name in $(compgen -e PG); do
    case "$name" in PG_CONFIG | PGRX_*) ;; *) unset "$name" ;; esac
done

# PostgreSQL refuses to run as root.
run_user() {
    if ! is_root; then id -un
    elif id postgres >/dev/null 2>&1; then echo postgres
    else echo nobody
    fi
}
RUN_USER="$(run_user)"

as_server() {
    if is_root; then
        (cd / && setpriv --reuid "$RUN_USER" --regid "$(id -g "$RUN_USER")" --clear-groups "$@")
    else
        "$@"
    fi
}

need_cargo() {
    # Cargo may be there without being in PATH yet.
    if ! command -v cargo >/dev/null && [ -r "$HOME/.cargo/env" ]; then
        # shellcheck disable=SC1091
        . "$HOME/.cargo/env"
    fi
    command -v cargo >/dev/null || die "no cargo in PATH; install Rust first: https://rustup.rs"
}

# choose_place NAME DIR: sets PLACE to DIR, or to a temporary directory where the server's user
# cannot reach DIR or the path is too long for a Unix socket (108 bytes).
choose_place() {
    mkdir -p "$2"
    if [ "${#2}" -lt 75 ] && { ! is_root || as_server test -x "$2" 2>/dev/null; }; then
        PLACE="$2"
    else
        PLACE="$(mktemp -d "${TMPDIR:-/tmp}/$1.XXXXXX")"
        chmod 755 "$PLACE"
    fi
}

# Packages and a PostgreSQL: sets CONFIG to the pg_config to build for. PG_CONFIG, when given,
# names it; else PostgreSQL 18 is fetched.
need_postgresql() {
    "$ROOT/scripts/setup.sh" packages
    if [ -n "${PG_CONFIG:-}" ]; then
        CONFIG="$(command -v "$PG_CONFIG")" || die "PG_CONFIG: no such program: $PG_CONFIG"
    else
        "$ROOT/scripts/setup.sh" pg 18
        CONFIG="$("$ROOT/scripts/pg_config.sh" 18)"
    fi
}

# Copies what was built for CONFIG into a PostgreSQL below PLACE, or into CONFIG's own where that
# cannot be copied; sets BINDIR.
install_below_place() {
    local prefix
    case "$(readlink -f "$CONFIG")" in
        "$(readlink -f "$CACHE")"/wheel/*)
            # Programs of the wheel find their libraries in a directory next to the package's own.
            prefix="$(dirname "$(dirname "$(readlink -f "$CONFIG")")")"
            mkdir -p "$PLACE/wheel/package"
            cp -a "$prefix" "$PLACE/wheel/package/pg"
            cp -a "$prefix"/../../*.libs "$PLACE/wheel/"
            chmod -R a+rX "$PLACE/wheel"
            CONFIG="$PLACE/wheel/package/pg/bin/pg_config" ;;
    esac
    "$ROOT/scripts/install.sh" --pg-config "$CONFIG" --release --no-build
    BINDIR="$("$CONFIG" --bindir)"
    [ -x "$BINDIR/psql" ] || die "there is no psql in $BINDIR"
}

stop_server() { # data directory, user, directory of programs
    if [ -e "$1/postmaster.pid" ]; then
        RUN_USER="$2" as_server "$3/pg_ctl" -D "$1" -m fast -w stop >/dev/null 2>&1 || true
    fi
}
