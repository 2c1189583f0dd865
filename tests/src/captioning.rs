//! Sets of captioners: loss and gradients of masked words, and what they say of images.

use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::{Int, Tensor, backend::Backend};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::ModelConfig;
use oscar_core::decode::{
    Automaton, ConstrainedSearch, Decoder, GenerationConfig, Hypothesis, State, beam_search,
    constrained_search, greedy,
};
use oscar_core::input::{AttentionMask, MaskedTargets, OscarInput, SpecialIds};
use oscar_core::model::{Backbone, CaptionLoss, CaptionSteps, OscarForCaptioning};
use oscar_core::ops::{OscarBackend, TrainBackend};
use serde_json::Value;

use crate::backbone;
use crate::check::{Checks, Report};
use crate::decoders::{StaleSteps, UncachedSteps};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors, ints};
use crate::model::{self, Official};
use crate::set::Set;

/// A way to the words of captions.
#[derive(Clone, Copy, Debug)]
enum Way {
    Uncached,
    Cached,
    /// With the mistake of the official cache.
    Stale,
}

/// Both ways to the same words.
const WAYS: [Way; 2] = [Way::Uncached, Way::Cached];

/// Beams of a state with which constrained sets were made; their description does not say.
const CONSTRAINED_BEAMS: usize = 3;

/// A captioner with the loss it learns by.
#[derive(Module, Debug)]
pub struct Learner<B: Backend> {
    model: OscarForCaptioning<B>,
    label_smoothing: f64,
}

impl<B: Backend> Checkpointed<B> for Learner<B> {
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        self.model.aliases()
    }
}

impl<B: TrainBackend> Official<B> for Learner<B> {
    fn build(set: &Set, fault: Option<Fault>, device: &B::Device) -> Result<Self, String> {
        let config = set.config(fault)?;
        Ok(Self {
            model: OscarForCaptioning::new(&config, device),
            label_smoothing: option(&config, "label_smoothing"),
        })
    }

    fn loss(
        &self,
        batch: &Tensors,
        fault: Option<Fault>,
        device: &B::Device,
    ) -> Result<Tensor<B, 1>, String> {
        let (logits, targets) = masked(&self.model, batch, fault, device)?;
        let loss = CaptionLoss {
            label_smoothing: self.label_smoothing,
            drop_worst: 0.0,
        };
        Ok(loss.forward(logits, targets))
    }
}

/// A number that the official model configuration has.
fn option(config: &ModelConfig, key: &str) -> f64 {
    let value = config.extra.get(key).and_then(Value::as_f64);
    value.unwrap_or_default()
}

/// Logits at the masked positions, and the original tokens there.
fn masked<B: OscarBackend>(
    model: &OscarForCaptioning<B>,
    batch: &Tensors,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<(Tensor<B, 2>, MaskedTargets<B>), String> {
    let input = model::input::<B>(batch, "attention_mask", fault, device)?;
    let text = batch.get("input_ids")?.last();
    let seq = batch.get("attention_mask")?.last();
    let at = batch.get("masked_pos")?.data.iter().enumerate();
    let positions: Vec<i32> = at
        .filter(|(_, masked)| **masked > 0.0)
        .map(|(at, _)| (at / text * seq + at % text) as i32)
        .collect();
    let ids = batch.get("masked_ids")?.data.iter();
    let labels: Vec<i32> = ids.filter(|id| **id > 0.0).map(|id| *id as i32).collect();
    if labels.len() != positions.len() {
        return Err(format!(
            "{} masked ids for {} positions",
            labels.len(),
            positions.len()
        ));
    }
    let count = labels.len();
    let targets = MaskedTargets {
        positions: ints(positions, [count], device),
        labels: ints(labels, [count], device),
        weights: Tensor::ones([count], device),
        count,
    };
    Ok((model.forward(input, targets.positions.clone()), targets))
}

/// Loss, gradients, hidden states, and captions by every way of decoding.
pub fn check<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let config = set.config(fault)?;
    let inputs = set.inputs()?;
    let model = OscarForCaptioning::<B>::new(&config, device);
    let model = model::load::<B, _>(model, set, &mut checks)?;
    let train = inputs.under("train.");
    if !train.0.is_empty() {
        let bare = model::load::<B, _>(Backbone::new(&config, device), set, &mut checks)?;
        let input = model::input::<B>(&train, "attention_mask", fault, device)?;
        backbone::compare("", &input, &bare.forward(input.clone()), &mut checks);
        let (logits, targets) = masked(&model, &train, fault, device)?;
        checks.tensor("class_logits", &HostTensor::read(logits.clone()));
        let loss = CaptionLoss {
            label_smoothing: option(&config, "label_smoothing"),
            drop_worst: option(&config, "drop_worst_ratio"),
        };
        let loss = loss.forward(logits, targets);
        model::check_loss(&model, loss, &mut checks);
    }
    let generation = Generation::<B>::read(set, &model, &inputs, fault, device)?;
    for run in generation.runs()? {
        generation.check_run(&run, &mut checks)?;
    }
    generation.check_steps(&mut checks)?;
    generation.check_constrained(&inputs, &mut checks)?;
    Ok(checks.finish())
}

