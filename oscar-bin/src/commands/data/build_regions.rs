//! `oscar-bin data build regions`: imports existing region features into a region store.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use oscar_datasets::StoreDtype;
use oscar_datasets::import::{
    Format, ImportOptions, OnBad, Source, SourceOptions, Summary, import,
};
use oscar_datasets::official::TagChoice;

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
    oscar-bin data build regions train.yaml --features vinvl.feature.tsv --out vinvl")]
pub struct RegionsArgs {
    /// Features: a file or a folder
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Format to import if SRC has several [default: detected]
    #[arg(long, value_enum)]
    pub format: Option<FormatChoice>,
    /// Precision of the stored features
    #[arg(long, value_enum, default_value_t)]
    pub dtype: DtypeChoice,
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
    #[arg(long, value_enum, default_value_t)]
    pub tags: TagsChoice,
    /// Import objects without features, as a store of tags without regions
    #[arg(long)]
    pub tags_only: bool,
    /// What to do with a damaged or inconsistent image
    #[arg(long, value_enum, default_value_t)]
    pub on_bad: OnBadChoice,
    /// Clip boxes that extend at most this many pixels beyond the image
    #[arg(long, default_value_t = 2.0, value_name = "PIXELS")]
    pub clip: f32,
    /// Refuse images with boxes that would be clipped or dropped
    #[arg(long)]
    pub strict: bool,
    /// Read source and store again afterwards and compare every value
    #[arg(long)]
    pub verify: bool,
    /// Shard size in MiB; an interrupted import loses at most one shard
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 20))]
    pub shard_size: u64,
    /// Number of decoding threads [default: number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Replace an existing store
    #[arg(long)]
    pub overwrite: bool,
    /// Discard an interrupted import to DIR and start again
    #[arg(long)]
    pub restart: bool,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FormatChoice {
    Official,
    Vinvl,
    Lxmert,
    Npz,
    Npy,
    Safetensors,
    Pt,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum DtypeChoice {
    /// 16-bit floats: half the size, about three decimal digits
    #[default]
    F16,
    /// 32-bit floats, as in the source
    F32,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum TagsChoice {
    /// Detected objects
    #[default]
    Objects,
    /// Annotated objects (ground truth)
    GtObjects,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnBadChoice {
    /// Stop the import, which can be resumed when the cause is removed
    #[default]
    Stop,
    /// Skip the image, and list it in the summary
    Skip,
}

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
    let source = Source::open(&args.source, source_options(args)).with_context(context)?;
    let summary = import(&source, &args.out, &import_options(args)).with_context(context)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", serde_json::to_value(&summary)?)?;
        return Ok(());
    }
    write_summary(&mut out, &summary)?;
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}

fn source_options(args: &RegionsArgs) -> SourceOptions {
    SourceOptions {
        format: args.format.map(|format| match format {
            FormatChoice::Official => Format::Official,
            FormatChoice::Vinvl => Format::Vinvl,
            FormatChoice::Lxmert => Format::Lxmert,
            FormatChoice::Npz => Format::Npz,
            FormatChoice::Npy => Format::Npy,
            FormatChoice::Safetensors => Format::Safetensors,
            FormatChoice::Pt => Format::Pt,
        }),
        feature_dim: args.feature_dim,
        labels: args.labels.clone(),
        sizes: args.sizes.clone(),
        features: args.features.clone(),
        classes: args.classes.clone(),
        attributes: args.attributes.clone(),
        tags: match args.tags {
            TagsChoice::Objects => TagChoice::Objects,
            TagsChoice::GtObjects => TagChoice::GtObjects,
        },
        tags_only: args.tags_only,
        repeated_keys: args.on_bad == OnBadChoice::Skip,
    }
}

fn import_options(args: &RegionsArgs) -> ImportOptions {
    ImportOptions {
        dtype: match args.dtype {
            DtypeChoice::F16 => StoreDtype::F16,
            DtypeChoice::F32 => StoreDtype::F32,
        },
        max_shard_bytes: args.shard_size << 20,
        on_bad: match args.on_bad {
            OnBadChoice::Stop => OnBad::Stop,
            OnBadChoice::Skip => OnBad::Skip,
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
        (
            counts.images_without_tags,
            "images without object tags in the source",
        ),
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
