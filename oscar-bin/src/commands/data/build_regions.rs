//! `oscar-bin data build regions`: region features that people already have, as a region store.

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
#[command(after_help = "Formats, found out from what lies at SRC:\n  \
    official     features.tsv, *.feature.tsv, a folder of chunks, or a YAML file that names them;\n               \
                 tags from predictions.tsv or *.label.tsv, sizes from hw.tsv beside it\n  \
    vinvl        predictions.tsv with a feature in every object\n  \
    lxmert       tables of LXMERT (ten columns) or bottom-up attention (six)\n  \
    npz          a folder of KEY.npz or KEY.jpg.npz: x, bbox, image_w, image_h\n  \
    npy          a folder of KEY.npy and KEY_bbox.npy\n  \
    safetensors  a folder of KEY.safetensors: features, boxes, image_size\n  \
    pt           a dictionary of key to tensor, saved by PyTorch\n\n\
    Official files can also be trained from as they are, without an import.\n\n\
    A killed import goes on where it was when the same command is given again.\n\n\
    Examples:\n  \
    oscar-bin data build regions coco_ir/features.tsv --out coco --verify\n  \
    oscar-bin data build regions butd/ --labels predictions.tsv --out butd-store\n  \
    oscar-bin data build regions mscoco_obj36.tsv --classes objects_vocab.txt --out lxmert\n  \
    oscar-bin data build regions train.yaml --features vinvl.feature.tsv --out vinvl")]
pub struct RegionsArgs {
    /// Features: a file or a folder
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// Directory to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Format of SRC, where it holds several
    #[arg(long, value_enum)]
    pub format: Option<FormatChoice>,
    /// Precision of the stored features
    #[arg(long, value_enum, default_value_t)]
    pub dtype: DtypeChoice,
    /// Appearance values per region, without the six of the box
    #[arg(long, default_value_t = 2048, value_name = "N")]
    pub feature_dim: usize,
    /// Object tags: a label table (key, objects as JSON)
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Image sizes: an hw.tsv, or JSON {KEY: {"height": H, "width": W}}
    #[arg(long, value_name = "FILE")]
    pub sizes: Option<PathBuf>,
    /// Features of a data set whose own tables hold objects alone
    #[arg(long, value_name = "FILE")]
    pub features: Option<PathBuf>,
    /// Names of classes that lxmert and npz give by number, one a line
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Names of attributes that lxmert gives by number, one a line
    #[arg(long, value_name = "FILE")]
    pub attributes: Option<PathBuf>,
    /// Which list of label rows the tags are
    #[arg(long, value_enum, default_value_t)]
    pub tags: TagsChoice,
    /// Import objects without features: a store of tags, with no region to train on
    #[arg(long)]
    pub tags_only: bool,
    /// What to do with an image that is damaged or does not fit
    #[arg(long, value_enum, default_value_t)]
    pub on_bad: OnBadChoice,
    /// Pixels that a box may reach outside its image, to be cut off
    #[arg(long, default_value_t = 2.0, value_name = "PIXELS")]
    pub clip: f32,
    /// Refuse images with boxes that would be cut off or left out
    #[arg(long)]
    pub strict: bool,
    /// Read source and store again and compare every value
    #[arg(long)]
    pub verify: bool,
    /// Size of the store's parts in MiB; an interrupted import loses one of them at most
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 20))]
    pub shard_size: u64,
    /// Threads that decode [default: as many as there are cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Replace a store that is there already
    #[arg(long)]
    pub overwrite: bool,
    /// Start over, and throw away what an interrupted import to DIR has left
    #[arg(long)]
    pub restart: bool,
    /// Print what was imported as one JSON document on standard output
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
    /// 16 bits: half the size, three decimal digits
    #[default]
    F16,
    /// 32 bits: as in the source
    F32,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum TagsChoice {
    /// What the detector found
    #[default]
    Objects,
    /// What people annotated
    GtObjects,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnBadChoice {
    /// End the import; it can go on when the cause is removed
    #[default]
    Stop,
    /// Leave the image out, say so, and count it
    Skip,
}

/// Imports what was asked for and says what came out.
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
            "verified: {} values and {} tags of {} images are those of the source",
            verified.values, verified.tags, verified.images
        )?;
    }
    if summary.resumed_from > 0 {
        writeln!(
            out,
            "the first {} images were there already",
            summary.resumed_from
        )?;
    }
    for (count, what) in [
        (counts.images_without_regions, "images without any region"),
        (
            counts.images_without_tags,
            "images without object tags in the source",
        ),
        (counts.images_without_size, "images of unknown size"),
        (
            counts.regions_clipped,
            "regions cut off at the edge of their image",
        ),
        (
            counts.regions_dropped,
            "regions left out: no area in their image",
        ),
        (
            counts.tag_boxes_clipped,
            "boxes of tags cut off at the edge of their image",
        ),
        (
            counts.tag_boxes_dropped,
            "tags stored without their box, which is not in their image",
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