/// The last `count` columns, of which there may be none.
fn last<B: OscarBackend>(
    ids: Tensor<B, 2, Int>,
    count: usize,
    device: &B::Device,
) -> Tensor<B, 2, Int> {
    let [rows, columns] = ids.dims();
    match count {
        0 => ints(Vec::new(), [rows, 0], device),
        _ => ids.narrow(1, columns - count, count),
    }
}

/// A run of the official generator.
struct Run {
    name: String,
    config: GenerationConfig,
    /// With the official cache.
    cached: bool,
}

/// What captions are generated from.
struct Generation<'a, B: TrainBackend> {
    set: &'a Set,
    model: &'a OscarForCaptioning<B>,
    context: OscarInput<B>,
    special: SpecialIds,
    /// Places of a caption.
    places: usize,
}

impl<'a, B: TrainBackend> Generation<'a, B> {
    fn read(
        set: &'a Set,
        model: &'a OscarForCaptioning<B>,
        inputs: &Tensors,
        fault: Option<Fault>,
        device: &B::Device,
    ) -> Result<Self, String> {
        let count = |key: &str| {
            let value = &set.meta["gen"][key];
            let value = value.as_u64().or_else(|| value[0].as_u64());
            value.ok_or(format!("meta.json: no gen.{key}"))
        };
        let special = SpecialIds {
            pad: count("pad_token_id")? as u32,
            unk: 1,
            cls: count("bos_token_id")? as u32,
            sep: count("eos_token_ids")? as u32,
            mask: count("mask_token_id")? as u32,
        };
        let places = count("max_length")? as usize;
        let inputs = inputs.under("gen.");
        let input = model::input::<B>(&inputs, "attention_mask", fault, device)?;
        let [images, text] = input.input_ids.dims();
        let tags = text - places;
        let first = count("od_labels_start_posid")? as i32;
        let positions = (0..images).flat_map(|_| first..first + tags as i32);
        let AttentionMask::Full(mask) = input.attention_mask else {
            return Err("gen.attention_mask is no mask per query".into());
        };
        let [_, _, keys] = mask.dims();
        // What the first word may read besides itself: tags and regions that are no padding.
        let mask = mask
            .slice([0..images, 0..1, places..keys])
            .reshape([images, keys - places]);
        Ok(Self {
            set,
            model,
            context: OscarInput {
                input_ids: last(input.input_ids, tags, device),
                token_type_ids: last(input.token_type_ids, tags, device),
                position_ids: Some(ints(positions.collect(), [images, tags], device)),
                attention_mask: AttentionMask::Padding(mask),
                region_features: input.region_features,
                query_positions: None,
                packing: None,
            },
            special,
            places,
        })
    }

