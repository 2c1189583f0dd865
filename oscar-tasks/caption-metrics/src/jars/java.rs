//! A Java process that ends with its user.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::JarOptions;
use crate::error::MetricsError;

/// Maximum number of bytes quoted from the error output.
const QUOTED: u64 = 600;

/// A running process; killed when dropped.
pub(super) struct Java {
    metric: &'static str,
    child: Child,
    complaints: File,
}

impl Java {
    /// Runs `java arguments` in `directory`, its input and output piped or not.
    pub fn start(
        metric: &'static str,
        arguments: &[&std::ffi::OsStr],
        directory: &Path,
        piped: bool,
        options: &JarOptions,
    ) -> Result<Self, MetricsError> {
        let system = |found| MetricsError::Jar {
            metric,
            found,
            fix: "resolve the system error",
        };
        let complaints =
            tempfile::tempfile().map_err(|e| system(format!("no temporary file: {e}")))?;
        let stderr = complaints.try_clone().map_err(|e| system(e.to_string()))?;
        let pipe = || if piped { Stdio::piped() } else { Stdio::null() };
        let child = Command::new(&options.java)
            .args(arguments)
            .current_dir(directory)
            .stdin(pipe())
            .stdout(pipe())
            .stderr(stderr)
            .spawn();
        let child = child.map_err(|error| {
            let java = options.java.to_string_lossy();
            match error.kind() {
                ErrorKind::NotFound => MetricsError::Jar {
                    metric,
                    found: format!("there is no `{java}` on the path"),
                    fix: "install a Java runtime, or leave the jar out",
                },
                _ => system(format!("cannot run `{java}`: {error}")),
            }
        })?;
        Ok(Self {
            metric,
            child,
            complaints,
        })
    }

    /// The process, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until it ends by itself and says that all went well.
    pub fn wait(mut self, patience: Duration) -> Result<(), MetricsError> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(_)) => return Err(self.died()),
                Ok(None) if start.elapsed() >= patience => return Err(self.silent(patience)),
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(self.failed(format!("cannot wait for it: {error}"))),
            }
        }
    }

    /// It ended, or closed its output, before it was done.
    pub fn died(mut self) -> MetricsError {
        // Closed pipes come a moment before the end.
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) if start.elapsed() < Duration::from_secs(2) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => break "its output closed".to_owned(),
            }
        };
        self.failed(format!("the jar ended without a score ({status})"))
    }

    /// It took too long.
    pub fn silent(self, patience: Duration) -> MetricsError {
        let seconds = patience.as_secs_f64();
        self.failed(format!(
            "no answer from the jar within {seconds} seconds; it was killed"
        ))
    }

    /// What happened, with what the process complained about.
    pub fn failed(mut self, found: String) -> MetricsError {
        let mut said = Vec::new();
        let end = self.complaints.seek(SeekFrom::End(0)).unwrap_or(0);
        let from = SeekFrom::Start(end.saturating_sub(QUOTED));
        if self.complaints.seek(from).is_ok() {
            // What cannot be read is not quoted.
            let _ = (&mut self.complaints).take(QUOTED).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        MetricsError::Jar {
            metric: self.metric,
            found: match said.is_empty() {
                true => found,
                false => format!("{found}; its error output: {said}"),
            },
            fix: "check that it is the official jar with its accompanying files",
        }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // It may have ended already; there is nothing else to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
