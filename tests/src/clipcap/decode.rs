//! From pictures to captions by every official way, cached and uncached.

use std::path::PathBuf;

use burn::tensor::{Int, Tensor, TensorData};
use oscar_clipcap::decode::{OfficialBeam, OfficialSearch, official_beam, official_greedy};
use oscar_clipcap::{ClipCap, Gpt2Steps, Gpt2Tokenizer};
use oscar_core::decode::{Decoder, top_k_top_p};
use oscar_core::ops::{self, OscarBackend, TrainBackend};
use serde_json::Value;

use super::{model, pictures};
use crate::check::{Checks, Report};
use crate::fault::Fault;
use crate::host::HostTensor;
use crate::set::{Set, read_json};

/// A GPT-2 that reads everything anew at each step: the reference for the one that does not.
struct Uncached<'a, B: OscarBackend> {
    model: &'a ClipCap<B>,
    /// `[images, length, width]`
    prefix: Tensor<B, 3>,
    rows: Vec<(usize, Vec<u32>)>,
    images: usize,
    started: bool,
}

impl<B: OscarBackend> Decoder<B> for Uncached<'_, B> {
    fn images(&self) -> usize {
        self.images
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn device(&self) -> B::Device {
        self.prefix.device()
    }

    fn next(&mut self, tokens: &[u32]) -> Tensor<B, 2> {
        if self.started {
            for ((_, row), token) in self.rows.iter_mut().zip(tokens) {
                row.push(*token);
            }
        }
        self.started = true;
        let device = self.prefix.device();
        let of = |values: Vec<i32>| {
            let shape = [values.len()];
            Tensor::<B, 1, Int>::from_data(TensorData::new(values, shape), &device)
        };
        let images = of(self.rows.iter().map(|(image, _)| *image as i32).collect());
        let mut vectors = self.prefix.clone().select(0, images);
        let (rows, words) = (self.rows.len(), self.rows[0].1.len());
        if words > 0 {
            let ids = self.rows.iter().flat_map(|(_, row)| row.iter());
            let ids = of(ids.map(|id| *id as i32).collect()).reshape([rows, words]);
            vectors = Tensor::cat(vec![vectors, self.model.gpt2().embed_words(ids)], 1);
        }
        let hidden = self.model.gpt2().forward(vectors);
        let [rows, seq, width] = hidden.dims();
        let last = hidden.narrow(1, seq - 1, 1).reshape([rows, width]);
        self.model.gpt2().logits(last)
    }

    fn select(&mut self, images: Option<&[usize]>, rows: &[usize]) {
        self.images = images.map_or(self.images, <[usize]>::len);
        self.rows = rows.iter().map(|row| self.rows[*row].clone()).collect();
    }
}

/// A run of the official code.
struct Run {
    /// Beams; 1 step at a time without.
    beams: Option<usize>,
    temperature: f64,
    max_tokens: usize,
    stop: u32,
}

impl Run {
    fn read(name: &str, meta: &Value, tokenizer: &Gpt2Tokenizer) -> Result<Self, String> {
        let (defaults, options) = (&meta["defaults"], &meta["runs"][name]);
        let option = |key: &str| match &options[key] {
            Value::Null => &defaults[key],
            value => value,
        };
        let number = |key: &str| option(key).as_f64().ok_or(format!("meta.json: no {key}"));
        let stop = option("stop_token").as_str().unwrap_or_default();
        Ok(Self {
            beams: match name.contains("beam") {
                true => Some(number("beam_size")? as usize),
                false => None,
            },
            temperature: number("temperature")?,
            max_tokens: number("entry_length")? as usize,
            stop: *tokenizer.encode(stop).first().ok_or("no stop token")?,
        })
    }

    /// The `random_*` runs say what they are in their names alone.
    fn of_random(name: &str, stop: u32) -> Self {
        let beams = name.split('_').find_map(|part| part.strip_prefix("beam"));
        let temperature = name.split('_').find_map(|part| part.strip_prefix('t'));
        Self {
            beams: beams.and_then(|beams| beams.parse().ok()),
            temperature: temperature.and_then(|t| t.parse().ok()).unwrap_or(1.0),
            max_tokens: 67,
            stop,
        }
    }
}

