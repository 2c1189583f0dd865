//! `oscar-bin data`.

use std::io::Write;

use anyhow::{Context, Result};
use oscar_datasets::nlvr1::{BuildOptions, build};
use oscar_datasets::sample::{SampleSources, write_sample, write_weights};

use crate::cli::{
    BuildCommand, DataArgs, DataCommand, Global, Nlvr1Args, SampleArgs, SampleWeightsArgs,
};
use crate::{Ending, data_answers, data_check, data_inspect, data_regions, miniature};

/// Does what was asked for and says what came out.
pub fn run(global: &Global, args: &DataArgs) -> Result<Ending> {
    match &args.command {
        DataCommand::Build(BuildCommand::Nlvr1(args)) => build_nlvr1(args)?,
        DataCommand::Build(BuildCommand::Answers(args)) => data_answers::run(args)?,
        DataCommand::Check(args) => data_check::run(global, args)?,
        DataCommand::Inspect(args) => data_inspect::run(args)?,
        DataCommand::Build(BuildCommand::Regions(args)) => data_regions::run(args)?,
        DataCommand::Build(BuildCommand::Tasks(args)) => miniature::run(args)?,
        DataCommand::Sample(args) => make_sample(args)?,
        DataCommand::SampleWeights(args) => make_weights(args)?,
    }
    Ok(Ending::Done)
}

fn build_nlvr1(args: &Nlvr1Args) -> Result<()> {
    let options = BuildOptions {
        split_name: args.split.clone(),
        skip: args.skip,
        limit: args.limit,
        held_out_from: args.held_out_from.clone(),
        overwrite: args.overwrite,
        ..BuildOptions::default()
    };
    let info = build(&args.images, &args.annotations, &args.out, &options)
        .with_context(|| format!("cannot build {}", args.out.display()))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", serde_json::to_value(&info)?)?;
        return Ok(());
    }
    let counts = info.counts;
    writeln!(
        out,
        "{} images of {} groups; {} described boxes with {} objects \
         ({} empty, {} already known); {} human statements",
        counts.images,
        counts.groups,
        counts.boxes,
        counts.objects,
        counts.empty_boxes,
        counts.seen_boxes,
        counts.statements,
    )?;
    writeln!(
        out,
        "{} of {} images have exactly the annotated objects (the others have no annotation \
         to compare with)",
        counts.verified, counts.images
    )?;
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}

fn make_sample(args: &SampleArgs) -> Result<()> {
    let sources = SampleSources {
        train_images: &args.train_images,
        train_annotations: &args.train_annotations,
        dev_images: &args.dev_images,
        dev_annotations: &args.dev_annotations,
    };
    let counts = write_sample(&sources, &args.out, args.overwrite)
        .with_context(|| format!("cannot make the sample {}", args.out.display()))?;
    writeln!(
        std::io::stdout(),
        "{} training and {} held-out images, {:.2} MB in {}",
        counts.train_images,
        counts.dev_images,
        counts.bytes as f64 / 1e6,
        args.out.display()
    )?;
    Ok(())
}

fn make_weights(args: &SampleWeightsArgs) -> Result<()> {
    let bytes = write_weights(&args.from, &args.out, args.overwrite)
        .with_context(|| format!("cannot make the weights {}", args.out.display()))?;
    writeln!(
        std::io::stdout(),
        "{:.2} MB in {}",
        bytes as f64 / 1e6,
        args.out.display()
    )?;
    Ok(())
}
