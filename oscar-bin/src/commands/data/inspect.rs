//! `oscar-bin data inspect`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use oscar_datasets::draw::{draw, marks, plain, write_png};
use oscar_datasets::pictures::{Pictures, read_picture};
use oscar_datasets::store::Tag;
use oscar_datasets::{RegionStore, find_image, recorded_pictures};
use oscar_vision::Picture;
use oscar_vision::drawings::crop_to_key;
use serde::Serialize;

use crate::output::{self, UNKNOWN, cells, print_json, print_table};

/// Canvas for an image of unknown size without a picture.
const CANVAS: (u32, u32) = (800, 600);

/// Prints the size, regions and object tags of an image, and can draw them on its picture.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin data inspect data/dev dev-1373-0.b2 --out box.png\n  \
    oscar-bin data inspect regions 124629 --images val2014.zip --out photo.png")]
pub struct InspectArgs {
    /// Region store, or data set that contains some
    #[arg(value_name = "DIR")]
    pub store: PathBuf,
    /// Key of the image
    pub key: String,
    /// Draw the boxes on the picture and write it as PNG
    #[arg(short, long, value_name = "FILE.png")]
    pub out: Option<PathBuf>,
    /// Replace the file of --out if it exists
    #[arg(long, requires = "out")]
    pub overwrite: bool,
    /// Picture of the image [default: from the picture location recorded in the data set]
    #[arg(long, value_name = "PICTURE", requires = "out")]
    pub image: Option<PathBuf>,
    /// Pictures: a directory, a zip archive, or a table of key and base64
    #[arg(
        long,
        value_name = "DIR_OR_ZIP",
        requires = "out",
        conflicts_with = "image"
    )]
    pub images: Option<PathBuf>,
    /// Show at most N regions and N tags
    #[arg(long, value_name = "N")]
    pub max_regions: Option<usize>,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// What a store has of an image; the JSON document.
#[derive(Serialize)]
struct Shown<'a> {
    key: &'a str,
    #[serde(serialize_with = "oscar_files::serialize_shown")]
    store: &'a Path,
    /// The picture location that the store or its data set records.
    #[serde(skip)]
    pictures: Option<PathBuf>,
    source: &'a str,
    /// In pixels; 0 if unknown, as `height`.
    width: u32,
    height: u32,
    feature_dim: usize,
    num_regions: usize,
    /// The first of them.
    regions: Vec<Region>,
    num_tags: usize,
    /// The first of them.
    tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drawing: Option<Drawn>,
}

/// What is shown of a region.
#[derive(Serialize)]
struct Region {
    /// x1, y1, x2, y2 in pixels, if the image has a known size.
    #[serde(rename = "box")]
    box_px: Option<[f32; 4]>,
    /// x1/W, y1/H, x2/W, y2/H, w/W, h/H.
    relative: [f32; 6],
    /// Norm of the features.
    norm: f32,
    /// Mean of the features.
    mean: f32,
}

/// What was drawn.
#[derive(Serialize)]
struct Drawn {
    #[serde(serialize_with = "oscar_files::serialize_shown")]
    file: PathBuf,
    /// Where the picture was found; none on a plain canvas.
    picture: Option<String>,
    scale: u32,
}

/// Shows the image.
///
/// # Errors
/// If there is no such image, or a picture cannot be read or written.
pub fn run(args: &InspectArgs) -> Result<()> {
    let (store, row) = find_image(&args.store, &args.key)?;
    let limit = args.max_regions.unwrap_or(usize::MAX);
    let mut shown = Shown::read(&store, row, limit)?;
    if let Some(out) = &args.out {
        shown.drawing = Some(write_drawing(out, &shown, args)?);
    }
    if args.json {
        return print_json(&shown);
    }
    let mut out = output::stdout();
    shown.print(&mut out, &format!("{:?}", store.dtype()))?;
    Ok(out.flush()?)
}

impl<'a> Shown<'a> {
    fn read(store: &'a RegionStore, row: usize, limit: usize) -> Result<Self> {
        let (count, dim) = (store.num_regions(row), store.region_dim());
        let (width, height) = store.size(row);
        let mut tags = store.tags(row)?;
        let num_tags = tags.len();
        tags.truncate(limit);
        let mut values = vec![0.0; count.min(limit) * dim];
        store.copy_regions(row, &mut values);
        let regions = values.chunks_exact(dim).zip(store.boxes(row));
        let regions = regions.map(|(values, relative)| {
            let features = &values[..store.feature_dim()];
            let sum: f32 = features.iter().sum();
            Region {
                box_px: (width > 0 && height > 0)
                    .then(|| in_pixels(relative, (width as f32, height as f32))),
                relative: *relative,
                norm: features.iter().map(|v| v * v).sum::<f32>().sqrt(),
                mean: sum / features.len() as f32,
            }
        });
        Ok(Self {
            key: store.key(row),
            store: store.dir(),
            pictures: recorded_pictures(store),
            source: store.source(),
            width,
            height,
            feature_dim: store.feature_dim(),
            num_regions: count,
            regions: regions.collect(),
            num_tags,
            tags,
            drawing: None,
        })
    }

    /// Width and height in pixels, if they are known.
    fn size(&self) -> Option<(u32, u32)> {
        (self.width > 0 && self.height > 0).then_some((self.width, self.height))
    }

