//! Captions with masked words as a pre-trained model sees them beside their images.

use std::path::Path;

use oscar_core::input::{ExampleSeed, InputError, ProbeTargets};
use oscar_core::model::OscarForPretraining;
use oscar_core::ops::OscarBackend;
use oscar_task::Answer;
use oscar_task::explain::{Choice, Exhibit, Explanation, Token, inspect, probabilities};

use crate::config::{PretrainConfig, PretrainError};
use crate::held_out::{HeldOut, load};

/// Captions of the held-out corpus of `config` with words masked, and what the weights in
/// `directory` guess; the words are those that grounding is measured on.
///
/// # Errors
///
/// If the weights or the corpus cannot be read, or a row cannot be encoded.
pub fn exhibit<B: OscarBackend>(
    config: &PretrainConfig,
    directory: &Path,
    choice: &Choice,
    device: &B::Device,
) -> Result<Vec<Exhibit>, PretrainError> {
    let held_out = HeldOut::open(config, directory)?;
    let viewer = Viewer {
        model: load::<B>(&held_out.model, directory, device)?,
        targets: config.grounding.targets(held_out.encoder.tokenizer())?,
        seed: ExampleSeed {
            seed: config.train.seed,
            epoch: 0,
        },
        top: choice.top,
        held_out,
        device,
    };
    let rows = choice.rows(viewer.held_out.corpus.len());
    Ok(rows
        .map(|(row, attention)| viewer.view(row, attention))
        .collect::<Result<_, InputError>>()?)
}

struct Viewer<'a, B: OscarBackend> {
    model: OscarForPretraining<B>,
    held_out: HeldOut,
    targets: ProbeTargets,
    seed: ExampleSeed,
    top: usize,
    device: &'a B::Device,
}

impl<B: OscarBackend> Viewer<'_, B> {
    fn view(&self, row: usize, attention: bool) -> Result<Exhibit, InputError> {
        let HeldOut {
            corpus, encoder, ..
        } = &self.held_out;
        let of_row = |source| InputError::Row { row, source };
        let example = corpus.get(row).map_err(of_row)?;
        let mut rng = self.seed.rng(row);
        let pair = encoder.encode_probe(&example, &self.targets, &mut rng, None)?;
        let batch = encoder.batch::<B>(std::slice::from_ref(&pair), self.device)?;
        let seen = (std::slice::from_ref(&pair.sequence), &**encoder.tokenizer());
        let model = &self.model;
        let inspected = inspect(model.backbone(), batch.input, seen, attention);
        let (encoded, mut sequences) = inspected.map_err(of_row)?;

        let guesses = probabilities(model.predict_tokens(&encoded, batch.masked.positions));
        // Masked words stand in order; what follows the last is padding.
        for (token, probabilities) in pair.masked.iter().zip(&guesses) {
            let name = |id| {
                encoder
                    .tokenizer()
                    .token(id)
                    .unwrap_or_default()
                    .to_string()
            };
            let best = self.best(probabilities, |id| name(id as u32));
            if let Some(sequence) = sequences.first_mut() {
                let shown: &mut Token = &mut sequence.tokens[token.position as usize];
                shown.masked = Some((name(token.label), best));
            }
        }
        let relation = probabilities(model.predict_relation(&encoded)).remove(0);
        let names: &[&str] = match relation.len() {
            2 => &["matched", "mismatched"],
            _ => &["matched", "mismatched tags", "mismatched caption"],
        };
        let answers = self.best(&relation, |class| names[class.min(2)].to_string());
        let answers = answers.into_iter();
        Ok(Exhibit {
            origin: pair.sequence.origin,
            truth: vec!["matched".into()],
            explanation: Explanation {
                answers: answers
                    .map(|(name, score)| Answer::new(name, score))
                    .collect(),
                sequences,
            },
        })
    }

    /// The likeliest, by name.
    fn best(&self, probabilities: &[f32], name: impl Fn(usize) -> String) -> Vec<(String, f32)> {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        order.truncate(self.top);
        let named = order.into_iter().map(|at| (name(at), probabilities[at]));
        named.collect()
    }
}
