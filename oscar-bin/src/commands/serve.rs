//! `oscar-bin serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::args::DeviceArgs;
use crate::commands::pictures::{Kind, OfSample};
use crate::config::sample;
use crate::ending::Ending;
use crate::serve::{self, ConnectionLimits, Limits, Models, Settings, Shelf, Wanted, Weights};
use crate::tasks::NAMES;
use crate::weights::PublishedArgs;

/// Answers over HTTP: captions, questions, matches; with a page for the browser.
///
/// Without any flag it describes and matches scenes of the shipped sample.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin serve\n  \
    oscar-bin serve --checkpoint vqa-scenes --checkpoint captioning-scenes\n  \
    oscar-bin serve --checkpoint vqa=published/vqa --answers answers.json --detector detector \\\n    \
        --regions regions --listen 0.0.0.0:8017 --token \"$TOKEN\"\n  \
    oscar-bin serve --checkpoint search-scenes --index photos.index --regions photos")]
pub struct ServeArgs {
    /// Fine-tuned weights: a directory of weights or the name of a run; TASK=DIR for published
    /// weights, which do not name their task; may be repeated [default: the shipped ones for scenes]
    #[arg(long, value_name = "[TASK=]DIR", value_parser = parse_weights)]
    checkpoint: Vec<Weights>,
    #[command(flatten)]
    published: PublishedArgs,
    /// Detector that finds the regions of pictures: its directory, `drawing` or `scene`; may be
    /// repeated: each model takes the first whose features it reads [default: the one that the
    /// weights were trained with]
    #[arg(long, value_name = "DIR|NAME")]
    detector: Vec<String>,
    /// Region store whose images can be asked about by key
    #[arg(long, alias = "store", value_name = "STORE")]
    regions: Option<PathBuf>,
    /// Index of the store that /v1/search finds images in; --checkpoint has to name the weights of
    /// search that made it
    #[arg(long, value_name = "FILE", requires = "regions")]
    index: Option<PathBuf>,
    /// Pictures to show and to ask about by name: a directory, a zip archive or a table [default:
    /// those that the store records; without a store those of the sample]
    #[arg(long, value_name = "DIR_OR_ZIP")]
    images: Option<PathBuf>,
    /// Override a key of the task (task.KEY) or of its input (encoder.KEY, padding.KEY) of all
    /// models; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Where the server listens and who may ask.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network options")]
struct NetworkArgs {
    /// Address and port to listen at; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8017")]
    listen: SocketAddr,
    /// Token that every request must carry (`Authorization: Bearer TOKEN`)
    #[arg(
        long, env = "OSCAR_TOKEN", hide_env_values = true, value_name = "TOKEN",
        value_parser = NonEmptyStringValueParser::new()
    )]
    token: Option<String>,
    /// Listen beyond this machine without a token
    #[arg(long, conflicts_with = "token")]
    insecure: bool,
    /// A name under which the server is reached (the Host of requests), beside those of this
    /// machine; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Origin of another page that may ask (CORS), such as https://app.example; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
}

/// What a request may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Most images that are computed together; 1 turns batching off
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive())]
    max_batch: u32,
    /// Most requests that wait; more get status 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive())]
    max_queue: u32,
    /// Seconds after which a request that is not answered gets status 503
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = positive())]
    timeout: u32,
    /// Largest body of a request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 20, value_parser = positive().range(1..=1024))]
    max_body: u32,
    /// Largest picture, in millions of pixels
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = positive().range(1..=1000))]
    max_pixels: u32,
    /// Longest text, in characters
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = positive())]
    max_text: u32,
    /// Most images of a request
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive())]
    max_images: u32,
    /// Most connections
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive().range(1..=100_000))]
    max_connections: u32,
    /// Seconds in which the header of a request, and then its body, must arrive; also how long a
    /// connection may be idle
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = positive())]
    client_timeout: u32,
}

fn positive() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn parse_weights(text: &str) -> Result<Weights, String> {
    // A directory may have an equals sign in its name.
    let split = text
        .split_once('=')
        .filter(|(task, _)| NAMES.contains(task));
    let (task, path) = match split {
        Some((task, path)) => (Some(task.to_string()), path),
        None => (None, text),
    };
    match path {
        "" => Err("name a directory of weights or a run".into()),
        path => Ok(Weights {
            task,
            path: path.into(),
        }),
    }
}

