//! Sets of the caption evaluation: tokens, BLEU, ROUGE-L, CIDEr, CIDEr-D and rewards.

use std::collections::BTreeMap;
use std::path::Path;

use oscar_caption_metrics::{
    Candidates, Captions, CiderD, DocumentFrequencies, References, Scores, Unmatched, ptb, score,
    scst_text,
};
use oscar_captioning::scst;
use oscar_core::ops::TrainBackend;
use serde_json::Value;

use crate::check::{Checks, Report};
use crate::host::HostTensor;
use crate::set::{Set, read_json};

/// The file by which such a set is known.
pub const FILE: &str = "captions.json";

/// Relative difference of two sums of the same numbers in another order.
const EXACT: f64 = 1e-12;

/// The same for numbers that were rounded to f32.
const SINGLE: f64 = 2.0 * f32::EPSILON as f64;

/// Compares everything of the set but METEOR, which its jar computes, and the CIDEr of 2015 without
/// clipping, which no evaluation prints.
pub fn check<B: TrainBackend>(set: &Set, device: &B::Device) -> Result<Report, String> {
    let read = |name: &str| read_json(&set.dir.join(name));
    let images = read(FILE)?;
    let mut checks = Checks::default();
    tokens(&images, &read("ptb.json")?, &mut checks)?;
    let captions = captions(&images)?;
    scores(&captions, &read("scores.json")?, &mut checks)?;
    cider_d(set, &captions, &read("ciderd.json")?, &mut checks)?;
    frequencies(set, &captions, &mut checks)?;
    rewards::<B>(set, &read("scst.json")?, device, &mut checks)?;
    Ok(checks.finish())
}

/// What the tokeniser makes of each sentence, before and after punctuation is removed.
fn tokens(images: &Value, expected: &Value, checks: &mut Checks) -> Result<(), String> {
    let pairs = list(&images["images"])?
        .iter()
        .zip(list(&expected["images"])?);
    for (image, expected) in pairs {
        let id = &image["id"];
        let mut sentences = texts(&image["refs"])?;
        sentences.push(text(&image["cand"])?);
        let with = |list: &str, last: &str| -> Result<Vec<&str>, String> {
            let mut all = texts(&expected[list])?;
            all.push(text(&expected[last])?);
            Ok(all)
        };
        let filtered: Vec<String> = sentences.iter().map(|text| ptb::caption(text)).collect();
        checks.exact(
            &format!("words of {id}"),
            &filtered,
            &owned(with("refs", "cand")?),
        );
        let raw = sentences
            .iter()
            .map(|text| without_stop(&ptb::tokenize(text)));
        let wanted = with("refs_raw", "cand_raw")?;
        let wanted = wanted.into_iter().map(without_stop);
        checks.exact(
            &format!("tokens of {id}"),
            &raw.collect::<Vec<_>>(),
            &wanted.collect(),
        );
    }
    for case in list(&expected["extra"])? {
        let sentence = text(&case["text"])?;
        // The last line of that file had no line after it, which a face at its end shows.
        if sentence.ends_with(":(") {
            continue;
        }
        let got = (
            ptb::caption(sentence),
            without_stop(&ptb::tokenize(sentence)),
        );
        let wanted = (
            text(&case["tokens"])?.to_owned(),
            without_stop(text(&case["raw"])?),
        );
        checks.exact(&format!("tokens of {sentence:?}"), &got, &wanted);
    }
    Ok(())
}

/// Whether an abbreviation's full stop at the end counts twice depends on the next line of the
/// evaluation's file.
fn without_stop(tokens: &str) -> String {
    tokens
        .strip_suffix(". .")
        .map_or(tokens.to_owned(), |start| format!("{start}."))
}

