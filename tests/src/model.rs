//! This project's models under the official names: input, weights, gradients.

use std::collections::HashMap;

use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, backend::Backend};
use oscar_core::checkpoint::{self, Checkpointed, Parameter, RandomInit, parameters};
use oscar_core::input::{AttentionMask, OscarInput};
use oscar_core::ops::{OscarBackend, TrainBackend};

use crate::check::{Checks, max_abs};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors};
use crate::set::Set;

/// A model whose loss a set gives.
pub trait Official<B: TrainBackend>: AutodiffModule<B> + Checkpointed<B> {
    /// A model of the set's configuration, with random weights.
    fn build(set: &Set, fault: Option<Fault>, device: &B::Device) -> Result<Self, String>;

    /// The loss of one batch of a set, `[1]`.
    fn loss(
        &self,
        batch: &Tensors,
        fault: Option<Fault>,
        device: &B::Device,
    ) -> Result<Tensor<B, 1>, String>;
}

/// The model of a set with the set's weights; checks that the file holds exactly its parameters.
pub fn load<B: Backend, M: Checkpointed<B>>(
    model: M,
    set: &Set,
    checks: &mut Checks,
) -> Result<M, String> {
    let (model, report) = checkpoint::load(model, set.weights(), &RandomInit::All)
        .map_err(|error| error.to_string())?;
    checks.exact("weights without a place", &report.skipped, &Vec::new());
    checks.exact("parameters without weights", &report.missing, &Vec::new());
    checks.exact("weights of another shape", &report.mismatched, &Vec::new());
    Ok(model)
}

/// The model's input of a batch; leading axes (choices) are folded into the batch.
///
/// `mask` names the attention mask: one axis more than the ids makes it a mask per query.
pub fn input<B: OscarBackend>(
    batch: &Tensors,
    mask: &str,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<OscarInput<B>, String> {
    let ids = batch.get("input_ids")?;
    let (rows, text) = (ids.leading(1), ids.last());
    let regions = batch.find("img_feats");
    let mask = batch.get(mask)?;
    let seq = mask.last();
    let attention_mask = match mask.shape.len() > ids.shape.len() {
        true => AttentionMask::Full(mask.floats([rows, seq, seq], device)),
        false => AttentionMask::Padding(mask.floats([rows, seq], device)),
    };
    let token_type_ids = match batch.find("token_type_ids") {
        Some(types) => types.ints([rows, text], device),
        None => Tensor::zeros([rows, text], device),
    };
    let mut input = OscarInput {
        input_ids: ids.ints([rows, text], device),
        token_type_ids,
        query_positions: None,
        packing: None,
        position_ids: None,
        attention_mask,
        region_features: regions.map(|regions| {
            let dim = regions.last();
            regions.floats(
                [rows, regions.data.len() / (rows * dim).max(1), dim],
                device,
            )
        }),
    };
    Fault::spoil(fault, &mut input);
    Ok(input)
}

/// Values of every parameter under its official name and in its official layout.
#[derive(Clone, Debug)]
pub struct Named(HashMap<String, HostTensor>);

impl Named {
    /// The weights of `model`.
    pub fn weights<B: Backend, M: checkpoint::Checkpointed<B>>(model: &M) -> Self {
        let mut collector = Collector {
            grads: None,
            values: HashMap::new(),
        };
        model.visit(&mut Weights(&mut collector));
        Self::of(collector, parameters::<B, M>(model))
    }

    /// The gradients of the parameters of `model`.
    pub fn gradients<B: TrainBackend, M: AutodiffModule<B>>(
        model: &M,
        grads: &GradientsParams,
    ) -> Self {
        let mut collector = Collector {
            grads: Some(grads),
            values: HashMap::new(),
        };
        model.visit(&mut Gradients(&mut collector));
        Self::of(collector, parameters::<B, M>(model))
    }

    fn of(collector: Collector<'_>, parameters: Vec<Parameter>) -> Self {
        let named = parameters.into_iter().map(|parameter| {
            // A parameter that the loss does not depend on has no gradient here, zeros officially.
            let values = match collector.values.get(&parameter.id) {
                Some(values) => official_layout(&parameter, values.clone()),
                None => vec![0.0; parameter.len()],
            };
            (
                parameter.name,
                HostTensor {
                    shape: parameter.shape,
                    data: values,
                },
            )
        });
        Self(named.collect())
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&HostTensor> {
        self.0.get(name)
    }

    /// Compares with the expected tensors called `PREFIX` and a parameter's name.
    ///
    /// The gradient of a key projection's bias is zero in exact arithmetic: adding the same number
    /// to all scores of a query changes no softmax. It must be round-off next to the gradient of
    /// the key's weights.
    pub fn check_gradients(&self, prefix: &str, checks: &mut Checks) {
        for name in checks.expected_under(prefix) {
            let full = format!("{prefix}{name}");
            let Some(got) = self.get(&name) else {
                checks.exact(&full, &"no such parameter", &"a parameter of this name");
                continue;
            };
            match name.strip_suffix("key.bias") {
                None => checks.tensor(&full, got),
                Some(layer) => {
                    let weights = self.get(&format!("{layer}key.weight"));
                    let scale = weights.map_or(0.0, |weights| max_abs(&weights.data));
                    checks.zero(&full, got, scale);
                }
            }
        }
    }
}

/// Values of a parameter as Burn keeps them, in PyTorch's layout.
pub fn official_layout(parameter: &Parameter, values: Vec<f64>) -> Vec<f64> {
    match (parameter.transposed, parameter.shape.as_slice()) {
        (true, &[rows, cols]) => (0..rows * cols)
            .map(|index| values[(index % cols) * rows + index / cols])
            .collect(),
        _ => values,
    }
}

struct Collector<'a> {
    grads: Option<&'a GradientsParams>,
    values: HashMap<ParamId, Vec<f64>>,
}

struct Weights<'a, 'b>(&'a mut Collector<'b>);

impl<B: Backend> ModuleVisitor<B> for Weights<'_, '_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0
            .values
            .insert(param.id, HostTensor::read(param.val()).data);
    }
}

struct Gradients<'a, 'b>(&'a mut Collector<'b>);

impl<B: TrainBackend> ModuleVisitor<B> for Gradients<'_, '_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let grads = self.0.grads;
        if let Some(grad) = grads.and_then(|grads| grads.get::<B::InnerBackend, D>(param.id)) {
            self.0.values.insert(param.id, HostTensor::read(grad).data);
        }
    }
}

/// Compares a loss, and its gradients by the parameters of `model`.
pub fn check_loss<B: TrainBackend, M: AutodiffModule<B>>(
    model: &M,
    loss: Tensor<B, 1>,
    checks: &mut Checks,
) {
    checks.tensor("loss", &HostTensor::read(loss.clone()));
    let grads = GradientsParams::from_grads(loss.backward(), model);
    Named::gradients(model, &grads).check_gradients("grad.", checks);
}
