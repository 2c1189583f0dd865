//! Public weights: known by name, or any repository of the HuggingFace hub.

mod by_hand;
#[cfg(feature = "hub")]
mod pull;
mod selection;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oscar_files::hub::{HubReference, HubSettings};

pub use self::by_hand::ByHand;
#[cfg(feature = "hub")]
pub use self::pull::pull;
pub use self::selection::wanted;
pub use self::table::Known;

/// What `given` names on the hub, if it does: `hub:OWNER/NAME@REVISION`, or known weights.
///
/// # Errors
/// If it begins with `hub:` and is no such name.
pub fn named(given: &str) -> Result<Option<HubReference>> {
    if HubReference::is_one(given) {
        return Ok(Some(given.parse()?));
    }
    let known = Known::find(given).map(Known::reference);
    Ok(known.transpose()?)
}

/// The directory of what `given` names on the hub, which is downloaded if it is not in the cache, or the
/// place of known weights that are downloaded by hand; none if it is a file or directory, or names
/// nothing of that kind.
///
/// # Errors
/// If it cannot be downloaded, or was not downloaded by hand.
pub fn directory(given: &Path) -> Result<Option<PathBuf>> {
    let text = given.to_string_lossy();
    if given.exists() && !HubReference::is_one(&text) {
        return Ok(None);
    }
    match named(&text)? {
        Some(reference) => Ok(Some(of_reference(&reference)?)),
        None => match ByHand::find(&text) {
            Some(weights) => Ok(Some(weights.path()?.to_path_buf())),
            None => Ok(None),
        },
    }
}

/// Whether known weights are called `name`.
pub fn is_known(name: &str) -> bool {
    Known::find(name).is_some() || ByHand::find(name).is_some()
}

fn of_reference(reference: &HubReference) -> Result<PathBuf> {
    let settings = HubSettings::from_environment()?;
    let files = settings.cache.files(reference);
    if let Some(snapshot) = settings.cache.snapshot(reference)
        && wanted(reference, &files).is_ok()
    {
        tracing::debug!("{reference}: {}", snapshot.display());
        return Ok(snapshot);
    }
    missing(reference, &settings)
}

#[cfg(feature = "hub")]
fn missing(reference: &HubReference, _settings: &HubSettings) -> Result<PathBuf> {
    Ok(pull(reference, false)?.directory)
}

#[cfg(not(feature = "hub"))]
fn missing(reference: &HubReference, settings: &HubSettings) -> Result<PathBuf> {
    anyhow::bail!(
        "{}; this program was built without the feature `hub`, so it downloads nothing",
        by_hand(reference, settings)
    )
}

/// Which files to put where, for those who have no network here.
fn by_hand(reference: &HubReference, settings: &HubSettings) -> String {
    let HubReference {
        repository,
        revision,
    } = reference;
    let page = format!("{}/{repository}", settings.endpoint);
    let files = match Known::of(reference) {
        Some(known) => {
            let names = known.files.iter().chain(known.one_of.first());
            let address = |name: &String| format!("{page}/resolve/{revision}/{name}");
            names.map(address).collect::<Vec<_>>().join(" and ")
        }
        None => format!("the weights, configuration and vocabulary of {page}/tree/{revision}"),
    };
    format!(
        "{reference} is not in the cache {}; to use it without a network here, download {files} into \
         one directory, and give that directory in the place of the name",
        settings.cache.root().display()
    )
}

/// Adds to an error of the network what to do without one.
#[cfg(feature = "hub")]
fn explain(
    error: oscar_files::hub::HubError,
    reference: &HubReference,
    settings: &HubSettings,
) -> anyhow::Error {
    use oscar_files::hub::HubError;
    let without_network = matches!(
        error,
        HubError::Offline | HubError::Unreachable { .. } | HubError::NoCertificates { .. }
    );
    match without_network {
        true => anyhow::Error::new(error).context(by_hand(reference, settings)),
        false => anyhow::Error::new(error).context(format!("cannot download {reference}")),
    }
}

/// Known weights by name, for a message.
pub fn known_names(purpose: &str) -> String {
    let known = Known::all()
        .iter()
        .map(|known| (&known.name, &known.purpose));
    let others = ByHand::all().iter();
    let others = others.map(|weights| (&weights.name, &weights.purpose));
    known
        .chain(others)
        .filter(|(_, of)| of.contains(purpose))
        .map(|(name, _)| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Known weights called `name`.
///
/// # Errors
/// If there are none.
pub fn known(name: &str) -> Result<&'static Known> {
    Known::find(name).with_context(|| format!("config/weights.toml does not have {name}"))
}
