//! Messages: on standard error, or in a file while a dashboard has the screen.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::args::{Global, LogFormat};

/// Where messages go instead of standard error.
static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Installs the subscriber. `RUST_LOG` overrides the flags.
pub fn init(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "warn",
        (_, 0) => "info",
        (_, 1) => "debug",
        _ => "trace",
    };
    // Burn's own messages repeat what the progress shows.
    let default = format!(
        "warn,oscar={level},oscar_bin={level},oscar_core={level},\
         oscar_task={level},oscar_train={level},oscar_datasets={level},oscar_pretraining={level}"
    );
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = fmt::layer().with_writer(|| Screen).with_target(false);
    let file = fmt::layer()
        .with_writer(|| LogFile)
        .with_target(false)
        .with_ansi(false);
    let (screen, file) = match global.log_format {
        LogFormat::Json => (screen.json().boxed(), file.json().boxed()),
        LogFormat::Text => (
            screen.without_time().with_ansi(colour).boxed(),
            file.boxed(),
        ),
    };
    // Only a second call fails, and then a subscriber is there already.
    let _ = tracing_subscriber::registry()
        .with(screen.and_then(file))
        .with(filter)
        .try_init();
}

/// Sends messages to `path` until [`to_screen`].
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

/// Says what must be heard whatever the level: plainly to people, as an event to machines.
pub fn say(format: LogFormat, text: &str) {
    match format {
        LogFormat::Json => tracing::error!("{text}"),
        LogFormat::Text => {
            // Nothing is left to tell of this failure.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

/// Lines of progress: as they are for people, as events for machines.
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

struct Screen;

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match lock().is_some() {
            true => Ok(bytes.len()),
            false => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct LogFile;

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match lock().as_mut() {
            Some(file) => file.write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock() -> MutexGuard<'static, Option<File>> {
    FILE.lock().unwrap_or_else(PoisonError::into_inner)
}
