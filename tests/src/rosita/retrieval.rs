//! The set of retrieval: a pair, and each of its halves with a hard negative.

use burn::tensor::{Tensor, activation};
use oscar_core::input::OscarInput;
use oscar_core::model::OscarClassifier;
use oscar_core::ops::{self, TrainBackend};

use super::translate::regions;
use crate::check::{Checks, Report};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors, ints};
use crate::model;
use crate::set::Set;

/// The class of a pair that belongs together, in retrieval.
const MATCH: i32 = 1;

/// The input of one of the three passes.
fn input<B: TrainBackend>(
    inputs: &Tensors,
    text: &str,
    image: &str,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<OscarInput<B>, String> {
    let mask_of = |name: String| inputs.get(&name).cloned();
    let (words, seen) = (
        mask_of(format!("{text}text_mask"))?,
        mask_of(format!("{image}imgfeat_mask"))?,
    );
    let (rows, width) = (words.leading(1), words.last() + seen.last());
    let both = words
        .data
        .chunks(words.last())
        .zip(seen.data.chunks(seen.last()));
    let mut pass = Tensors::default();
    let mut put = |name: &str, tensor| pass.0.insert(name.into(), tensor);
    put("input_ids", mask_of(format!("{text}text_input_ids"))?);
    put(
        "img_feats",
        regions(
            inputs.get(&format!("{image}imgfeat_input"))?,
            inputs.get(&format!("{image}imgfeat_bbox"))?,
        ),
    );
    put(
        "attention_mask",
        HostTensor {
            shape: vec![rows, width],
            data: both
                .flat_map(|(words, seen)| [words, seen].concat())
                .collect(),
        },
    );
    let input = model::input::<B>(&pass, "attention_mask", fault, device)?;
    Ok(input.with_query_positions([]))
}

/// Logits and scores of the three passes, the loss and its gradients.
pub fn check<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let model = OscarClassifier::<B>::new(&set.config(fault)?, device);
    let model = model::load::<B, _>(model, set, &mut checks)?;
    let mut total: Option<Tensor<B, 1>> = None;
    for (name, text, image, class, weight) in [
        ("pos", "", "", MATCH, 2.0),
        ("neg_text", "neg_", "", 1 - MATCH, 1.0),
        ("neg_img", "", "neg_", 1 - MATCH, 1.0),
    ] {
        let input = input::<B>(&inputs, text, image, fault, device)?;
        let logits = model.forward(input).map_err(|error| error.to_string())?;
        checks.tensor(
            &format!("pred_itm_{name}"),
            &HostTensor::read(logits.clone()),
        );
        let [rows, _] = logits.dims();
        if name == "pos" {
            let scores = activation::softmax(logits.clone(), 1).narrow(1, MATCH as usize, 1);
            checks.tensor("score_pos", &HostTensor::read(scores.reshape([rows])));
        }
        let labels = ints(vec![class; rows], [rows], device);
        let loss = ops::cross_entropy(logits, labels, None) * weight;
        total = Some(match total {
            None => loss,
            Some(total) => total + loss,
        });
    }
    let loss = total.ok_or("no loss")?;
    model::check_loss(&model, loss, &mut checks);
    Ok(checks.finish())
}
