#!/bin/sh
# Fuzzes readers, each for SECONDS; inputs that reach new code are kept in the archive
# corpus/READER.zip, the largest first, since each of them reaches more.
#
#   tests/fuzz/run.sh SECONDS [READER ...]
#
# Needs cargo-fuzz (cargo install cargo-fuzz) and Python, which packs the archives. Works with a stable compiler: without sanitizers,
# a panic, an abort, a hang of ten seconds or a gigabyte of memory is what is looked for.
# OSCAR_FUZZ_BUILD=DIR compiles there instead of in target/.
set -eu
cd "$(dirname "$0")"
# A corpus is replayed by every run of the tests.
most_files=40
most_bytes=200000
seconds=$1
shift
build=${OSCAR_FUZZ_BUILD:-target}
[ -e Cargo.lock ] || cp ../../Cargo.lock Cargo.lock
cargo fuzz build --release --sanitizer none --fuzz-dir . --target-dir "$build" reader
program=$(ls "$build"/*/release/reader)
work=$(mktemp -d)
# Seeds are written by the readers' own tests.
OSCAR_FUZZ_SEEDS="$work/seeds" cargo test --quiet --release --manifest-path ../../Cargo.toml \
    --workspace --test fuzz write_seeds -- --ignored >/dev/null
[ $# -gt 0 ] || set -- $(ls "$work/seeds")
for reader in "$@"; do
    echo "$reader"
    kept="$work/kept"
    mkdir -p "$kept" "$work/new" "$work/all"
    [ ! -e "corpus/$reader.zip" ] || python3 -m zipfile -e "corpus/$reader.zip" "$kept"
    cp "$work/seeds/$reader"/* "$work/all"
    cp "$kept"/* "$work/all" 2>/dev/null || true
    ls "$work/all" >"$work/before"
    export OSCAR_FUZZ_TARGET="$reader"
    "$program" "$work/new" "$work/all" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -artifact_prefix="$work/crash-" -print_final_stats=1 2>&1 |
        grep -E 'stat::number_of_executed_units|ERROR|panicked|SUMMARY|Test unit' || true
    ls "$work"/crash-* 2>/dev/null && echo "see $work" && exit 1
    "$program" -set_cover_merge=1 "$work/all" "$work/new" >/dev/null 2>&1
    ls -S "$work/all" | grep -vxFf "$work/before" | while read -r input; do
        files=$(ls "$kept" | wc -l)
        bytes=$(cat "$kept"/* "$work/all/$input" 2>/dev/null | wc -c)
        [ "$files" -lt $most_files ] && [ "$bytes" -le $most_bytes ] || break
        cp "$work/all/$input" "$kept"
    done
    echo "  kept $(ls "$kept" | wc -l) inputs"
    if [ -n "$(ls "$kept")" ]; then
        # The same inputs make the same archive.
        touch -d 1980-01-01T00:00:00Z "$kept"/*
        (cd "$kept" && TZ=UTC python3 -m zipfile -c "$work/kept.zip" *)
        mv "$work/kept.zip" "corpus/$reader.zip"
    fi
    rm -rf "$kept" "$work/new" "$work/all"
done
rm -rf "$work"
