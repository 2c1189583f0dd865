//! What commands that train have in common: the terminal, signals, and how to go on.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use oscar_train::{Interrupter, release_terminal};

use crate::args::Global;
use crate::ending::Ending;
use crate::logging;

/// Whether there is a terminal that can move its cursor.
pub fn has_dashboard() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The first signal stops the run after a checkpoint, the second at once.
pub fn stop_on_signal(interrupter: Interrupter) -> Result<()> {
    ctrlc::set_handler(move || {
        if interrupter.should_stop() {
            release_terminal();
            logging::to_screen();
            tracing::warn!("stopped at once; what the last checkpoint holds can be resumed");
            std::process::exit(130);
        }
        tracing::warn!(
            "stopping after this step, with a checkpoint; interrupt again to stop at once"
        );
        interrupter.stop(Some("interrupted by a signal"));
    })
    .context("cannot listen to signals")
}

/// Says how to go on with the run in `directory` that `command` (`train`, `finetune --task T`)
/// was stopped in.
pub fn interrupted(
    global: &Global,
    command: &str,
    step: usize,
    directory: &Path,
    runs: &Path,
) -> Ending {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let place = match runs == Path::new("runs") {
        true => String::new(),
        false => format!(" --runs-dir {}", runs.display()),
    };
    logging::say(
        global.log_format,
        &format!(
            "interrupted after step {step}; go on with: \
             oscar-bin {command} --name {name}{place} --resume"
        ),
    );
    Ending::Interrupted
}