    fn print(&self, out: &mut impl Write, dtype: &str) -> Result<()> {
        let size = self
            .size()
            .map_or("size unknown".into(), |(width, height)| {
                format!("{width}x{height} pixels")
            });
        writeln!(out, "{} in {}: {size}", self.key, self.store.display())?;
        if !self.source.is_empty() {
            writeln!(out, "source: {}", self.source)?;
        }
        writeln!(
            out,
            "\n{} regions of {} values ({dtype})",
            self.num_regions, self.feature_dim
        )?;
        let mut rows = vec![cells("# x1 y1 x2 y2 norm mean")];
        for (at, region) in self.regions.iter().enumerate() {
            // In pixels, or relative to an image of unknown size.
            let corners = match &region.box_px {
                Some(corners) => corners.map(|v| format!("{v:.1}")),
                None => in_pixels(&region.relative, (1.0, 1.0)).map(|v| format!("{v:.4}")),
            };
            let mut row = vec![at.to_string()];
            row.extend(corners);
            row.push(format!("{:.3}", region.norm));
            row.push(format!("{:.4}", region.mean));
            rows.push(row);
        }
        print_first(out, &rows, self.num_regions)?;
        writeln!(out, "\n{} object tags", self.num_tags)?;
        let mut rows = vec![cells("# class score x1 y1 x2 y2 attributes")];
        for (at, tag) in self.tags.iter().enumerate() {
            let mut row = vec![at.to_string(), tag.class.clone()];
            row.push(format!("{:.3}", tag.score));
            row.extend(match &tag.box_px {
                Some(corners) => corners.map(|v| format!("{v:.1}")),
                None => [UNKNOWN; 4].map(String::from),
            });
            row.push(tag.attributes.join(", "));
            rows.push(row);
        }
        print_first(out, &rows, self.num_tags)
    }
}

/// Prints a table, and how many of `all` rows are not in it.
fn print_first(out: &mut impl Write, rows: &[Vec<String>], all: usize) -> Result<()> {
    let shown = rows.len() - 1;
    if shown > 0 {
        print_table(out, rows)?;
    }
    if all > shown {
        writeln!(out, "… and {} more", all - shown)?;
    }
    Ok(())
}

/// A relative box in pixels of an image of this size.
fn in_pixels(relative: &[f32; 6], (width, height): (f32, f32)) -> [f32; 4] {
    let [x1, y1, x2, y2, ..] = *relative;
    [x1 * width, y1 * height, x2 * width, y2 * height]
}

/// Draws the boxes on the picture and writes it.
fn write_drawing(out: &Path, shown: &Shown<'_>, args: &InspectArgs) -> Result<Drawn> {
    if out.exists() {
        let pictures = args.images.as_ref().or(shown.pictures.as_ref());
        let files = pictures.and_then(|path| Pictures::open(path).ok());
        let files = files.map_or(Vec::new(), |pictures| pictures.files());
        output::refuse_input("--out", out, args.image.iter().chain(&files))?;
    }
    output::check_out("--out", out, args.overwrite)?;
    let picture = picture(shown, args)?;
    let origin = picture.as_ref().map(|picture| picture.origin.clone());
    let canvas = match picture {
        Some(picture) => picture.image,
        None => {
            let (width, height) = shown.size().unwrap_or(CANVAS);
            plain(width, height)
        }
    };
    let (width, height) = canvas.dimensions();
    let drawn_on = (width as f32, height as f32);
    let regions = shown.regions.iter();
    let boxes: Vec<[f32; 4]> = regions.map(|r| in_pixels(&r.relative, drawn_on)).collect();
    let mut tags = shown.tags.clone();
    if let Some(size) = shown.size() {
        if size != (width, height) {
            tracing::warn!(
                "the picture has {width}x{height} pixels, but the regions are of an image of {}x{}: \
                 their boxes are scaled",
                size.0,
                size.1
            );
        }
        let (x, y) = (drawn_on.0 / size.0 as f32, drawn_on.1 / size.1 as f32);
        for b in tags.iter_mut().filter_map(|tag| tag.box_px.as_mut()) {
            *b = [b[0] * x, b[1] * y, b[2] * x, b[3] * y];
        }
    }
    let drawing = draw(&canvas, &marks(&boxes, &tags));
    write_png(&drawing.image, out)?;
    tracing::info!("wrote {}", out.display());
    Ok(Drawn {
        file: out.to_path_buf(),
        picture: origin,
        scale: drawing.scale,
    })
}

/// The picture that was named or is found, if there is one.
fn picture(shown: &Shown<'_>, args: &InspectArgs) -> Result<Option<Picture>> {
    if let Some(path) = &args.image {
        return Ok(Some(crop_to_key(read_picture(path)?, shown.key)));
    }
    if let Some(path) = &args.images {
        return match Pictures::open(path)?.find(shown.key)? {
            Some(picture) => Ok(Some(picture)),
            None => bail!(
                "{} has no picture of image `{}`; name the picture itself with --image",
                path.display(),
                shown.key
            ),
        };
    }
    let found = match &shown.pictures {
        Some(path) => Pictures::open(path)?.find(shown.key)?,
        None => None,
    };
    if found.is_none() {
        tracing::warn!(
            "found no picture of `{}`, so its boxes are drawn on a plain canvas; name the picture \
             with --image, or the location of pictures with --images",
            shown.key
        );
    }
    Ok(found)
}
