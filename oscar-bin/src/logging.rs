//! Messages: on standard error, or in a file while a dashboard has the screen.

use std::fs::File;
use std::io::IsTerminal;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::cli::{Global, LogFormat};

/// Installs the subscriber. `RUST_LOG` overrides the flags.
pub fn init(global: &Global, file: Option<File>) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "warn",
        (_, 0) => "info",
        (_, 1) => "debug",
        _ => "trace",
    };
    // Burn's own messages repeat what the progress shows.
    let default = format!("warn,oscar={level},oscar_bin={level},oscar_core={level},\
        oscar_train={level},oscar_datasets={level},oscar_pretraining={level}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let to_file = file.is_some();
    let writer = match file {
        Some(file) => BoxMakeWriter::new(Mutex::new(file)),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let colour = !to_file
        && std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(colour);
    // Only a second call fails, and then a subscriber is there already.
    let _ = match (global.log_format, to_file) {
        (LogFormat::Json, _) => builder.json().try_init(),
        (LogFormat::Text, true) => builder.try_init(),
        (LogFormat::Text, false) => builder.without_time().try_init(),
    };
}
