//! `oscar-bin data inspect`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use oscar_datasets::RegionStore;
use oscar_datasets::draw::{
    Picture, Pictures, draw, find_image, marks, plain, recorded_pictures, write_png,
};
use oscar_datasets::store::Tag;
use serde::Serialize;

/// Canvas for an image of unknown size without picture.
const UNKNOWN: (u32, u32) = (800, 600);

/// Prints an image's size, regions and object tags, and draws them on its picture.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin data inspect data/dev dev-1373-0.b2 --out box.png\n  \
    oscar-bin data inspect regions 124629 --images val2014.zip --out photo.png")]
pub struct InspectArgs {
    /// Region store, or data set with some in it
    #[arg(value_name = "STORE")]
    pub store: PathBuf,
    /// Key of the image
    pub key: String,
    /// Draw the boxes on the picture and write it there, as PNG
    #[arg(short, long, value_name = "FILE.png")]
    pub out: Option<PathBuf>,
    /// The picture [default: found where the data set says that pictures are]
    #[arg(long, value_name = "PICTURE", requires = "out")]
    pub image: Option<PathBuf>,
    /// Where pictures are: a directory, a zip archive, or a table of key and base64
    #[arg(
        long,
        value_name = "DIR_OR_ZIP",
        requires = "out",
        conflicts_with = "image"
    )]
    pub images: Option<PathBuf>,
    /// Show at most N regions, and as many tags
    #[arg(long, value_name = "N")]
    pub max_regions: Option<usize>,
    /// Print what is known of the image as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// What a store knows of an image.
struct Shown<'a> {
    store: &'a RegionStore,
    key: &'a str,
    size: (u32, u32),
    regions: Vec<Region>,
    tags: Vec<Tag>,
    /// How many regions and tags there are, shown or not.
    all: (usize, usize),
}

/// What is shown of a region.
#[derive(Serialize)]
struct Region {
    /// x1, y1, x2, y2 in pixels, in an image of known size.
    #[serde(rename = "box")]
    box_px: Option<[f32; 4]>,
    /// x1/W, y1/H, x2/W, y2/H, w/W, h/H.
    relative: [f32; 6],
    /// Of the features.
    norm: f32,
    /// Of the features.
    mean: f32,
}

