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
use crate::output::{self, Plain, escape_message};

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
    // Colours are added by the sink, after what is in the message has been escaped.
    let screen = fmt::layer()
        .with_writer(|| Sink { to_file: false })
        .with_target(false)
        .with_ansi(false);
    let file = fmt::layer()
        .with_writer(|| Sink { to_file: true })
        .with_target(false)
        .with_ansi(false);
    let (screen, file) = match global.log_format {
        LogFormat::Json => (screen.json().boxed(), file.json().boxed()),
        LogFormat::Text => (screen.without_time().boxed(), file.boxed()),
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
            let _ = writeln!(output::stderr(), "{}", escape_message(text));
        }
    }
}

/// Prints the error that ends the program: as plain text, or as an event.
pub fn print_error(format: LogFormat, text: &str) {
    match format {
        LogFormat::Json => tracing::error!("{text}"),
        LogFormat::Text => {
            let label = coloured("error:", RED);
            let _ = writeln!(io::stderr(), "{label} {}", escape_message(text));
        }
    }
}

const RED: u8 = 31;

/// Colours of the levels, by their names in messages.
const LEVELS: [(&str, u8); 5] = [
    ("ERROR", RED),
    ("WARN", 33),
    ("INFO", 32),
    ("DEBUG", 34),
    ("TRACE", 35),
];

/// The text in a colour, if standard error shows colours.
fn coloured(text: &str, colour: u8) -> String {
    let shown = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match shown {
        true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        false => text.into(),
    }
}

/// Where progress lines go: as they are, or as events.
pub fn progress(global: &Global) -> Box<dyn Write + Send + Sync> {
    match (global.quiet, global.log_format) {
        (true, _) => Box::new(io::sink()),
        (false, LogFormat::Text) => Box::new(Plain::new(io::stderr())),
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

/// The message with its level, which it begins with, in colour.
fn with_colour(text: &str) -> String {
    let rest = text.trim_start();
    let level = LEVELS.iter().find(|(name, _)| rest.starts_with(name));
    match level {
        None => text.into(),
        Some((name, colour)) => {
            let indent = &text[..text.len() - rest.len()];
            let rest = &rest[name.len()..];
            format!("{indent}{}{rest}", coloured(name, *colour))
        }
    }
}

/// Writes to the file while there is one, or to standard error while there is none.
struct Sink {
    to_file: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An event comes in one piece.
        let text = String::from_utf8_lossy(bytes);
        let text = escape_message(&text);
        match (self.to_file, lock().as_mut()) {
            (true, Some(file)) => file.write_all(text.as_bytes())?,
            (false, None) => io::stderr().write_all(with_colour(&text).as_bytes())?,
            _ => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock() -> MutexGuard<'static, Option<File>> {
    FILE.lock().unwrap_or_else(PoisonError::into_inner)
}