/// Serves until it is stopped.
///
/// # Errors
/// If weights, a detector, a store or pictures cannot be opened, or the address cannot be used.
pub fn run(args: &ServeArgs) -> Result<Ending> {
    let settings = settings(args)?;
    let weights = match args.checkpoint.is_empty() {
        false => args.checkpoint.clone(),
        true => shipped()?,
    };
    let mut shelf = Shelf::open(args.regions.as_deref(), args.images.as_deref())?;
    let wanted = Wanted {
        weights,
        published: &args.published,
        detectors: &args.detector,
        sets: &args.sets,
        device: &args.device,
        stored: shelf.region_dim().is_some(),
        index: args.index.as_deref(),
    };
    let models = Models::open(&wanted)?;
    if args.images.is_none() && args.regions.is_none() {
        shelf = Shelf::open(None, of_sample(&models).as_deref())?;
    }
    if let (Some(search), Some(images)) = (&models.search, shelf.stored_images()) {
        search.check_store(images)?;
    }
    if let Some(found) = shelf.region_dim() {
        for model in models.infos().filter(|model| model.region_dim != found) {
            tracing::warn!(
                "{} reads regions of {} values, but those of the store have {found}: it can be \
                 asked about pictures alone",
                model.name,
                model.region_dim
            );
        }
    }
    serve::run(models, shelf, &settings)?;
    Ok(Ending::Done)
}

/// The pictures of the sample that the detectors read.
fn of_sample(models: &Models) -> Option<PathBuf> {
    let mut detectors = models.detectors.all().iter();
    let read = detectors.find_map(|detector| OfSample::read_by(&detector.identity().name));
    let pictures = sample::shipped(read.unwrap_or(OfSample::Scene).pictures());
    pictures.filter(|path| path.is_dir())
}

/// Weights for scenes that are shipped with the sample.
fn shipped() -> Result<Vec<Weights>> {
    let named = Kind::ALL
        .iter()
        .filter_map(|kind| kind.shipped(OfSample::Scene));
    let found = named
        .filter_map(sample::shipped)
        .filter(|path| path.is_dir());
    let found: Vec<Weights> = found.map(|path| Weights { task: None, path }).collect();
    match found.is_empty() {
        false => Ok(found),
        true => bail!(
            "no weights are named, and the shipped ones (datasets/sample/scenes/weights) are not \
             found; give weights with --checkpoint, or run from the repository"
        ),
    }
}

fn settings(args: &ServeArgs) -> Result<Settings> {
    let NetworkArgs {
        listen: address,
        token,
        insecure,
        allow_host: hosts,
        allow_origin: origins,
    } = &args.network;
    if !address.ip().is_loopback() && token.is_none() {
        if !insecure {
            bail!(
                "{address} can be reached from other machines; set a token with --token or \
                 OSCAR_TOKEN, or allow everybody to ask with --insecure"
            );
        }
        tracing::warn!("everybody who reaches {address} can ask: there is no token");
    }
    if let Some(odd) = origins.iter().find(|origin| !is_origin(origin)) {
        bail!(
            "--allow-origin {odd}: an origin is a scheme and a host, such as https://app.example"
        );
    }
    let limits = &args.limits;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let client = seconds(limits.client_timeout);
    let count = |number: u32| usize::try_from(number).context("a limit is too large");
    Ok(Settings {
        address: *address,
        token: token.clone(),
        hosts: hosts.clone(),
        origins: origins.clone(),
        queue: count(limits.max_queue)?,
        max_batch: count(limits.max_batch)?,
        timeout: seconds(limits.timeout),
        limits: Limits {
            body: count(limits.max_body)? << 20,
            text: count(limits.max_text)?,
            images: count(limits.max_images)?,
            receive: client,
        },
        max_pixels: u64::from(limits.max_pixels) * 1_000_000,
        connections: ConnectionLimits {
            count: count(limits.max_connections)?,
            header: client,
            send: client,
        },
        precision: args.device.precision.unwrap_or_default(),
    })
}

fn is_origin(text: &str) -> bool {
    let rest = text.split_once("://").map(|(_, rest)| rest);
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
}
