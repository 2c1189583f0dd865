//! Log messages: on standard error, or in a file while a dashboard uses the terminal.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::args::{Global, LogFormat};

/// The file that messages go to instead of standard error.
static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Installs the subscriber. `RUST_LOG` overrides the flags.
pub fn init(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "warn",
        (_, 0) => "info",
        (_, 1) => "debug",
        _ => "trace",
    };
    // All crates whose names begin with oscar. Burn's own messages repeat the progress.
    let default = format!("warn,oscar={level}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = fmt::layer()
        .with_writer(|| Sink { to_file: false })
        .with_target(false);
    let file = fmt::layer()
        .with_writer(|| Sink { to_file: true })
        .with_target(false)
        .with_ansi(false);
    let (screen, file) = match global.log_format {
        LogFormat::Json => (screen.json().boxed(), file.json().boxed()),
        LogFormat::Text => (
            screen.without_time().with_ansi(colour).boxed(),
            file.boxed(),
        ),
    };
    // Only a second call fails, and then a subscriber is already installed.
    let _ = tracing_subscriber::registry()
        .with(screen.and_then(file))
        .with(filter)
        .try_init();
}

/// Sends messages to the end of the file `path` until [`to_screen`].
///
/// # Errors
/// If the file cannot be opened.
pub fn to_file(path: &Path) -> Result<()> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    *lock() = Some(file);
    Ok(())
}

/// Sends messages to standard error.
pub fn to_screen() {
    lock().take();
}

/// Prints a message whatever the level: as plain text, or as an event.
pub fn print(format: LogFormat, text: &str) {
    match format {
        LogFormat::Json => tracing::error!("{text}"),
        LogFormat::Text => {
            // There is no other place to report that standard error is closed.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

/// Where progress lines go: as they are, or as events.
pub fn progress(global: &Global) -> Box<dyn Write + Send + Sync> {
    match (global.quiet, global.log_format) {
        (true, _) => Box::new(io::sink()),
        (false, LogFormat::Text) => Box::new(io::stderr()),
        (false, LogFormat::Json) => Box::new(Events::default()),
    }
}

/// Turns each line into an event.
#[derive(Default)]
struct Events(Vec<u8>);

impl Write for Events {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            tracing::info!("{}", String::from_utf8_lossy(&line).trim());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to the file while there is one, or to standard error while there is none.
struct Sink {
    to_file: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.to_file, lock().as_mut()) {
            (true, Some(file)) => file.write(bytes),
            (false, None) => io::stderr().write(bytes),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock() -> MutexGuard<'static, Option<File>> {
    FILE.lock().unwrap_or_else(PoisonError::into_inner)
}
