//! `oscar-bin data build regions`: imports region features into a region store, or computes them
//! from pictures.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_datasets::StoreDtype;
use oscar_datasets::import::{
    ExtractedRegions, Format, ImportOptions, OnBad, Source, SourceOptions, Summary, import,
};
use oscar_datasets::official::TagChoice;
use oscar_files::write_file;
use oscar_vision::RegionExtractor;
use oscar_vision::drawings::DrawingReader;

use crate::args::{Choices, DeviceArgs, choices};
use crate::backend::{OnBackend, dispatch};
use crate::detector;
use crate::output::{self, print_json};

#[derive(Debug, Args)]
#[command(after_help = "Formats, detected from SRC:\n  \
    official     features.tsv, *.feature.tsv, a folder of chunks, or a YAML file that names them;\n               \
                 tags from predictions.tsv or *.label.tsv, sizes from hw.tsv beside it\n  \
    vinvl        predictions.tsv with a feature in every object\n  \
    lxmert       tables of LXMERT (ten columns) or bottom-up attention (six)\n  \
    npz          a folder of KEY.npz or KEY.jpg.npz: x, bbox, image_w, image_h\n  \
    npy          a folder of KEY.npy and KEY_bbox.npy\n  \
    safetensors  a folder of KEY.safetensors: features, boxes, image_size\n  \
    pt           a dictionary of key to tensor, saved by PyTorch\n\n\
    Official files can also be used for training directly, without an import.\n\n\
    The same command resumes an interrupted import.\n\n\
    Examples:\n  \
    oscar-bin data build regions coco_ir/features.tsv --out coco --verify\n  \
    oscar-bin data build regions butd/ --labels predictions.tsv --out butd-store\n  \
    oscar-bin data build regions mscoco_obj36.tsv --classes objects_vocab.txt --out lxmert\n  \
    oscar-bin data build regions train.yaml --features vinvl.feature.tsv --out vinvl\n  \
    oscar-bin data build regions photos/ --detector detector/ --out regions --list-skipped bad.txt")]
pub struct RegionsArgs {
    /// Features: a file or folder; with --detector, pictures: a folder, zip archive or table
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Find the regions of the pictures in SRC with this detector: its directory; `vinvl`, `frcnn` or
    /// hub:OWNER/NAME, which are downloaded; or `drawing` for the drawings of NLVR v1, which are read
    /// exactly
    #[arg(long, alias = "extractor", value_name = "DIR|NAME", conflicts_with_all = [
        "format", "feature_dim", "labels", "sizes", "features", "classes", "attributes", "tags",
        "tags_only",
    ])]
    pub detector: Option<String>,
    /// Format to import if SRC has several [default: detected]
    #[arg(long, value_parser = choices(FORMATS))]
    pub format: Option<Format>,
    /// Precision of the stored features
    #[arg(long, value_parser = choices(DTYPES), default_value = "f16")]
    pub dtype: StoreDtype,
    /// Feature values per region, without the six box values
    #[arg(long, default_value_t = 2048, value_name = "N")]
    pub feature_dim: usize,
    /// Object tags: a table of key and objects as JSON
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Image sizes: an hw.tsv, or JSON {KEY: {"height": H, "width": W}}
    #[arg(long, value_name = "FILE")]
    pub sizes: Option<PathBuf>,
    /// Feature table to use if SRC lists objects without features
    #[arg(long, value_name = "FILE")]
    pub features: Option<PathBuf>,
    /// Class names for the class numbers of lxmert and npz, one per line
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Attribute names for the attribute numbers of lxmert, one per line
    #[arg(long, value_name = "FILE")]
    pub attributes: Option<PathBuf>,
    /// Which labels to use as object tags
    #[arg(long, value_parser = choices(TAGS), default_value = "objects")]
    pub tags: TagChoice,
    /// Import objects without features, as a store of tags without regions
    #[arg(long)]
    pub tags_only: bool,
    /// What to do with a damaged or inconsistent image [default: stop; skip for pictures]
    #[arg(long = "on-error", alias = "on-bad", value_parser = choices(ON_BAD))]
    pub on_bad: Option<OnBad>,
    /// Write what was wrong with each skipped image to this file, one per line
    #[arg(long, value_name = "FILE")]
    pub list_skipped: Option<PathBuf>,
    /// Clip boxes that extend at most this many pixels beyond the image
    #[arg(long, default_value_t = 2.0, value_name = "PIXELS")]
    pub clip: f32,
    /// Refuse images with boxes that would be clipped or dropped
    #[arg(long)]
    pub strict: bool,
    /// Read source and store again afterwards and compare every value
    #[arg(long)]
    pub verify: bool,
    /// Shard size in MiB; an interrupted import loses at most one shard [default: 1024; 16 for
    /// pictures, some 100 of them]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 20))]
    pub shard_size: Option<u64>,
    /// Number of decoding threads [default: number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Replace an existing store, and the file of --list-skipped
    #[arg(long)]
    pub overwrite: bool,
    /// Discard an interrupted import to DIR and start again
    #[arg(long)]
    pub restart: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

const FORMATS: Choices<Format> = &[
    ("official", "", Format::Official),
    ("vinvl", "", Format::Vinvl),
    ("lxmert", "", Format::Lxmert),
    ("npz", "", Format::Npz),
    ("npy", "", Format::Npy),
    ("safetensors", "", Format::Safetensors),
    ("pt", "", Format::Pt),
];

const DTYPES: Choices<StoreDtype> = &[
    (
        "f16",
        "16-bit floats: half the size, about three decimal digits",
        StoreDtype::F16,
    ),
    ("f32", "32-bit floats, as in the source", StoreDtype::F32),
];

