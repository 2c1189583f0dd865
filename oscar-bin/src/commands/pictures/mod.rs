//! `oscar-bin caption`, `ask`, `match` and `find`: pictures in, answers out.

pub mod ask;
pub mod caption;
mod figure;
pub mod find;
mod kind;
mod listing;
pub mod matching;
mod output;
mod subject;
mod zero_shot;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_datasets::draw::write_png;
use oscar_datasets::import::{ExtractedImage, extract};
use oscar_task::{Ask, Opened, Predictor, Seen, is_described, task_name};
use oscar_vision::{Picture, RegionExtractor};
use rayon::prelude::*;

pub use self::kind::{Kind, OfSample};
use self::listing::Listed;
pub use self::output::of_match;
use self::output::{Answered, Document};
use crate::args::{DeviceArgs, Global};
use crate::config::sample;
use crate::detector;
use crate::ending::Ending;
use crate::hub;
use crate::logging;
use crate::output::{check_out, refuse_input};
use crate::tasks::{AnyTask, OnTaskAndBackend, dispatch_task};
use crate::weights::{self, PublishedArgs};

/// Pictures that are decoded and asked about at a time: a photograph takes up to 100 MB.
const AT_A_TIME: usize = 8;

/// What the commands have in common.
#[derive(Clone, Debug, Args)]
pub struct PictureArgs {
    /// Fine-tuned weights: the `best` or `last` directory of a run, the name of a run, a directory as
    /// it was published, or public weights by name (`oscar-bin model pull` lists them) or as
    /// hub:OWNER/NAME [default for scenes and drawings of the sample: the shipped ones; for captions of
    /// photographs: vinvl-captioning]
    #[arg(long, value_name = "DIR|NAME")]
    pub checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub published: PublishedArgs,
    /// Detector that finds the regions: its directory; `vinvl`, `frcnn` or a repository of the hub,
    /// which are downloaded; or `scene` or `drawing` for pictures of the sample [default: the one that
    /// the weights were trained with]
    #[arg(long, value_name = "DIR|NAME")]
    pub detector: Option<String>,
    /// Number of answers to each picture, the best first
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub top: u16,
    /// Draw boxes, object tags, and what the words attend to (one picture)
    #[arg(long, value_name = "OUT.png")]
    pub picture: Option<PathBuf>,
    /// Replace the file of --picture if it exists
    #[arg(long, requires = "picture")]
    pub overwrite: bool,
    /// Override a key of the task (task.KEY) or of its input (encoder.KEY, padding.KEY); may be
    /// repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the answers as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// A command with its pictures.
struct Request<'a> {
    kind: Kind,
    pictures: &'a [PathBuf],
    text: Option<&'a str>,
    /// Other texts, among which the text has a probability.
    against: &'a [String],
    /// Task of published weights.
    task: Option<&'a str>,
    args: &'a PictureArgs,
    global: &'a Global,
}

/// Answers about each picture; one that cannot be read is reported, and the others are answered.
fn run(request: &Request<'_>) -> Result<Ending> {
    let args = request.args;
    if matches!(request.kind, Kind::Match) && args.top > 1 {
        bail!("--top has no effect on a match, which has one answer; leave it out");
    }
    let listing = listing::list(request.pictures);
    for error in &listing.errors {
        report(request.global, error);
    }
    if listing.pictures.is_empty() {
        return Ok(Ending::Failed);
    }
    if args.picture.is_some() && listing.pictures.len() != 1 {
        bail!(
            "--picture draws one picture, but {} are given; name one of them",
            listing.pictures.len()
        );
    }
    if let Some(out) = &args.picture {
        let files = listing.pictures.iter().flat_map(Listed::files);
        refuse_input("--picture", out, files)?;
        check_out("--picture", out, args.overwrite)?;
    }
    if let Some(clip) = clip(request)? {
        return zero_shot::run(request, &clip, &listing);
    }
    if !request.against.is_empty() {
        bail!("--against is for the weights of a CLIP; name one with --checkpoint");
    }
    let Some(directory) = checkpoint(request, &listing.pictures)? else {
        return Ok(Ending::Failed);
    };
    let task = task_of(request, &directory)?;
    let answering = Answering {
        request,
        directory: &directory,
        pictures: &listing.pictures,
        several: listing.several,
        failed: listing.errors.len(),
    };
    dispatch_task(&task, &args.device, answering)
}

fn report(global: &Global, error: &str) {
    logging::print(global.log_format, &format!("error: {error}"));
}

/// The CLIP that is named for a match, if it is one: it compares pictures and texts by itself.
fn clip(request: &Request<'_>) -> Result<Option<PathBuf>> {
    match (&request.args.checkpoint, request.kind) {
        (Some(named), Kind::Match) => weights::clip(named),
        _ => Ok(None),
    }
}