/// Shows the image.
pub fn run(args: &InspectArgs) -> Result<()> {
    let (store, row) = find_image(&args.store, &args.key)?;
    let limit = args.max_regions.unwrap_or(usize::MAX);
    let shown = Shown::read(&store, row, limit)?;
    let drawn = match &args.out {
        Some(out) => Some(write_drawing(out, &shown, args)?),
        None => None,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.json {
        true => {
            // Not by way of a value, which would print 0.1 as a double prints it.
            let document = serde_json::to_string_pretty(&shown.document(drawn))?;
            writeln!(out, "{document}")?;
        }
        false => shown.print(&mut out)?,
    }
    out.flush()?;
    Ok(())
}

impl<'a> Shown<'a> {
    fn read(store: &'a RegionStore, row: usize, limit: usize) -> Result<Self> {
        let (count, dim) = (store.num_regions(row), store.region_dim());
        let (width, height) = store.size(row);
        let mut tags = store.tags(row)?;
        let all = (count, tags.len());
        tags.truncate(limit);
        let mut values = vec![0.0; count.min(limit) * dim];
        store.copy_regions(row, &mut values);
        let regions = values.chunks_exact(dim).zip(store.boxes(row));
        let regions = regions.map(|(values, relative)| {
            // The last six are the box.
            let features = &values[..dim - 6];
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
            store,
            key: store.key(row),
            size: (width, height),
            regions: regions.collect(),
            tags,
            all,
        })
    }

    fn knows_size(&self) -> bool {
        self.size.0 > 0 && self.size.1 > 0
    }

    fn print(&self, out: &mut impl Write) -> Result<()> {
        let size = match self.size {
            (0, _) | (_, 0) => "size unknown".into(),
            (width, height) => format!("{width}x{height} pixels"),
        };
        writeln!(
            out,
            "{} in {}: {size}",
            self.key,
            self.store.dir().display()
        )?;
        if !self.store.source().is_empty() {
            writeln!(out, "source: {}", self.store.source())?;
        }
        let (regions, tags) = self.all;
        let dtype = format!("{:?}", self.store.dtype());
        writeln!(
            out,
            "\n{regions} regions of {} values ({dtype})",
            self.store.feature_dim()
        )?;
        // Boxes in pixels, or in thousandths of an image of unknown size.
        let (width, height) = match self.knows_size() {
            true => (self.size.0 as f32, self.size.1 as f32),
            false => (1.0, 1.0),
        };
        let digits = if self.knows_size() { 1 } else { 4 };
        let corners = |b: &[f32]| -> String {
            let numbers = b.iter().map(|v| format!("{v:>9.digits$}"));
            numbers.collect()
        };
        if !self.regions.is_empty() {
            writeln!(
                out,
                "{:>4}{:>9}{:>9}{:>9}{:>9}{:>10}{:>10}",
                "#", "x1", "y1", "x2", "y2", "norm", "mean"
            )?;
        }
        for (at, region) in self.regions.iter().enumerate() {
            let b = in_pixels(&region.relative, (width, height));
            let (norm, mean) = (region.norm, region.mean);
            writeln!(out, "{at:>4}{}{norm:>10.3}{mean:>10.4}", corners(&b))?;
        }
        left_out(out, regions, self.regions.len())?;
        writeln!(out, "\n{tags} object tags")?;
        let longest = self.tags.iter().map(|tag| tag.class.chars().count()).max();
        let class_width = longest.unwrap_or(0).max(5);
        if !self.tags.is_empty() {
            writeln!(
                out,
                "{:>4}  {:class_width$}{:>7}{:>9}{:>9}{:>9}{:>9}  attributes",
                "#", "class", "score", "x1", "y1", "x2", "y2"
            )?;
        }
        for (at, tag) in self.tags.iter().enumerate() {
            let corners = match &tag.box_px {
                Some(b) => b.iter().map(|v| format!("{v:>9.1}")).collect(),
                None => format!("{:>9}{:>9}{:>9}{:>9}", "-", "-", "-", "-"),
            };
            let (class, score) = (&tag.class, tag.score);
            let attributes = tag.attributes.join(", ");
            let line = format!("{at:>4}  {class:class_width$}{score:>7.3}{corners}  {attributes}");
            writeln!(out, "{}", line.trim_end())?;
        }
        left_out(out, tags, self.tags.len())
    }

    fn document(&self, drawing: Option<Drawn>) -> Document<'_> {
        Document {
            key: self.key,
            store: self.store.dir(),
            source: self.store.source(),
            width: self.size.0,
            height: self.size.1,
            feature_dim: self.store.feature_dim(),
            num_regions: self.all.0,
            regions: &self.regions,
            num_tags: self.all.1,
            tags: &self.tags,
            drawing,
        }
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Document<'a> {
    key: &'a str,
    store: &'a Path,
    source: &'a str,
    width: u32,
    height: u32,
    feature_dim: usize,
    num_regions: usize,
    regions: &'a [Region],
    num_tags: usize,
    tags: &'a [Tag],
    #[serde(skip_serializing_if = "Option::is_none")]
    drawing: Option<Drawn>,
}

/// What was drawn.
#[derive(Serialize)]
struct Drawn {
    file: PathBuf,
    /// Where the picture was found; none on a plain canvas.
    picture: Option<String>,
    scale: u32,
}

/// A relative box in pixels of an image of this size.
fn in_pixels(relative: &[f32; 6], (width, height): (f32, f32)) -> [f32; 4] {
    let [x1, y1, x2, y2, ..] = *relative;
    [x1 * width, y1 * height, x2 * width, y2 * height]
}

fn left_out(out: &mut impl Write, all: usize, shown: usize) -> Result<()> {
    match all - shown {
        0 => Ok(()),
        more => Ok(writeln!(out, "   … and {more} more")?),
    }
}

/// Draws the boxes on the picture and writes it; returns what was drawn on and where it lies.
fn write_drawing(out: &Path, shown: &Shown<'_>, args: &InspectArgs) -> Result<Drawn> {
    let picture = picture(shown, args)?;
    let origin = picture.as_ref().map(|picture| picture.origin.clone());
    let canvas = match picture {
        Some(picture) => picture.image,
        None if shown.knows_size() => plain(shown.size.0, shown.size.1),
        None => plain(UNKNOWN.0, UNKNOWN.1),
    };
    let (width, height) = canvas.dimensions();
    if shown.knows_size() && shown.size != (width, height) {
        tracing::warn!(
            "the picture has {width}x{height} pixels, but the regions were found in an image of \
             {}x{}: their boxes are drawn to scale",
            shown.size.0,
            shown.size.1
        );
    }
    let drawn_on = (width as f32, height as f32);
    let regions = shown.regions.iter();
    let boxes: Vec<[f32; 4]> = regions.map(|r| in_pixels(&r.relative, drawn_on)).collect();
    let mut tags = shown.tags.clone();
    if shown.knows_size() {
        let (x, y) = (
            drawn_on.0 / shown.size.0 as f32,
            drawn_on.1 / shown.size.1 as f32,
        );
        for b in tags.iter_mut().filter_map(|tag| tag.box_px.as_mut()) {
            *b = [b[0] * x, b[1] * y, b[2] * x, b[3] * y];
        }
    }
    let drawing = draw(&canvas, &marks(&boxes, &tags));
    write_png(&drawing.image, out)?;
    tracing::info!("drawn: {}", out.display());
    Ok(Drawn {
        file: out.to_path_buf(),
        picture: origin,
        scale: drawing.scale,
    })
}

/// The picture that was named, or is found; none if a plain canvas has to do.
fn picture(shown: &Shown<'_>, args: &InspectArgs) -> Result<Option<Picture>> {
    if let Some(path) = &args.image {
        return Ok(Some(Picture::read(path)?.part_of(shown.key)));
    }
    if let Some(path) = &args.images {
        return match Pictures::open(path)?.find(shown.key)? {
            Some(picture) => Ok(Some(picture)),
            None => bail!(
                "{} holds no picture of image `{}`; name the picture itself by --image",
                path.display(),
                shown.key
            ),
        };
    }
    let found = match recorded_pictures(shown.store.dir()) {
        Some(path) => Pictures::open(&path)?.find(shown.key)?,
        None => None,
    };
    if found.is_none() {
        tracing::warn!(
            "no picture of `{}` is at hand: its boxes are drawn on a plain canvas; name the \
             picture by --image, or where pictures are by --images",
            shown.key
        );
    }
    Ok(found)
}
