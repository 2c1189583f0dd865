//! Downloads what is missing, after saying what and how large.

use std::path::PathBuf;

use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use oscar_files::hub::{Event, Hub, HubError, HubReference, HubSettings, Listing, RemoteFile};

use super::table::Known;
use super::{explain, wanted};

/// Weights that are in the cache.
pub struct Pulled {
    /// The folder of their files.
    pub directory: PathBuf,
    /// The commit that the revision is.
    pub commit: String,
    /// The files.
    pub files: Vec<RemoteFile>,
}

/// Downloads what is needed of a repository and is not in the cache. `verify` checks what is there.
///
/// # Errors
/// If the hub cannot be reached or does not have it, or a file does not arrive whole.
pub fn pull(reference: &HubReference, verify: bool) -> Result<Pulled> {
    let settings = HubSettings::from_environment()?;
    let failed = |error: HubError| explain(error, reference, &settings);
    let hub = Hub::connect(settings.clone()).map_err(failed)?;
    let listing = hub.list(reference).map_err(failed)?;
    let names = wanted(reference, &listing.files)?;
    let described = names.iter().map(|name| hub.describe(&listing, name));
    let files: Vec<RemoteFile> = described.collect::<Result<_, _>>().map_err(failed)?;
    announce(reference, &settings, &files);
    for file in &files {
        download(&hub, &listing, file, verify).map_err(failed)?;
    }
    let directory = hub.finish(&listing)?;
    Ok(Pulled {
        directory: std::path::absolute(&directory)
            .with_context(|| format!("cannot find {}", directory.display()))?,
        commit: listing.commit,
        files,
    })
}

fn announce(reference: &HubReference, settings: &HubSettings, files: &[RemoteFile]) {
    let missing: Vec<&RemoteFile> = files.iter().filter(|file| !file.is_cached).collect();
    if missing.is_empty() {
        return;
    }
    let bytes = missing.iter().map(|file| file.size).sum();
    let names: Vec<&str> = missing.iter().map(|file| file.name.as_str()).collect();
    let what = match Known::of(reference) {
        Some(known) => format!(" ({}; licence: {})", known.purpose, known.licence),
        None => String::new(),
    };
    tracing::info!(
        "downloading {} from {reference}{what} into {}: {}",
        HumanBytes(bytes),
        settings.cache.root().display(),
        names.join(", ")
    );
}

/// Downloads one file under a progress bar.
fn download(hub: &Hub, listing: &Listing, file: &RemoteFile, verify: bool) -> Result<(), HubError> {
    let bar = match tracing::enabled!(tracing::Level::INFO) {
        true => ProgressBar::new(file.size),
        false => ProgressBar::hidden(),
    };
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} ({bytes_per_sec}, {eta})";
    let style = ProgressStyle::with_template(style);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(file.name.clone());
    let result = hub.download(listing, file, verify, &|event| match event {
        Event::Waiting => tracing::info!("{}: another process is downloading it", file.name),
        Event::Began(bytes) => {
            if bytes > 0 {
                tracing::info!("{}: resuming after {}", file.name, HumanBytes(bytes));
            }
            bar.set_position(bytes);
            // The time left is that of what arrives now.
            bar.reset_eta();
        }
        Event::Received(bytes) => bar.inc(bytes),
        Event::Restarted => {
            tracing::info!("{}: it cannot be resumed, and starts anew", file.name);
            bar.set_position(0);
        }
        Event::Broken(reason) => tracing::warn!("{}: {reason}; trying again", file.name),
    });
    bar.finish_and_clear();
    result
}
