//! Sets of ROSITA's pre-training: five losses on one batch.

use burn::tensor::Tensor;
use oscar_core::input::{AnswerTargets, MaskedTargets, OscarInput, PretrainBatch, RegionTargets};
use oscar_core::model::OscarForPretraining;
use oscar_core::ops::{self, OscarBackend, TrainBackend};

use crate::backbone;
use crate::check::{Checks, Report};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors, ints};
use crate::model;
use crate::set::{Set, read_json};

/// Weight of the transport in the loss of matching, where a set does not say.
const TRANSPORT: f64 = 0.1;

/// Whether a batch is one of ROSITA's pre-training.
pub fn is_batch(batch: &Tensors) -> bool {
    batch.find("imgfeat_feat_label").is_some()
}

/// Targets of one kind: flat positions among `width` of each row, and the weight of each.
fn targets(batch: &Tensors, valid: &str, weights: &str, outside: &str) -> Result<Weights, String> {
    let (valid, weights, outside) = (batch.get(valid)?, batch.get(weights)?, batch.get(outside)?);
    let width = weights.last();
    let all = weights.data.iter().zip(&outside.data).enumerate();
    let all = all.map(|(at, (weight, outside))| weight * outside * valid.data[at / width]);
    Ok(Weights {
        width,
        of_each: all.collect(),
    })
}

struct Weights {
    width: usize,
    of_each: Vec<f64>,
}

impl Weights {
    fn at(&self, places: &[usize]) -> HostTensor {
        HostTensor {
            shape: vec![places.len()],
            data: places.iter().map(|place| self.of_each[*place]).collect(),
        }
    }
}

/// A batch of a set as the model takes it. All positions are computed, as the transport needs them.
fn batch<B: OscarBackend>(
    batch: &Tensors,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<PretrainBatch<B>, String> {
    let input = model::input::<B>(batch, "attention_mask", fault, device)?;
    let ([rows, seq], [_, text]) = (input.dims(), input.input_ids.dims());
    let matched = batch.get("itm_label")?;
    // Our class 0 is "matched".
    let relation = matched.data.iter().map(|label| 1 - *label as i32).collect();
    let answers = match batch.find("qa_label") {
        None => None,
        Some(scores) => Some(AnswerTargets {
            scores: scores.floats([rows, scores.last()], device),
            weights: batch.get("qa_loss_valid")?.floats([rows], device),
        }),
    };
    Ok(PretrainBatch {
        input,
        masked: masked(batch, seq, device)?,
        relation: ints(relation, [rows], device),
        regions: Some(region_targets(batch, (text, seq), device)?),
        answers,
        num_examples: rows,
        num_tokens: rows * seq,
    })
}

fn masked<B: OscarBackend>(
    batch: &Tensors,
    seq: usize,
    device: &B::Device,
) -> Result<MaskedTargets<B>, String> {
    let weights = targets(
        batch,
        "text_mlm_loss_valid",
        "text_mlm_weight",
        "text_outside_weight",
    )?;
    let labels = batch.get("text_mlm_label_ids")?;
    let places = places(&weights.of_each);
    let positions = places
        .iter()
        .map(|place| place / weights.width * seq + place % weights.width);
    let len = places.len();
    Ok(MaskedTargets {
        positions: ints(positions.map(|at| at as i32).collect(), [len], device),
        labels: ints(
            places.iter().map(|at| labels.data[*at] as i32).collect(),
            [len],
            device,
        ),
        weights: weights.at(&places).floats([len], device),
        count: len,
    })
}

/// The places with a weight; the first one, without any, if there is none.
fn places(weights: &[f64]) -> Vec<usize> {
    let found: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0.0).collect();
    match found.is_empty() {
        true => vec![0],
        false => found,
    }
}

fn region_targets<B: OscarBackend>(
    batch: &Tensors,
    (text, seq): (usize, usize),
    device: &B::Device,
) -> Result<RegionTargets<B>, String> {
    let weights = |kind: &str| {
        targets(
            batch,
            &format!("imgfeat_{kind}_loss_valid"),
            &format!("imgfeat_{kind}_weight"),
            "imgfeat_outside_weight",
        )
    };
    let (features, objects, attributes) = (weights("feat")?, weights("obj")?, weights("attr")?);
    let any = |at: usize| features.of_each[at] + objects.of_each[at] + attributes.of_each[at];
    let all: Vec<f64> = (0..features.of_each.len()).map(any).collect();
    let places = places(&all);
    let (len, width) = (places.len(), features.width);
    let positions = places
        .iter()
        .map(|place| place / width * seq + text + place % width);
    let classes = |name: &str| {
        let labels = batch.get(name)?;
        let of_each = places.iter().map(|at| labels.data[*at] as i32).collect();
        Ok::<_, String>(ints(of_each, [len], device))
    };
    let unmasked = batch.get("imgfeat_feat_label")?;
    let values = unmasked.last();
    let rows = places
        .iter()
        .flat_map(|at| unmasked.data[at * values..(at + 1) * values].to_vec());
    Ok(RegionTargets {
        positions: ints(positions.map(|at| at as i32).collect(), [len], device),
        weights: features.at(&places).floats([len], device),
        features: HostTensor {
            shape: vec![len, values],
            data: rows.collect(),
        }
        .floats([len, values], device),
        objects: classes("imgfeat_obj_label")?,
        object_scores: objects.at(&places).floats([len], device),
        attributes: classes("imgfeat_attr_label")?,
        attribute_scores: attributes.at(&places).floats([len], device),
        count: len,
    })
}

