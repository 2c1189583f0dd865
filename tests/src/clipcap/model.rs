//! Losses, gradients and optimiser steps of ClipCap.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use oscar_clipcap::{CaptionTargets, ClipCap, ClipCapConfig};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::ops::{self, OscarBackend, TrainBackend};

use crate::check::{Checks, Only, Report};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors};
use crate::model::{self, Official};
use crate::set::Set;

/// A ClipCap that learns.
#[derive(Module, Debug)]
pub struct Learner<B: Backend> {
    model: ClipCap<B>,
    prefix_length: usize,
}

impl<B: Backend> Checkpointed<B> for Learner<B> {
    fn is_bert(&self) -> bool {
        false
    }

    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        self.model.aliases()
    }
}

/// The configuration of a set, without dropout unless the fault is just that.
pub(super) fn config(set: &Set, fault: Option<Fault>) -> Result<ClipCapConfig, String> {
    let path = set.dir.join("config.json");
    let mut value = crate::set::read_json(&path)?;
    if let Some(keys) = value.as_object_mut() {
        // Which CLIP the pictures of the set were read by; the network does not know.
        keys.remove("clip");
    }
    let config: ClipCapConfig =
        serde_json::from_value(value).map_err(|error| format!("{}: {error}", path.display()))?;
    config.validate().map_err(|error| error.to_string())?;
    let mut config = config;
    // Sets say what the mapping network got, which is normalised already.
    config.normalize_prefix = false;
    if fault != Some(Fault::Dropout) {
        config.gpt2.embd_pdrop = 0.0;
        config.gpt2.attn_pdrop = 0.0;
        config.gpt2.resid_pdrop = 0.0;
    }
    if let Some(Fault::LayerNormEpsilon(epsilon)) = fault {
        config.gpt2.layer_norm_epsilon = epsilon;
    }
    Ok(config)
}

impl<B: TrainBackend> Official<B> for Learner<B> {
    fn build(set: &Set, fault: Option<Fault>, device: &B::Device) -> Result<Self, String> {
        let config = config(set, fault)?;
        Ok(Self {
            prefix_length: config.prefix_length,
            model: ClipCap::new(&config, device),
        })
    }

    fn loss(
        &self,
        batch: &Tensors,
        _fault: Option<Fault>,
        device: &B::Device,
    ) -> Result<Tensor<B, 1>, String> {
        let targets = targets(batch, self.prefix_length, device)?;
        Ok(self.model.loss(prefix(batch, device)?, targets))
    }
}

/// What the mapping network reads.
pub(super) fn prefix<B: Backend>(
    batch: &Tensors,
    device: &B::Device,
) -> Result<Tensor<B, 2>, String> {
    let prefix = batch.get("prefix")?;
    Ok(prefix.floats([prefix.leading(1), prefix.last()], device))
}

/// The captions of a batch, as the data set of this project has them: without what fills them up.
fn targets<B: Backend>(
    batch: &Tensors,
    prefix_length: usize,
    device: &B::Device,
) -> Result<CaptionTargets<B>, String> {
    let tokens = batch.get("tokens")?;
    let captions: Vec<Vec<u32>> = tokens
        .data
        .chunks(tokens.last())
        .map(|row| {
            let length = row
                .iter()
                .rposition(|id| *id > 0.0)
                .map_or(0, |last| last + 1);
            row[..length].iter().map(|id| *id as u32).collect()
        })
        .collect();
    let captions: Vec<&[u32]> = captions.iter().map(Vec::as_slice).collect();
    Ok(CaptionTargets::new(&captions, prefix_length, device))
}

/// Prefixes, hidden states, logits, loss and gradients.
pub fn check<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let learner = Learner::<B>::build(set, fault, device)?;
    let learner = model::load::<B, _>(learner, set, &mut checks)?;
    let inputs = set.inputs()?;
    states(&learner.model, &inputs, &mut checks, device)?;
    let loss = learner.loss(&inputs, fault, device)?;
    model::check_loss(&learner, loss, &mut checks);
    Ok(checks.finish())
}

fn states<B: OscarBackend>(
    model: &ClipCap<B>,
    inputs: &Tensors,
    checks: &mut Checks,
    device: &B::Device,
) -> Result<(), String> {
    let prefix = prefix::<B>(inputs, device)?;
    for (layer, state) in model
        .mapper()
        .inspect(prefix.clone())
        .into_iter()
        .enumerate()
    {
        checks.tensor(&format!("mapper.layer.{layer}"), &HostTensor::read(state));
    }
    let vectors = model.prefix(prefix.clone());
    checks.tensor("prefix_embeddings", &HostTensor::read(vectors));
    let tokens = inputs.get("tokens")?;
    let tokens = tokens.ints([tokens.leading(1), tokens.last()], device);
    let found = model.gpt2().inspect(model.vectors(prefix, tokens));
    // Rows of padded positions differ by the reference's mask, and are read by nothing.
    let mask = inputs.get("mask")?;
    let real: Vec<bool> = mask.data.iter().map(|value| *value > 0.0).collect();
    let only = Only {
        rows: Some(&real),
        slack: None,
    };
    for (layer, state) in found.blocks.into_iter().enumerate() {
        checks.tensor_where(
            &format!("gpt.block.{layer}"),
            &HostTensor::read(state),
            only,
        );
    }
    let [batch, seq, _] = found.hidden.dims();
    let logits = model.gpt2().logits(ops::flatten(found.hidden.clone()));
    let logits = ops::unflatten(logits, batch, seq);
    checks.tensor_where("all_logits", &HostTensor::read(logits), only);
    Ok(())
}
