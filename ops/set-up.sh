# Sourced by ops/try and ops/test: finds the Rust toolchain and the programs that a fresh Debian machine lacks.
# shellcheck shell=bash

# Makes sure that `cargo` runs, here in the tree, with the pinned toolchain where it can be had.
require_cargo() {
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null; then
        echo "There is no Rust toolchain: install one from https://rustup.rs (or, on Debian 13 and later, with apt-get install rustup), and run this again." >&2
        exit 1
    fi
    local said
    if said=$(cargo --version 2>&1); then
        return
    fi
    # rustup could not fetch the pinned toolchain, perhaps for want of a network. One that is there and is not older will do.
    local pinned candidate version
    pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    for candidate in $(rustup toolchain list 2>/dev/null | sed 's/ .*//'); do
        version=$(RUSTUP_TOOLCHAIN="$candidate" rustc --version 2>/dev/null | cut -d' ' -f2)
        case "$version" in '' | *nightly* | *beta*) continue ;; esac
        if [ "$(printf '%s\n' "$pinned" "$version" | sort --version-sort | head -n 1)" = "$pinned" ]; then
            echo "Rust $pinned is not installed and cannot be fetched; using $version." >&2
            export RUSTUP_TOOLCHAIN="$candidate"
            return
        fi
    done
    printf '%s\n' "$said" >&2
    echo "Rust $pinned is needed: run \`rustup toolchain install $pinned\` where there is a network, and run this again." >&2
    exit 1
}

# require_packages FILE=PACKAGE…: installs the packages whose files are missing, all at once, or names them all.
# A FILE without a slash is a program on the path.
require_packages() {
    local pair file missing=()
    for pair in "$@"; do
        file=${pair%%=*}
        case "$file" in
            /*) [ -e "$file" ] || missing+=("${pair#*=}") ;;
            *) command -v "$file" >/dev/null || [ -x "/usr/sbin/$file" ] || missing+=("${pair#*=}") ;;
        esac
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort --unique)
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if sudo --non-interactive true 2>/dev/null; then
            as_root=(sudo --non-interactive)
        else
            as_root=(no)
        fi
    fi
    if [ "${as_root[0]:-}" = no ] || ! command -v apt-get >/dev/null; then
        echo "These Debian packages are missing: ${missing[*]}. Install them, for instance with \`sudo apt-get install ${missing[*]}\`, and run this again." >&2
        exit 1
    fi
    echo "Installing Debian packages: ${missing[*]}"
    local log
    log=$(mktemp)
    if ! {
        "${as_root[@]}" apt-get update --quiet &&
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "${missing[@]}"
    } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "These Debian packages could not be installed: ${missing[*]}. What apt said is above, and whole in $log." >&2
        exit 1
    fi
    rm -f "$log"
}

# No more compilers and linkers at a time than the memory has room for: two gibibytes each.
limit_jobs() {
    local cores memory jobs
    cores=$(nproc)
    memory=$(awk '/^MemAvailable:/ { print int($2 / 1024 / 1024 / 2) }' /proc/meminfo)
    jobs=$((memory < 1 ? 1 : memory < cores ? memory : cores))
    export CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-$jobs}"
}
