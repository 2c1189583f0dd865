//! The terminal and signals of a command that trains.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use oscar_train::{Interrupter, SaveRequest, release_terminal};

use crate::args::Global;
use crate::ending::Ending;
use crate::logging;
use crate::output::quoted;

/// Whether there is a terminal that can show a dashboard.
pub fn has_dashboard() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The first signal stops the run after a checkpoint, the second immediately.
///
/// # Errors
/// If the system allows no handler.
pub fn stop_on_signal(interrupter: Interrupter) -> Result<()> {
    // One handler for all runs of a sweep: it stops the one that is trained.
    static TRAINED: Mutex<Option<Interrupter>> = Mutex::new(None);
    let lock = || TRAINED.lock().unwrap_or_else(|lock| lock.into_inner());
    if lock().replace(interrupter).is_some() {
        return Ok(());
    }
    ctrlc::set_handler(move || {
        let Some(interrupter) = lock().clone() else {
            return;
        };
        if interrupter.should_stop() {
            release_terminal();
            logging::to_screen();
            tracing::warn!("stopped immediately; resume from the last checkpoint with --resume");
            std::process::exit(130);
        }
        tracing::warn!(
            "stopping after this step, with a checkpoint; interrupt again to stop immediately"
        );
        interrupter.stop(Some("interrupted by a signal"));
    })
    .context("cannot handle signals")
}

/// The signal USR1, which schedulers such as Slurm send some time before they end a job, asks for a
/// checkpoint; the run continues.
///
/// # Errors
/// If the system allows no handler.
#[cfg(unix)]
pub fn save_on_signal(save: &SaveRequest) -> Result<()> {
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, save.flag())
        .map(drop)
        .context("cannot handle signals")
}

/// Other systems have no such signal.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn save_on_signal(_: &SaveRequest) -> Result<()> {
    Ok(())
}

/// Prints the command that resumes the run in `directory`, in which `command` (`train`,
/// `finetune --task T`) was interrupted.
pub fn interrupted(
    global: &Global,
    command: &str,
    step: usize,
    directory: &Path,
    runs: &Path,
) -> Ending {
    let name = quoted(directory.file_name().unwrap_or_default());
    let place = match runs == Path::new("runs") {
        true => String::new(),
        false => format!(" --runs-dir {}", quoted(runs)),
    };
    logging::print(
        global.log_format,
        &format!(
            "interrupted after step {step}; resume with: \
             oscar-bin {command} --name {name}{place} --resume"
        ),
    );
    Ending::Interrupted
}