/// Everything from picture files to captions.
pub fn check<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let tokenizer = Gpt2Tokenizer::open(&set.dir).map_err(|error| error.to_string())?;
    let captions = read_json(&set.dir.join("captions.json"))?;
    let config = read_json(&set.dir.join("config.json"))?;

    let names = captions["images"].as_array().into_iter().flatten();
    let files = names.filter_map(|image| image["file"].as_str());
    let files: Vec<PathBuf> = files
        .map(|file| set.dir.join("images").join(file))
        .collect();
    let clip = config["clip"]["files"].as_str().unwrap_or_default();
    let clip = set.dir.join(clip);
    let clip = match clip.join("model.safetensors").is_file() {
        true => clip,
        false => clip.join("openai_jit.pt"),
    };
    let (pixels, embeddings) = pictures::embed::<B>(&files, &clip, device)?;
    checks.tensor("pixels", &HostTensor::read(pixels));
    checks.tensor("embedding", &HostTensor::read(embeddings.clone()));

    let model = ClipCap::<B>::new(&model::config(set, fault)?, device);
    let model = crate::model::load::<B, _>(model, set, &mut checks)?;
    let prefix = model.prefix(embeddings);
    checks.tensor("prefix_embeddings", &HostTensor::read(prefix.clone()));
    let texts = &captions["captions"];
    let runs = set.meta["runs"].as_object().into_iter().flatten();
    for (name, _) in runs {
        let run = Run::read(name, &set.meta, &tokenizer)?;
        compare(
            name,
            &run,
            (&model, &prefix),
            (&tokenizer, texts),
            &mut checks,
        )?;
    }
    nucleus(&model, prefix, &mut checks)?;
    random::<B>(set, fault, (&tokenizer, texts), &mut checks, device)?;
    Ok(checks.finish())
}

/// The runs of the untrained model of another set.
fn random<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    (tokenizer, texts): (&Gpt2Tokenizer, &Value),
    checks: &mut Checks,
    device: &B::Device,
) -> Result<(), String> {
    let names = checks.expected_under("random_");
    let runs = names.iter().filter_map(|name| name.strip_suffix(".ids"));
    let runs: Vec<String> = runs.map(|run| format!("random_{run}")).collect();
    if runs.is_empty() {
        return Ok(());
    }
    let other = Set::open(&set.dir.join("../clipcap_mlp"))?;
    let model = ClipCap::<B>::new(&model::config(&other, fault)?, device);
    let model = crate::model::load::<B, _>(model, &other, checks)?;
    let prefix = model.prefix(model::prefix(&other.inputs()?, device)?);
    let stop = set.meta["defaults"]["stop_token_id"].as_u64().unwrap_or(0) as u32;
    for name in runs {
        let run = Run::of_random(&name, stop);
        compare(&name, &run, (&model, &prefix), (tokenizer, texts), checks)?;
    }
    Ok(())
}

/// The captions of a run: with keys and values kept, and without.
fn compare<B: OscarBackend>(
    name: &str,
    run: &Run,
    (model, prefix): (&ClipCap<B>, &Tensor<B, 3>),
    (tokenizer, texts): (&Gpt2Tokenizer, &Value),
    checks: &mut Checks,
) -> Result<(), String> {
    for cached in [true, false] {
        let images = prefix.dims()[0];
        let mut decoder: Box<dyn Decoder<B> + '_> = match cached {
            true => Box::new(Gpt2Steps::new(model.gpt2(), prefix.clone())),
            false => Box::new(Uncached {
                model,
                prefix: prefix.clone(),
                rows: (0..images).map(|image| (image, Vec::new())).collect(),
                images,
                started: false,
            }),
        };
        let how = if cached { "" } else { "without a cache" };
        let expected = texts[name].as_array().cloned().unwrap_or_default();
        let text = |ids: &[u32]| Value::String(tokenizer.decode(ids));
        let found: Vec<Value> = match run.beams {
            None => {
                let found = official_greedy(&mut *decoder, run.max_tokens, run.stop);
                let ids = found.iter().map(|caption| vec![caption.ids.clone()]);
                compare_ids(name, how, &ids.collect::<Vec<_>>(), checks)?;
                found.iter().map(|caption| text(&caption.ids)).collect()
            }
            Some(beams) => {
                let search = OfficialSearch {
                    beams,
                    max_tokens: run.max_tokens,
                    temperature: run.temperature,
                    stop: run.stop,
                };
                let found = official_beam(&mut *decoder, &search);
                compare_beams(name, how, &found, checks)?;
                let beams = found.into_iter().map(|beams| {
                    let caption = |beam: OfficialBeam| text(&beam.tokens[..beam.length]);
                    Value::Array(beams.into_iter().map(caption).collect())
                });
                beams.collect()
            }
        };
        checks.exact(&format!("{name}: texts {how}"), &found, &expected);
    }
    Ok(())
}