fn captions(images: &Value) -> Result<Captions, String> {
    let (mut candidates, mut references) = (Vec::new(), Vec::new());
    for image in list(&images["images"])? {
        let id = image["id"].to_string();
        candidates.push((id.clone(), text(&image["cand"])?.to_owned()));
        for reference in texts(&image["refs"])? {
            references.push((id.clone(), reference.to_owned()));
        }
    }
    let (candidates, references) = (Candidates::of(candidates)?, References::of(references)?);
    Captions::join(candidates, references, Unmatched::Refuse).map_err(|error| error.to_string())
}

fn scores(captions: &Captions, expected: &Value, checks: &mut Checks) -> Result<(), String> {
    let Scores {
        bleu,
        rouge_l,
        cider,
        images,
        ..
    } = score(&captions.tokenized());
    let names = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"];
    let mut compare = |what: &str, bleu: [f64; 4], rouge_l, cider, expected: &Value| {
        for (name, got) in names
            .iter()
            .zip([bleu[0], bleu[1], bleu[2], bleu[3], rouge_l, cider])
        {
            let wanted = number(&expected[*name])?;
            checks.close(&format!("{name} {what}"), got, wanted, EXACT);
        }
        Ok::<_, String>(())
    };
    compare("of all", bleu, rouge_l, cider, &expected["corpus"])?;
    for image in &images {
        let expected = &expected["per_image"][&image.id];
        let what = format!("of {}", image.id);
        compare(&what, image.bleu, image.rouge_l, image.cider, expected)?;
    }
    Ok(())
}

fn cider_d(
    set: &Set,
    captions: &Captions,
    expected: &Value,
    checks: &mut Checks,
) -> Result<(), String> {
    // The set's own were made of lower-case sentences.
    let form = |text: &String| scst_text(&text.to_lowercase());
    let candidates: Vec<String> = captions.candidates().iter().map(form).collect();
    let references: Vec<Vec<String>> = captions
        .references()
        .iter()
        .map(|texts| texts.iter().map(form).collect())
        .collect();
    let given = read_frequencies(&set.dir.join("df-toy.p"))?;
    let words = captions.tokenized();
    let runs = [
        (
            "ciderD_corpus_df_on_ptb_tokens",
            CiderD::new(
                DocumentFrequencies::of(words.references()),
                words.references(),
            )
            .score(words.candidates()),
        ),
        (
            "ciderD_corpus_df_on_wrapped",
            CiderD::new(DocumentFrequencies::of(&references), &references).score(&candidates),
        ),
        (
            "ciderD_pickle_df_on_wrapped",
            CiderD::new(given, &references).score(&candidates),
        ),
    ];
    for (name, got) in runs {
        let expected = &expected[name];
        let mean = got.iter().sum::<f64>() / got.len().max(1) as f64;
        checks.close(name, mean, number(&expected["corpus"])?, EXACT);
        for (id, got) in captions.ids().iter().zip(got) {
            let wanted = number(&expected["per_image"][id])?;
            checks.close(&format!("{name} of {id}"), got, wanted, EXACT);
        }
    }
    Ok(())
}

/// The forms of the same file of frequencies give the same scores.
fn frequencies(set: &Set, captions: &Captions, checks: &mut Checks) -> Result<(), String> {
    let score = |name: &str| -> Result<Vec<f64>, String> {
        let frequencies = read_frequencies(&set.dir.join(name))?;
        captions
            .cider_d(frequencies)
            .map_err(|error| error.to_string())
    };
    let wanted = score("df-toy.json")?;
    for name in ["df-toy.p", "df-toy-py2.p"] {
        for (image, (got, wanted)) in score(name)?.into_iter().zip(&wanted).enumerate() {
            let what = format!("CIDEr-D with {name} of caption {image}");
            checks.close(&what, got, *wanted, EXACT);
        }
    }
    Ok(())
}

