//! Sets of classifiers: one image per row, or a pair of images.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::ModelConfig;
use oscar_core::input::OscarInput;
use oscar_core::model::{Backbone, ClassTargets, OscarClassifier};
use oscar_core::ops::{OscarBackend, TrainBackend};

use crate::backbone;
use crate::check::{Checks, Report};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors};
use crate::model::{self, Official};
use crate::set::Set;

/// Prefix of the inputs that are other masks for the same batch.
const OTHER_MASK: &str = "attention_mask_";

/// A model with logits and a loss on them.
pub trait Classifier<B: TrainBackend>: Official<B> {
    /// The model.
    fn model(&self) -> &OscarClassifier<B>;

    /// Logits `[rows, classes]`.
    fn logits(&self, input: OscarInput<B>) -> Result<Tensor<B, 2>, String> {
        // As the batcher of classifiers asks for.
        let input = input.with_query_positions([]);
        self.model()
            .forward(input)
            .map_err(|error| error.to_string())
    }

    /// The loss of logits, `[1]`: the mean over the rows that have answers.
    fn loss_of(&self, logits: Tensor<B, 2>, batch: &Tensors) -> Result<Tensor<B, 1>, String> {
        let labels = batch.get("labels")?;
        let Some(valid) = batch.find("qa_loss_valid") else {
            let targets = targets(&logits, labels)?;
            return Ok(self.model().loss(logits, targets));
        };
        // ROSITA gives a row without a known answer the weight 0; our batches do not have such rows.
        let rows = valid.data.iter().enumerate();
        let rows: Vec<usize> = rows
            .filter(|(_, valid)| **valid != 0.0)
            .map(|(row, _)| row)
            .collect();
        let width = labels.data.len() / valid.data.len().max(1);
        let of_row = |row: &usize| &labels.data[row * width..(row + 1) * width];
        let kept = HostTensor {
            shape: vec![rows.len(), width],
            data: rows.iter().flat_map(of_row).copied().collect(),
        };
        let places: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let places =
            Tensor::<B, 1, Int>::from_data(TensorData::from(&places[..]), &logits.device());
        let logits = logits.select(0, places);
        let targets = targets(&logits, &kept)?;
        Ok(self.model().loss(logits, targets))
    }
}

/// Makes the official classifiers.
macro_rules! classifiers {
    ($($(#[$doc:meta])* $name:ident: $build:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug)]
        pub struct $name<B: Backend> {
            model: OscarClassifier<B>,
        }

        impl<B: Backend> Checkpointed<B> for $name<B> {}

        impl<B: TrainBackend> Classifier<B> for $name<B> {
            fn model(&self) -> &OscarClassifier<B> {
                &self.model
            }
        }

        impl<B: TrainBackend> Official<B> for $name<B> {
            fn build(set: &Set, fault: Option<Fault>, device: &B::Device) -> Result<Self, String> {
                let model = $build(&set.config(fault)?, device);
                Ok(Self { model })
            }

            fn loss(
                &self,
                batch: &Tensors,
                fault: Option<Fault>,
                device: &B::Device,
            ) -> Result<Tensor<B, 1>, String> {
                let input = model::input(batch, "attention_mask", fault, device)?;
                self.loss_of(self.logits(input)?, batch)
            }
        }
    )*};
}

classifiers!(
    /// `ImageBertForSequenceClassification`: one image per decision.
    Single: OscarClassifier::new;
    /// `ImageBertForMultipleChoice` (NLVR2): a pair of images per decision.
    Pair: OscarClassifier::joint;
    /// `OscarForMultipleChoice` (VCR): each choice of a question is right or wrong on its own. It has
    /// two classes whatever the configuration says.
    EachChoice: each_choice;
);

fn each_choice<B: OscarBackend>(config: &ModelConfig, device: &B::Device) -> OscarClassifier<B> {
    let config = ModelConfig {
        num_labels: 2,
        ..config.clone()
    };
    OscarClassifier::new(&config, device)
}

/// A class per row of logits, or a score per logit; whatever axes the labels have.
fn targets<B: OscarBackend>(
    logits: &Tensor<B, 2>,
    labels: &HostTensor,
) -> Result<ClassTargets<B>, String> {
    let [rows, classes] = logits.dims();
    let device = logits.device();
    match labels.data.len() {
        found if found == rows * classes => {
            Ok(ClassTargets::Soft(labels.floats([rows, classes], &device)))
        }
        found if found == rows => Ok(ClassTargets::Class(labels.ints([rows], &device))),
        _ => Err(format!(
            "labels {:?} are neither one per row nor one per logit of [{rows}, {classes}]",
            labels.shape
        )),
    }
}

/// Logits, loss, gradients, logits under other masks, and what the backbone gives.
pub fn check<B: TrainBackend, M: Classifier<B>>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let config = set.config(fault)?;
    let inputs = set.inputs()?;
    let model = model::load::<B, M>(M::build(set, fault, device)?, set, &mut checks)?;

    check_backbone::<B>(set, &config, &inputs, fault, device, &mut checks)?;
    let input = model::input(&inputs, "attention_mask", fault, device)?;
    let logits = model.logits(input)?;
    checks.tensor("logits", &HostTensor::read(logits.clone()));
    if set.expected()?.find("argmax").is_some() {
        let best: Tensor<B, 1> = logits.clone().argmax(1).flatten::<1>(0, 1).float();
        checks.tensor("argmax", &HostTensor::read(best));
    }
    for name in inputs.0.keys().filter(|name| name.starts_with(OTHER_MASK)) {
        let input = model::input(&inputs, name, fault, device)?;
        let logits = HostTensor::read(model.logits(input)?);
        checks.tensor(&format!("logits_{}", &name[OTHER_MASK.len()..]), &logits);
    }

    let loss = model.loss_of(logits, &inputs)?;
    model::check_loss(&model, loss, &mut checks);
    Ok(checks.finish())
}

/// The backbone's part of a classifier's file, loaded into a bare backbone.
fn check_backbone<B: OscarBackend>(
    set: &Set,
    config: &ModelConfig,
    inputs: &Tensors,
    fault: Option<Fault>,
    device: &B::Device,
    checks: &mut Checks,
) -> Result<(), String> {
    let model = model::load::<B, _>(Backbone::new(config, device), set, checks)?;
    let input = model::input::<B>(inputs, "attention_mask", fault, device)?;
    backbone::compare("", &input, &model.forward(input.clone()), checks);
    Ok(())
}
