//! Fuzzes the reader that `OSCAR_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<String> = LazyLock::new(|| {
    std::env::var("OSCAR_FUZZ_TARGET").expect("OSCAR_FUZZ_TARGET names a reader")
});

fuzz_target!(|input: &[u8]| oscar_tests::fuzz::run(&TARGET, input));