/// Rewards of sampled captions against a baseline: their mean, the loss of training by them, and its
/// gradients.
fn rewards<B: TrainBackend>(
    set: &Set,
    expected: &Value,
    device: &B::Device,
    checks: &mut Checks,
) -> Result<(), String> {
    let form = |texts: Vec<&str>| -> Vec<String> { texts.into_iter().map(scst_text).collect() };
    let images = list(&expected["gt"])?.iter().map(texts);
    let references: Vec<Vec<String>> = images.map(|r| r.map(form)).collect::<Result<_, _>>()?;
    let greedy = form(texts(&expected["greedy"])?);
    let samples = form(texts(&expected["sample"])?);
    let each = samples.len() / references.len().max(1);
    let owner = |sample: usize| sample / each;
    let log_probs = list(&expected["sample_logprobs"])?.iter().map(number);
    let log_probs = HostTensor {
        shape: vec![samples.len()],
        data: log_probs.collect::<Result<_, _>>()?,
    };
    let log_probs = log_probs
        .floats::<B, 1>([samples.len()], device)
        .require_grad();
    let mut runs = BTreeMap::new();
    for name in [
        "corpus/greedy",
        "corpus/sample",
        "df-toy.p/greedy",
        "df-toy.p/sample",
    ] {
        let (source, baseline) = name.split_once('/').unwrap_or_default();
        let frequencies = match source {
            // The official code counts an image once for each of its captions in the batch.
            "corpus" => {
                let mut batch: Vec<&[String]> = Vec::new();
                batch.extend((0..samples.len()).map(|sample| &*references[owner(sample)]));
                if baseline == "greedy" {
                    batch.extend(references.iter().map(Vec::as_slice));
                }
                DocumentFrequencies::of(&batch)
            }
            file => read_frequencies(&set.dir.join(file))?,
        };
        let scorer = CiderD::new(frequencies, &references);
        let numbered: Vec<(usize, &String)> = samples
            .iter()
            .enumerate()
            .map(|(n, text)| (owner(n), text))
            .collect();
        let rewards = scorer.score_each(&numbered);
        let baselines: Vec<f64> = match baseline {
            "greedy" => scst::greedy_baseline(&scorer.score(&greedy), each),
            _ => scst::sample_baseline(&rewards, each),
        };
        runs.insert(name, (rewards, baselines));
    }
    for (name, (rewards, baselines)) in runs {
        let expected = &expected["runs"][name];
        let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
        checks.close(
            &format!("mean reward {name}"),
            mean,
            number(&expected["mean_reward"])?,
            EXACT,
        );
        let loss = scst::loss(log_probs.clone(), &rewards, &baselines);
        let found = HostTensor::read(loss.clone()).data[0];
        let largest = rewards
            .iter()
            .chain(&baselines)
            .fold(0.0f64, |a, b| a.max(*b));
        let wanted = number(&expected["loss"])?;
        checks.within(
            &format!("loss {name}"),
            found,
            wanted,
            8.0 * SINGLE * largest,
        );
        let grads = log_probs.grad(&loss.backward()).ok_or("no gradient")?;
        let grads = HostTensor::read(grads).data;
        let gradients = list(&expected["grad_sample_logprobs"])?;
        for (sample, (got, gradient)) in grads.iter().zip(gradients).enumerate() {
            let scale = rewards[sample].max(baselines[sample]) / rewards.len() as f64;
            let name = format!("gradient of sample {sample} {name}");
            checks.within(&name, *got, number(gradient)?, SINGLE * scale.max(1e-3));
        }
    }
    Ok(())
}

fn read_frequencies(path: &Path) -> Result<DocumentFrequencies, String> {
    DocumentFrequencies::read(path).map_err(|error| error.to_string())
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("{value} is no list"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is no text"))
}

fn texts(value: &Value) -> Result<Vec<&str>, String> {
    list(value)?.iter().map(text).collect()
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

fn number(value: &Value) -> Result<f64, String> {
    value
        .as_f64()
        .ok_or_else(|| format!("{value} is no number"))
}
