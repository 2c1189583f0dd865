//! `oscar-bin match` with a CLIP, which was trained for no task.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use oscar_core::ops::TrainBackend;
use oscar_vision::clip::{ClipMatcher, ClipOptions};
use oscar_vision::{Picture, RegionExtractor};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::listing::{Listed, Listing};
use super::{AT_A_TIME, Request, report};
use crate::backend::{OnBackend, dispatch};
use crate::ending::Ending;
use crate::output::{self, print_json};

/// The pictures, and the texts that they are compared with; the first is the one that is asked about.
struct ZeroShot<'a> {
    request: &'a Request<'a>,
    clip: &'a Path,
    listing: &'a Listing,
    texts: Vec<&'a str>,
}

/// Prints the cosine of each picture and the text, or, with other texts beside it, its probability among
/// them.
///
/// # Errors
/// If the CLIP cannot be opened, a text is too long, or a flag is for other weights.
pub fn run(request: &Request<'_>, clip: &Path, listing: &Listing) -> Result<Ending> {
    let args = request.args;
    let unused = [
        ("--detector", args.detector.is_some()),
        ("--picture", args.picture.is_some()),
        ("--set", !args.sets.is_empty()),
        ("--config", args.published.config.is_some()),
        ("--answers", args.published.answers.is_some()),
    ];
    if let Some((flag, _)) = unused.iter().find(|(_, given)| *given) {
        bail!(
            "{} is a CLIP, which reads pictures itself and has no task; leave out {flag}",
            clip.display()
        );
    }
    let texts = request.text.into_iter();
    let texts = texts.chain(request.against.iter().map(String::as_str));
    dispatch(
        &args.device,
        ZeroShot {
            request,
            clip,
            listing,
            texts: texts.collect(),
        },
    )
}

impl OnBackend for ZeroShot<'_> {
    type Output = Ending;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Ending> {
        let options = ClipOptions::default();
        let clip = ClipMatcher::<B::InnerBackend>::open(self.clip, options, &device)?;
        let texts = clip.embed_texts(&self.texts)?;
        let mut failed = self.listing.errors.len();
        let mut document = Vec::new();
        for pictures in self.listing.pictures.chunks(AT_A_TIME) {
            let read: Vec<_> = pictures.par_iter().map(Listed::read).collect();
            let decoded: Vec<Picture> = read.iter().flatten().cloned().collect();
            let cosines: Vec<f32> = match decoded.is_empty() {
                true => Vec::new(),
                false => {
                    let embeddings = clip.image().embed(&decoded);
                    let cosines = ClipMatcher::cosines(embeddings, texts.clone());
                    cosines.into_data().iter::<f32>().collect()
                }
            };
            let mut found = decoded.iter().zip(cosines.chunks_exact(self.texts.len()));
            for (listed, read) in pictures.iter().zip(read) {
                let scored = match read {
                    Ok(_) => found.next(),
                    Err(error) => {
                        failed += 1;
                        report(self.request.global, &error.to_string());
                        document.push(json!({"picture": listed.name, "error": error.to_string()}));
                        continue;
                    }
                };
                if let Some((picture, cosines)) = scored {
                    document.push(self.score(&clip, (listed, picture), cosines)?);
                }
            }
        }
        if self.request.args.json {
            print_json(&json!({
                "task": "clip",
                "checkpoint": output::shown(self.clip),
                "detector": clip.image().identity().to_string(),
                "text": self.request.text,
                "against": self.request.against,
                "pictures": document,
            }))?;
        }
        Ok(match failed {
            0 => Ending::Done,
            _ => Ending::Failed,
        })
    }
}

impl ZeroShot<'_> {
    /// Prints the score of a picture as a line, unless there will be a document, for which it is
    /// returned.
    fn score<B: oscar_core::ops::Kernels>(
        &self,
        clip: &ClipMatcher<B>,
        (listed, picture): (&Listed, &Picture),
        cosines: &[f32],
    ) -> Result<Value> {
        let score = match cosines {
            [only] => *only,
            several => clip.probabilities(several)[0],
        };
        if !self.request.args.json {
            let mut out = output::stdout();
            match self.listing.several {
                true => writeln!(out, "{}\t{score:.4}", output::escape_line(&listed.name))?,
                false => writeln!(out, "{score:.4}")?,
            }
            out.flush()?;
        }
        let (width, height) = picture.image.dimensions();
        Ok(json!({
            "picture": listed.name,
            "width": width,
            "height": height,
            "match": score,
            "cosine": cosines[0],
        }))
    }
}