    fn decoder(&self, way: Way) -> Box<dyn Decoder<B> + '_> {
        let (context, mask) = (self.context.clone(), self.special.mask);
        match way {
            Way::Uncached => Box::new(UncachedSteps::new(self.model, context, mask)),
            Way::Cached => Box::new(CaptionSteps::new(self.model, context, mask)),
            Way::Stale => Box::new(StaleSteps::new(self.model, context, mask)),
        }
    }

    fn runs(&self) -> Result<Vec<Run>, String> {
        let runs = self.set.meta["gen_runs"].as_object();
        let expected = self.set.expected()?;
        runs.into_iter()
            .flatten()
            .filter(|(name, _)| expected.find(&format!("{name}.ids")).is_some())
            .map(|(name, options)| self.run(name, options))
            .collect()
    }

    fn run(&self, name: &str, options: &Value) -> Result<Run, String> {
        let mut run = Run {
            name: name.into(),
            config: GenerationConfig::greedy(self.places),
            cached: false,
        };
        for (key, value) in options.as_object().into_iter().flatten() {
            let number = value.as_f64().unwrap_or(f64::NAN);
            match key.as_str() {
                "num_beams" => run.config.num_beams = number as usize,
                "num_keep_best" => run.config.num_keep_best = number as usize,
                "length_penalty" => run.config.length_penalty = number,
                "repetition_penalty" => run.config.repetition_penalty = number,
                "cache" => run.cached = value.as_bool() == Some(true),
                _ => return Err(format!("meta.json: {name}.{key} is not understood")),
            }
        }
        Ok(run)
    }

    /// Every way of decoding gives the official captions; where the official cache mixes up beams,
    /// so does [`StaleSteps`].
    fn check_run(&self, run: &Run, checks: &mut Checks) -> Result<(), String> {
        let beams = run.config.num_beams > 1;
        let ways: &[Way] = match run.cached && beams {
            true => &[Way::Stale],
            false => &WAYS,
        };
        for way in ways {
            let mut decoder = self.decoder(*way);
            let captions = match beams {
                false => {
                    let captions = greedy(&mut *decoder, &run.config, self.special);
                    captions.into_iter().map(|caption| vec![caption]).collect()
                }
                true => beam_search(&mut *decoder, &run.config, self.special),
            };
            self.compare(&run.name, *way, &captions, checks)?;
        }
        Ok(())
    }

    fn compare(
        &self,
        name: &str,
        way: Way,
        captions: &[Vec<Hypothesis>],
        checks: &mut Checks,
    ) -> Result<(), String> {
        let ids: Vec<f64> = captions
            .iter()
            .flatten()
            .flat_map(|caption| self.padded(&caption.ids))
            .collect();
        let scores = captions.iter().flatten().map(|caption| caption.score);
        let scores = HostTensor {
            shape: vec![captions.len(), captions.first().map_or(0, Vec::len)],
            data: scores.collect(),
        };
        let wanted = checks.expected.get(&format!("{name}.ids"))?.data.clone();
        checks.exact_tensor_as(&format!("{name}.ids"), &format!("{way:?}"), &ids, &wanted);
        checks.tensor(&format!("{name}.logprobs"), &scores);
        Ok(())
    }

    /// `[CLS]`, the words, `[SEP]`, padding.
    fn padded(&self, words: &[u32]) -> Vec<f64> {
        let mut ids = vec![f64::from(self.special.cls)];
        ids.extend(words.iter().map(|id| f64::from(*id)));
        ids.push(f64::from(self.special.sep));
        ids.resize(self.places, f64::from(self.special.pad));
        ids
    }

    /// The logits of each step, after the words that were officially chosen.
    fn check_steps(&self, checks: &mut Checks) -> Result<(), String> {
        let Some(expected) = checks.expected.find("greedy.step_logits").cloned() else {
            return Ok(());
        };
        let ids = checks.expected.get("greedy.ids")?.clone();
        let images = ids.leading(1);
        for way in WAYS {
            let mut decoder = self.decoder(way);
            let mut logits = Vec::new();
            for step in 0..expected.leading(2) {
                let tokens = (0..images).map(|image| ids.data[image * self.places + step] as u32);
                let tokens: Vec<u32> = tokens.collect();
                logits.extend(HostTensor::read(decoder.next(&tokens)).data);
            }
            let found = HostTensor {
                shape: expected.shape.clone(),
                data: logits,
            };
            checks.tensor("greedy.step_logits", &found);
        }
        Ok(())
    }

    /// Constrained captions: of each image alone, and of all with the official mistake.
    fn check_constrained(&self, inputs: &Tensors, checks: &mut Checks) -> Result<(), String> {
        let Some(table) = inputs.find("fsm") else {
            return Ok(());
        };
        let constraints = inputs.get("num_constraints")?;
        let (states, vocab) = (table.shape[1], table.last());
        let each = states * states * vocab;
        let all: Vec<bool> = table.data.iter().map(|allowed| *allowed > 0.0).collect();
        let automata: Vec<Automaton> = all
            .chunks_exact(each)
            .zip(&constraints.data)
            .map(|(table, count)| automaton(table, states, vocab, *count as usize))
            .collect();
        for (name, first_of_batch) in [("single", false), ("batch4", true)] {
            for way in WAYS {
                let config = ConstrainedSearch {
                    max_length: self.places,
                    num_beams: CONSTRAINED_BEAMS,
                    first_of_batch,
                    ..ConstrainedSearch::default()
                };
                let mut decoder = self.decoder(way);
                let found = constrained_search(&mut *decoder, &automata, &config, self.special);
                let captions: Vec<Vec<Hypothesis>> = found
                    .into_iter()
                    .map(|(caption, _)| vec![caption])
                    .collect();
                let ids = captions.iter().flatten().flat_map(|caption| {
                    let mut ids: Vec<f64> = caption.ids.iter().map(|id| f64::from(*id)).collect();
                    ids.resize(self.places, f64::from(self.special.sep));
                    ids
                });
                let ids: Vec<f64> = ids.collect();
                let name_of = format!("{name}.ids");
                let wanted = checks.expected.get(&name_of)?.data.clone();
                checks.exact_tensor_as(&name_of, &format!("{way:?}"), &ids, &wanted);
                let scores = HostTensor {
                    shape: vec![captions.len(), 1],
                    data: captions
                        .iter()
                        .flatten()
                        .map(|caption| caption.score)
                        .collect(),
                };
                checks.tensor(&format!("{name}.logprobs"), &scores);
            }
        }
        Ok(())
    }
}

