//! The program `oscar-bin`.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (after a checkpoint).

use std::process::ExitCode;

use oscar_bin::Ending;

fn main() -> ExitCode {
    match oscar_bin::run() {
        Ending::Done => ExitCode::SUCCESS,
        Ending::Failed => ExitCode::FAILURE,
        Ending::Interrupted => ExitCode::from(130),
    }
}
