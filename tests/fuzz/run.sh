#!/bin/sh
# Fuzzes readers, each for SECONDS; new inputs that reach new code are kept in corpus/READER.
#
#   tests/fuzz/run.sh SECONDS [READER ...]
#
# Needs cargo-fuzz (cargo install cargo-fuzz). Works with a stable compiler: without sanitizers,
# a panic, an abort, a hang of ten seconds or a gigabyte of memory is what is looked for.
set -eu
cd "$(dirname "$0")"
seconds=$1
shift
if [ $# -eq 0 ]; then
    set -- $(sed -n 's/.*Target::new("\([a-z0-9_]*\)".*/\1/p' ../src/fuzz/targets.rs)
fi
cargo fuzz build --release --sanitizer none --fuzz-dir . reader
program=$(ls target/*/release/reader)
for reader in "$@"; do
    work=$(mktemp -d)
    mkdir -p "corpus/$reader"
    # Seeds are written by the readers' own tests.
    OSCAR_FUZZ_SEEDS="$work" cargo test --quiet --release --manifest-path ../../Cargo.toml \
        --workspace --test fuzz write_seeds -- --ignored >/dev/null
    echo "$reader"
    OSCAR_FUZZ_TARGET=$reader "$program" "$work/new" "$work/$reader" "corpus/$reader" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -artifact_prefix="$work/crash-" -print_final_stats=1 2>&1 |
        grep -E 'stat::number_of_executed_units|ERROR|panicked|SUMMARY|Test unit' || true
    ls "$work"/crash-* 2>/dev/null && echo "see $work" && exit 1
    rm -rf "$work"
done