/// The directory of weights that is named, else that of the shipped ones if the first picture is one
/// of the sample, else that of public weights for photographs. None if no picture can be read, of which
/// each has been reported: nobody knows then which weights are meant.
fn checkpoint(request: &Request<'_>, pictures: &[Listed]) -> Result<Option<PathBuf>> {
    let args = request.args;
    if let Some(named) = &args.checkpoint {
        return weights::locate(named).map(Some);
    }
    let of_sample = match &args.detector {
        Some(name) => OfSample::read_by(name),
        None => {
            let mut errors = Vec::new();
            let mut read = pictures.iter().map(Listed::read);
            let first = read.find_map(|picture| picture.map_err(|error| errors.push(error)).ok());
            let Some(first) = first else {
                for error in &errors {
                    report(request.global, &error.to_string());
                }
                return Ok(None);
            };
            OfSample::of(&first)
        }
    };
    let shipped = of_sample.and_then(|pictures| request.kind.shipped(pictures));
    let shipped = shipped.and_then(sample::shipped);
    if let Some(shipped) = shipped.filter(|path| path.is_dir()) {
        return Ok(Some(shipped));
    }
    match request.kind.known().filter(|_| of_sample.is_none()) {
        Some(name) => {
            let known = hub::known(name)?;
            tracing::info!("no weights are named; taking {name} ({})", known.purpose);
            weights::locate(Path::new(name)).map(Some)
        }
        None => bail!(
            "no weights are named: give those of the task {} with --checkpoint, a run's, published \
             ones or a repository of the hub; `oscar-bin finetune --task {}` trains small ones on the \
             pictures of the sample",
            request.kind.tasks().join(" or "),
            request.kind.trained(),
        ),
    }
}

/// The task of the weights in `directory`, which must do what is asked.
fn task_of(request: &Request<'_>, directory: &Path) -> Result<String> {
    let tasks = request.kind.tasks();
    let named = match is_described(directory) {
        true => task_name(directory)?,
        false => request.task.unwrap_or(tasks[0]).to_string(),
    };
    if !tasks.contains(&named.as_str()) {
        bail!(
            "{} has weights of the task {named}; this command takes those of {}",
            directory.display(),
            tasks.join(" or ")
        );
    }
    Ok(named)
}

struct Answering<'a> {
    request: &'a Request<'a>,
    directory: &'a Path,
    pictures: &'a [Listed],
    several: bool,
    /// Arguments that name no picture.
    failed: usize,
}

impl OnTaskAndBackend for Answering<'_> {
    type Output = Ending;

    fn run<T: AnyTask, B: TrainBackend>(self, device: B::Device) -> Result<Ending> {
        let args = self.request.args;
        let checkpoint = weights::open::<T>(self.directory, &args.published, &args.sets)?;
        let name = args.detector.as_deref();
        let detector = detector::open_for::<T, B::InnerBackend>(name, &checkpoint, &device)?;
        let opened = Opened::<T, B::InnerBackend>::load(checkpoint, &device)?;
        let mut document = Document {
            kind: self.request.kind,
            task: T::NAME,
            checkpoint: self.directory,
            detector: detector.identity().to_string(),
            text: self.request.text,
            several: self.several,
            json: args.json,
            pictures: Vec::new(),
        };
        let mut failed = self.failed;
        for pictures in self.pictures.chunks(AT_A_TIME) {
            for answered in self.answer(&opened, &*detector, pictures)? {
                if let Err(error) = &answered.result {
                    failed += 1;
                    report(self.request.global, error);
                }
                document.push(answered)?;
            }
        }
        document.finish()?;
        Ok(match failed {
            0 => Ending::Done,
            _ => Ending::Failed,
        })
    }
}

impl Answering<'_> {
    /// The answers about some pictures, in order.
    fn answer<T: AnyTask, B: oscar_core::ops::OscarBackend>(
        &self,
        opened: &Opened<T, B>,
        detector: &dyn RegionExtractor,
        pictures: &[Listed],
    ) -> Result<Vec<Answered>> {
        let read: Vec<_> = pictures.par_iter().map(Listed::read).collect();
        let decoded: Vec<Picture> = read.iter().flatten().cloned().collect();
        let mut found = extract(detector, &decoded).into_iter();
        let images: Vec<Result<Arc<ExtractedImage>, String>> = read
            .iter()
            .map(|read| match read {
                Err(error) => Err(error.to_string()),
                Ok(picture) => match found.next() {
                    Some(image) => image.map_err(|error| error.to_string()),
                    None => Err(format!("{}: the detector gave no answer", picture.origin)),
                },
            })
            .collect();
        let asks = images.iter().flatten().map(|image| self.ask(image));
        let asks: Vec<Ask> = asks.collect::<Result<_>>()?;
        let mut answers = match &self.request.args.picture {
            Some(out) if !asks.is_empty() => {
                let explanation = opened.explain(&asks[0])?;
                let image = images.iter().flatten().next();
                if let (Some(picture), Some(image)) = (decoded.first(), image) {
                    let drawn = match self.request.kind {
                        Kind::Find => {
                            let text = self.request.text.unwrap_or_default();
                            figure::draw_found(picture, text, &explanation.answers)
                        }
                        _ => figure::draw_answer(picture, image, &explanation),
                    };
                    write_png(&drawn, out)?;
                    tracing::info!("wrote {}", out.display());
                }
                vec![explanation.answers]
            }
            _ => opened.ask(&asks)?,
        }
        .into_iter();
        let answered = pictures
            .iter()
            .zip(images)
            .map(|(picture, image)| Answered {
                picture: picture.name.clone(),
                result: image.map(|image| (image, answers.next().unwrap_or_default())),
            });
        Ok(answered.collect())
    }

    fn ask(&self, image: &Arc<ExtractedImage>) -> Result<Ask> {
        Ok(Ask {
            text: self.request.text.map(String::from),
            images: vec![Seen::extracted(image)?],
            // Of a match every class is wanted.
            top: match self.request.kind {
                Kind::Match => usize::from(u16::MAX),
                _ => self.request.args.top.into(),
            },
        })
    }
}
