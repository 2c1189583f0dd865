//! `oscar-bin model pull`.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use crate::hub::{self, ByHand, Known};
use crate::output::{self, print_json, print_table};

/// Downloads public weights from the HuggingFace hub, or lists those that are known by name.
///
/// Files go into the cache that Python's huggingface_hub uses, and the variables HF_HOME,
/// HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean there. An interrupted
/// download resumes. What arrives is compared with the checksums of the hub, and so is what the cache
/// has already. Other commands take the same names in the place of a directory, and download what is
/// missing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin model pull\n  \
    oscar-bin model pull vinvl vinvl-captioning\n  \
    oscar-bin model pull hub:google-bert/bert-base-uncased@main")]
pub struct PullArgs {
    /// Weights: a known name, or a repository as hub:OWNER/NAME, hub:OWNER/NAME@REVISION [default:
    /// list the known names]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Downloads the weights and prints where they are.
///
/// # Errors
/// If a name is not known, or something cannot be downloaded.
pub fn run(args: &PullArgs) -> Result<()> {
    if args.names.is_empty() {
        return list(args.json);
    }
    let mut references = Vec::new();
    for name in &args.names {
        if let Some(weights) = ByHand::find(name) {
            let place = weights.path()?;
            bail!("{name} is not downloaded: it is at {}", place.display());
        }
        let known = || Known::all().iter().map(|known| known.name.as_str());
        match hub::named(name)? {
            Some(reference) => references.push(reference),
            None => bail!(
                "{name:?} is not the name of known weights ({}); any other repository is \
                 hub:OWNER/NAME",
                known().collect::<Vec<_>>().join(", ")
            ),
        }
    }
    download(&references, args.json)
}

fn list(json: bool) -> Result<()> {
    let known = Known::all();
    if json {
        let document = known.iter().map(|known| {
            json!({
                "name": known.name, "repository": known.repository, "megabytes": known.megabytes,
                "licence": known.licence, "source": known.source, "purpose": known.purpose,
            })
        });
        return print_json(&json!({ "weights": document.collect::<Vec<_>>() }));
    }
    let mut out = output::stdout();
    let rows = known.iter().map(|known| {
        vec![
            known.name.clone(),
            format!("{} MB", known.megabytes),
            known.licence.clone(),
            known.purpose.clone(),
        ]
    });
    let header = ["name", "size", "licence", "purpose"]
        .map(String::from)
        .to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    print_table(&mut out, &rows)?;
    for weights in ByHand::all() {
        writeln!(
            out,
            "by hand: {}, {}; {} from {}",
            weights.name, weights.purpose, weights.file, weights.address
        )?;
    }
    writeln!(
        out,
        "any other repository: hub:OWNER/NAME, hub:OWNER/NAME@REVISION"
    )?;
    Ok(())
}

#[cfg(feature = "hub")]
fn download(references: &[oscar_files::hub::HubReference], json: bool) -> Result<()> {
    let mut documents = Vec::new();
    for reference in references {
        let pulled = hub::pull(reference, true)?;
        let files = pulled
            .files
            .iter()
            .map(|file| json!({ "name": file.name, "bytes": file.size, "checksum": file.etag }));
        documents.push(json!({
            "repository": reference.repository,
            "revision": reference.revision,
            "commit": pulled.commit,
            "directory": output::shown(&pulled.directory),
            "files": files.collect::<Vec<_>>(),
        }));
        if !json {
            let mut out = output::stdout();
            writeln!(out, "{}", pulled.directory.display())?;
        }
    }
    match json {
        true => print_json(&json!({ "weights": documents })),
        false => Ok(()),
    }
}

#[cfg(not(feature = "hub"))]
fn download(_references: &[oscar_files::hub::HubReference], _json: bool) -> Result<()> {
    bail!("this program was built without the feature `hub`, so it downloads nothing")
}