/// The automaton of a table `[states, states, vocab]` of which word may lead from where to where; its
/// first `2^constraints` states are the satisfied ones.
fn automaton(allowed: &[bool], states: usize, vocab: usize, constraints: usize) -> Automaton {
    let words = |from: usize, to: usize| -> BTreeSet<u32> {
        let row = &allowed[(from * states + to) * vocab..][..vocab];
        let found = row.iter().zip(0..).filter(|(allowed, _)| **allowed);
        found.map(|(_, word)| word).collect()
    };
    let state = |from: usize| {
        let ways: Vec<BTreeSet<u32>> = (0..states).map(|to| words(from, to)).collect();
        let free = (0..states).max_by_key(|to| ways[*to].len()).unwrap_or(from);
        let few = (0..states).filter(|to| *to != free);
        let held_back = (0..vocab as u32).filter(|word| !ways[free].contains(word));
        State {
            free,
            held_back: held_back.collect(),
            ways: few
                .flat_map(|to| ways[to].iter().map(move |word| (*word, to)))
                .collect(),
            satisfied: (from < 1 << constraints).then_some(from.count_ones() as usize),
        }
    };
    Automaton::from_states((0..states).map(state).collect(), constraints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_give_the_same_automaton() {
        let wanted = Automaton::new(&[vec![vec![3, 4]], vec![vec![1]]]);
        let (states, vocab) = (wanted.len(), 6);
        let mut table = vec![false; states * states * vocab];
        for from in 0..states {
            for word in 0..vocab {
                for to in wanted.next(from, word as u32) {
                    table[(from * states + to) * vocab + word] = true;
                }
            }
        }
        let found = automaton(&table, states, vocab, 2);
        for state in 0..states {
            for word in 0..vocab as u32 {
                let sorted = |automaton: &Automaton| -> BTreeSet<usize> {
                    automaton.next(state, word).into_iter().collect()
                };
                assert_eq!(sorted(&found), sorted(&wanted));
            }
            assert_eq!(found.state(state).satisfied, wanted.state(state).satisfied);
        }
    }
}