const TAGS: Choices<TagChoice> = &[
    ("objects", "Detected objects", TagChoice::Objects),
    (
        "gt-objects",
        "Annotated objects (ground truth)",
        TagChoice::GtObjects,
    ),
];

const ON_BAD: Choices<OnBad> = &[
    (
        "stop",
        "Stop the import, which can be resumed when the cause is removed",
        OnBad::Stop,
    ),
    (
        "skip",
        "Skip the image, and list it in the summary",
        OnBad::Skip,
    ),
];

/// Imports the features and prints a summary.
///
/// # Errors
/// If the source cannot be read or the store cannot be written.
pub fn run(args: &RegionsArgs) -> Result<()> {
    let context = || {
        format!(
            "cannot import {} into {}",
            args.source.display(),
            args.out.display()
        )
    };
    if let Some(list) = &args.list_skipped {
        let tables = [&args.labels, &args.sizes, &args.features];
        let names = [&args.classes, &args.attributes];
        let read = tables.into_iter().chain(names).flatten();
        output::refuse_input("--list-skipped", list, read.chain([&args.source]))?;
        output::check_out("--list-skipped", list, args.overwrite)?;
    }
    let (out, options) = (&args.out, import_options(args));
    let imported = match &args.detector {
        Some(name) => extract(args, name, &options),
        None => Source::open(&args.source, source_options(args))
            .and_then(|source| import(&source, source.provenance(), out, &options))
            .map_err(anyhow::Error::from),
    };
    let summary = imported.with_context(context)?;
    if let Some(path) = &args.list_skipped {
        let lines: String = summary
            .skipped
            .first
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        write_file(path, lines.as_bytes())?;
    }
    if args.json {
        return print_json(&summary);
    }
    let mut out = output::stdout();
    write_summary(&mut out, &summary)?;
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}

/// Finds the regions of the pictures with the detector called `name`.
fn extract(args: &RegionsArgs, name: &str, options: &ImportOptions) -> Result<Summary> {
    // Nothing computes on a device there.
    if detector::is_drawing(name) {
        return store(args, Arc::new(DrawingReader), options);
    }
    dispatch(
        &args.device,
        Extracting {
            args,
            name,
            options,
        },
    )
}

fn store(
    args: &RegionsArgs,
    detector: Arc<dyn RegionExtractor>,
    options: &ImportOptions,
) -> Result<Summary> {
    let source = ExtractedRegions::open(&args.source, detector)?;
    Ok(import(&source, &source.provenance(), &args.out, options)?)
}

struct Extracting<'a> {
    args: &'a RegionsArgs,
    name: &'a str,
    options: &'a ImportOptions,
}

impl OnBackend for Extracting<'_> {
    type Output = Summary;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Summary> {
        let detector = detector::open::<B::InnerBackend>(self.name, &device)?;
        store(self.args, detector, self.options)
    }
}

fn source_options(args: &RegionsArgs) -> SourceOptions {
    SourceOptions {
        format: args.format,
        feature_dim: args.feature_dim,
        labels: args.labels.clone(),
        sizes: args.sizes.clone(),
        features: args.features.clone(),
        classes: args.classes.clone(),
        attributes: args.attributes.clone(),
        tags: args.tags,
        tags_only: args.tags_only,
        repeated_keys: args.on_bad == Some(OnBad::Skip),
    }
}

fn import_options(args: &RegionsArgs) -> ImportOptions {
    // What was found in pictures took long: little of it may be lost.
    let (on_bad, shard_size) = match args.detector {
        Some(_) => (OnBad::Skip, 16),
        None => (OnBad::Stop, 1024),
    };
    let defaults = ImportOptions::default();
    ImportOptions {
        dtype: args.dtype,
        max_shard_bytes: args.shard_size.unwrap_or(shard_size) << 20,
        on_bad: args.on_bad.unwrap_or(on_bad),
        listed: match args.list_skipped {
            Some(_) => usize::MAX,
            None => defaults.listed,
        },
        clip: args.clip,
        strict: args.strict,
        verify: args.verify,
        overwrite: args.overwrite,
        restart: args.restart,
        threads: args.threads.map(usize::from),
    }
}

fn write_summary(out: &mut impl Write, summary: &Summary) -> std::io::Result<()> {
    let counts = summary.counts;
    writeln!(
        out,
        "{} images with {} regions of {} + 6 values ({}) and {} object tags, in {} shard(s)",
        counts.images,
        counts.regions,
        summary.feature_dim,
        summary.dtype,
        counts.tags,
        summary.shards
    )?;
    if let Some(verified) = summary.verified {
        writeln!(
            out,
            "verified: {} values and {} tags of {} images equal the source",
            verified.values, verified.tags, verified.images
        )?;
    }
    if summary.resumed_from > 0 {
        writeln!(
            out,
            "resumed after the first {} images",
            summary.resumed_from
        )?;
    }
    for (count, what) in [
        (counts.images_without_regions, "images without regions"),
        (counts.images_without_tags, "images without object tags"),
        (counts.images_without_size, "images of unknown size"),
        (counts.regions_clipped, "regions clipped to their image"),
        (
            counts.regions_dropped,
            "regions dropped: no area inside their image",
        ),
        (counts.tag_boxes_clipped, "tag boxes clipped to their image"),
        (
            counts.tag_boxes_dropped,
            "tags stored without their box, which is outside their image",
        ),
        (summary.skipped.total, "images skipped"),
    ] {
        if count > 0 {
            writeln!(out, "{count} {what}")?;
        }
    }
    for skipped in &summary.skipped.first {
        writeln!(out, "  {skipped}")?;
    }
    for note in &summary.notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(
        out,
        "{:.1} MB in {:.1} s",
        summary.source_bytes as f64 / 1e6,
        summary.seconds
    )
}