/// The losses of a batch, by the reference's names, and the number of each example's transport.
struct Losses<B: OscarBackend> {
    named: Vec<(&'static str, Tensor<B, 1>)>,
    distance: Tensor<B, 1>,
}

fn losses<B: OscarBackend>(
    model: &OscarForPretraining<B>,
    batch: &PretrainBatch<B>,
    transport: f64,
) -> Result<Losses<B>, String> {
    let encoded = model.backbone().forward(batch.input.clone());
    let tokens = &batch.masked;
    let logits = model.predict_tokens(&encoded, tokens.positions.clone());
    let words = ops::cross_entropy(logits, tokens.labels.clone(), Some(tokens.weights.clone()));
    let targets = batch.regions.as_ref().ok_or("no regions to predict")?;
    let predicted = model.predict_regions(&encoded, targets.positions.clone());
    let regions = predicted.ok_or("no head for regions")?.losses(targets);
    let moved = model
        .transport(&encoded, &batch.input)
        .ok_or("no transport")?;
    let relation = ops::cross_entropy(
        model.predict_relation(&encoded),
        batch.relation.clone(),
        None,
    );
    let matching = match transport {
        0.0 => relation,
        weight => relation + moved.loss(batch.relation.clone()) * weight,
    };
    let mut named = vec![
        ("text_mlm_loss", words),
        ("imgfeat_feat_loss", regions.features),
        (
            "imgfeat_obj_loss",
            regions.objects.ok_or("no object classes")?,
        ),
        (
            "imgfeat_attr_loss",
            regions.attributes.ok_or("no attribute classes")?,
        ),
        ("mm_itm_loss", matching),
    ];
    named.extend(
        model
            .answer_loss(&encoded, batch)
            .map(|loss| ("mm_qa_loss", loss)),
    );
    Ok(Losses {
        named,
        distance: moved.distance,
    })
}

fn total<B: OscarBackend>(losses: &Losses<B>) -> Option<Tensor<B, 1>> {
    let named = losses.named.iter().map(|(_, loss)| loss.clone());
    named.reduce(|sum, loss| sum + loss)
}

/// The published loss of one batch, `[1]`.
pub fn loss<B: OscarBackend>(
    model: &OscarForPretraining<B>,
    tensors: &Tensors,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Tensor<B, 1>, String> {
    let losses = losses(model, &batch(tensors, fault, device)?, TRANSPORT)?;
    total(&losses).ok_or_else(|| "no loss".into())
}

/// All losses, all predictions and all gradients.
pub fn check<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let reference = &read_json(&set.dir.join("config.json"))?["reference"];
    let transport = reference["OT_LAMBDA"].as_f64().unwrap_or(TRANSPORT);
    let model = OscarForPretraining::<B>::new(&set.config(fault)?, device);
    let model = model::load::<B, _>(model, set, &mut checks)?;
    let batch = batch::<B>(&inputs, fault, device)?;

    predictions(&model, &batch, &mut checks);
    let losses = losses(&model, &batch, transport)?;
    for (name, loss) in &losses.named {
        checks.tensor(name, &HostTensor::read(loss.clone()));
    }
    checks.tensor("ot_dist", &HostTensor::read(losses.distance.clone()));
    let loss = total(&losses).ok_or("no loss")?;
    model::check_loss(&model, loss, &mut checks);
    Ok(checks.finish())
}

/// Predictions at every position, where the reference's are compared if the mask is 1.
fn predictions<B: TrainBackend>(
    model: &OscarForPretraining<B>,
    batch: &PretrainBatch<B>,
    checks: &mut Checks,
) {
    let everywhere = OscarInput {
        packing: None,
        ..batch.input.clone()
    };
    let encoded = model.backbone().forward(everywhere);
    backbone::compare("", &batch.input, &encoded, checks);
    let ([rows, seq], [_, text]) = (batch.input.dims(), batch.input.input_ids.dims());
    let device = encoded.sequence.device();
    let at = |from: usize, to: usize| {
        let places = (0..rows).flat_map(|row| (from..to).map(move |at| (row * seq + at) as i32));
        ints::<B, 1>(places.collect(), [rows * (to - from)], &device)
    };
    let read = |values: Tensor<B, 2>, width: usize| {
        let [_, last] = values.dims();
        HostTensor::read(values.reshape([rows, width, last]))
    };
    let words = model.predict_tokens(&encoded, at(0, text));
    checks.tensor("pred_text_mlm", &read(words, text));
    if let Some(regions) = model.predict_regions(&encoded, at(text, seq)) {
        checks.tensor("pred_imgfeat_feat", &read(regions.features, seq - text));
        for (name, logits) in [
            ("pred_imgfeat_obj", regions.objects),
            ("pred_imgfeat_attr", regions.attributes),
        ] {
            if let Some(logits) = logits {
                checks.tensor(name, &read(logits, seq - text));
            }
        }
    }
    checks.tensor(
        "pred_mm_itm",
        &HostTensor::read(model.predict_relation(&encoded)),
    );
    if let Some(logits) = model.predict_answers(&encoded) {
        checks.tensor("pred_mm_qa", &HostTensor::read(logits));
    }
}