/// Tokens of each beam of each image; -1 in the expected ones is behind the last step.
fn compare_ids(
    name: &str,
    how: &str,
    found: &[Vec<Vec<u32>>],
    checks: &mut Checks,
) -> Result<(), String> {
    let name = format!("{name}.ids");
    let expected = checks.expected.get(&name)?.clone();
    let rows = expected.data.chunks(expected.last());
    let rows: Vec<Vec<i64>> = rows
        .map(|row| row.iter().map(|id| *id as i64).collect())
        .collect();
    let got = found.iter().flatten().map(|tokens| {
        let mut ids: Vec<i64> = tokens.iter().map(|id| i64::from(*id)).collect();
        ids.resize(ids.len().max(expected.last()), -1);
        ids
    });
    checks.exact_tensor_as(&name, how, &got.collect::<Vec<_>>(), &rows);
    Ok(())
}

fn compare_beams(
    name: &str,
    how: &str,
    found: &[Vec<OfficialBeam>],
    checks: &mut Checks,
) -> Result<(), String> {
    let tokens = |beams: &Vec<OfficialBeam>| beams.iter().map(|b| b.tokens.clone()).collect();
    let ids: Vec<Vec<Vec<u32>>> = found.iter().map(tokens).collect();
    compare_ids(name, how, &ids, checks)?;
    let beams = || found.iter().flatten();
    let lengths: Vec<f64> = beams().map(|beam| beam.length as f64).collect();
    let key = format!("{name}.lengths");
    let expected = checks.expected.get(&key)?.data.clone();
    checks.exact_tensor_as(&key, how, &lengths, &expected);
    let key = format!("{name}.scores");
    let shape = checks.expected.get(&key)?.shape.clone();
    let data = beams().map(|beam| f64::from(beam.score)).collect();
    checks.tensor(&key, &HostTensor { shape, data });
    Ok(())
}

/// The logits of the first two positions, and what the official filter leaves of the second.
///
/// Its sums of probabilities are f32: with `top_p` 1 they exceed 1 somewhere in the tail, whose tokens
/// it drops. Here 1 keeps every token.
fn nucleus<B: OscarBackend>(
    model: &ClipCap<B>,
    prefix: Tensor<B, 3>,
    checks: &mut Checks,
) -> Result<(), String> {
    let mut steps = Gpt2Steps::new(model.gpt2(), prefix);
    let first = steps.next(&vec![0; steps.rows()]);
    checks.tensor("nucleus.logits", &HostTensor::read(first.clone()));
    let best = ops::top_k(first, 1);
    let best: Vec<u32> = best.rows().map(|row| row[0].0).collect();
    let second = HostTensor::read(steps.next(&best));
    checks.tensor("nucleus.logits.step2", &second);
    for name in checks.expected_under("nucleus.kept.step2.") {
        let options = name
            .strip_prefix('p')
            .and_then(|rest| rest.split_once(".t"));
        let (p, t) = options.ok_or(format!("{name} is not pP.tT"))?;
        let number = |text: &str| {
            text.parse::<f64>()
                .map_err(|_| format!("{name} is not pP.tT"))
        };
        let (p, t) = (number(p)?, number(t)?);
        let full = format!("nucleus.kept.step2.{name}");
        let expected = checks.expected.get(&full)?.data.clone();
        let columns = second.last();
        let mut kept = Vec::with_capacity(expected.len());
        for row in second.data.chunks(columns) {
            let mut logits: Vec<f32> = row.iter().map(|logit| (logit / t) as f32).collect();
            top_k_top_p(&mut logits, 0, p, 1);
            kept.extend(
                logits
                    .iter()
                    .map(|logit| f64::from(u8::from(logit.is_finite()))),
            );
        }
        match p >= 1.0 {
            // What it keeps is kept here.
            true => {
                let dropped = kept
                    .iter()
                    .zip(&expected)
                    .filter(|(own, all)| own < all)
                    .count();
                checks.exact_tensor(&full, &[dropped], &[0]);
            }
            false => checks.exact_tensor(&full, &kept, &expected),
        }
    }
    Ok(())
}
