//! `oscar-bin model import` of weights that are not of Oscar's family: a CLIP, or a ClipCap.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn_flex::{Flex, FlexDevice};
use clap::Args;
use oscar_clipcap::{ASSETS, ClipCapConfig, ImportOptions, is_clipcap};
use oscar_vision::clip::{ClipVision, convert, is_clip};
use serde_json::json;

use super::import::ImportArgs;
use crate::hub;
use crate::output::{self, print_json};

/// Public weights whose tokenizer ClipCap has.
const GPT2: &str = "gpt2";

/// The flag that only weights of Oscar's family take.
pub const MODEL_CONFIG: &str = "--model-config";

/// Those that only weights of a ClipCap take.
const OF_CLIPCAP: [&str; 3] = ["--tokenizer", "--clip-model", "--normalize-prefix"];

/// What the weights of a ClipCap do not say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Weights of ClipCap")]
pub struct ClipCapArgs {
    /// Directory with GPT-2's vocab.json and merges.txt, or public weights that have them [default: the
    /// directory of the weights if it has them, else gpt2]
    #[arg(long, value_name = "DIR|NAME")]
    pub tokenizer: Option<PathBuf>,
    /// CLIP whose embeddings the model reads, such as ViT-B/32 [default: that of the released weights]
    #[arg(long, value_name = "NAME")]
    pub clip_model: Option<String>,
    /// Whether the model divides embeddings by their length [default: as the released weights]
    #[arg(long, value_name = "BOOL")]
    pub normalize_prefix: Option<bool>,
}

/// Imports the weights if they are of a CLIP or a ClipCap, and says whether they are.
///
/// # Errors
/// If they cannot be read or written, or something is not said that no file says.
pub fn run(args: &ImportArgs) -> Result<bool> {
    let source = &args.source;
    let failed = || format!("cannot import {}", source.display());
    if is_clip(source) {
        refuse_others(args, "a CLIP", &[])?;
        import_clip(args).with_context(failed)?;
        return Ok(true);
    }
    if is_clipcap(source) {
        refuse_others(args, "a ClipCap", &OF_CLIPCAP)?;
        import_clipcap(args).with_context(failed)?;
        return Ok(true);
    }
    Ok(false)
}

/// Refuses flags that have no effect on weights of this family, which takes those that are listed.
///
/// # Errors
/// The first of them that is given.
pub fn refuse_others(args: &ImportArgs, family: &str, taken: &[&str]) -> Result<()> {
    let [tokenizer, clip_model, normalize_prefix] = OF_CLIPCAP;
    for (flag, is_given) in [
        (MODEL_CONFIG, args.model_config.is_some()),
        (tokenizer, args.clipcap.tokenizer.is_some()),
        (clip_model, args.clipcap.clip_model.is_some()),
        (normalize_prefix, args.clipcap.normalize_prefix.is_some()),
    ] {
        if is_given && !taken.contains(&flag) {
            bail!(
                "{} holds weights of {family}, on which {flag} has no effect; leave it out",
                args.source.display()
            );
        }
    }
    Ok(())
}

fn import_clip(args: &ImportArgs) -> Result<()> {
    let written = convert(&args.source, &args.out, args.overwrite)?;
    let tower = ClipVision::<Flex>::open(&args.out, &FlexDevice)?;
    let (name, values) = (tower.name(), tower.embedding_dim());
    if args.json {
        return print_json(&json!({
            "model": "CLIP",
            "image_tower": name,
            "image_size": tower.image_size(),
            "embedding_dim": values,
            "directory": output::shown(&args.out),
            "files": written,
        }));
    }
    let mut out = output::stdout();
    writeln!(out, "CLIP: {name}, embeddings of {values} values")?;
    writeln!(out, "{}: {}", args.out.display(), written.join(", "))?;
    Ok(())
}

fn import_clipcap(args: &ImportArgs) -> Result<()> {
    let settings = &args.clipcap;
    let options = ImportOptions {
        clip_model: settings.clip_model.clone(),
        normalize_prefix: settings.normalize_prefix,
        overwrite: args.overwrite,
        ..ImportOptions::default()
    };
    let tokenizer = tokenizer(args)?;
    let config = oscar_clipcap::import(&args.source, &tokenizer, &options, &args.out)?;
    if args.json {
        return print_json(&json!({
            "model": "ClipCap",
            "config": config,
            "directory": output::shown(&args.out),
            "tokenizer": output::shown(&tokenizer),
        }));
    }
    let mut out = output::stdout();
    writeln!(out, "{}", described(&config))?;
    writeln!(
        out,
        "{}: {}, config.json, task.json, model.safetensors",
        args.out.display(),
        ASSETS.join(", ")
    )?;
    Ok(())
}

/// The directory with the tokenizer of a ClipCap.
fn tokenizer(args: &ImportArgs) -> Result<PathBuf> {
    let beside = match args.source.is_dir() {
        true => args.source.clone(),
        false => args.source.parent().unwrap_or(Path::new("")).to_path_buf(),
    };
    let named = match &args.clipcap.tokenizer {
        Some(named) => named.clone(),
        None if ASSETS.iter().all(|name| beside.join(name).is_file()) => return Ok(beside),
        None => GPT2.into(),
    };
    Ok(hub::directory(&named)?.unwrap_or(named))
}

fn described(config: &ClipCapConfig) -> String {
    let clip = match &config.clip_model {
        Some(name) => format!(" of {name}"),
        None => String::new(),
    };
    let divided = match config.normalize_prefix {
        true => ", divided by their length",
        false => "",
    };
    format!(
        "ClipCap: {} mapping network, from embeddings of {} values{clip}{divided} to a prefix of {}; GPT-2 of \
         {} layers and width {}",
        config.mapping_type.name(),
        config.embedding_dim,
        config.prefix_length,
        config.gpt2.n_layer,
        config.gpt2.n_embd
    )
}
