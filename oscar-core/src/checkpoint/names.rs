//! Official names of a model's parameters.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, backend::Backend};

/// Where Rust paths and official names differ. Applied in this order to whole components.
///
/// `self` and capitals are not field names in Rust; Burn calls LayerNorm's parameters gamma and
/// beta; variants of a classifier or a mapping network stand for the indices of a `Sequential`; and a
/// field `model` is a wrapper around an official model.
const SPELLINGS: &[(&str, &str)] = &[
    ("self_attention", "self"),
    ("layer_norm", "LayerNorm"),
    ("gamma", "weight"),
    ("beta", "bias"),
    ("Linear", ""),
    ("Mlp.first", "0"),
    ("Mlp.last", "2"),
    ("NormMlp.first", "0"),
    ("NormMlp.norm", "2"),
    ("NormMlp.last", "3"),
    ("Answer", ""),
    ("Joined", ""),
    ("Split", ""),
    ("model", ""),
    // ClipCap's mapping networks, of which an MLP is a `Sequential` called `model`.
    ("Perceptron.first", "model.0"),
    ("Perceptron.last", "model.2"),
    ("Transformer", ""),
    ("SingleLayer", ""),
];

/// One parameter of a model.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Official name.
    pub name: String,
    /// Burn's id, which differs between processes.
    pub id: ParamId,
    /// Shape in the official layout.
    pub shape: Vec<usize>,
    /// Whether Burn keeps the matrix transposed.
    pub transposed: bool,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the parameter has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All parameters of `module`, in the order of its fields, without initialising any.
pub fn parameters<B: Backend, M: Module<B>>(module: &M) -> Vec<Parameter> {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.parameters
}

/// The path to the field being visited.
#[derive(Default)]
pub(super) struct Path {
    components: Vec<String>,
    containers: Vec<String>,
}

impl Path {
    pub(super) fn enter(&mut self, name: &str, container: &str) {
        self.components.push(name.into());
        self.containers.push(container.into());
    }

    pub(super) fn exit(&mut self) {
        self.components.pop();
        self.containers.pop();
    }

    /// Whether the path ends at the matrix of a linear layer.
    pub(super) fn is_linear_weight(&self) -> bool {
        self.containers
            .last()
            .is_some_and(|container| container == "Struct:Linear")
            && self
                .components
                .last()
                .is_some_and(|component| component == "weight")
    }

    pub(super) fn official_name(&self) -> String {
        let mut name = format!(".{}.", self.components.join("."));
        for (rust, official) in SPELLINGS {
            let replacement = match official.is_empty() {
                true => ".".to_string(),
                false => format!(".{official}."),
            };
            name = name.replace(&format!(".{rust}."), &replacement);
        }
        name.trim_matches('.').to_string()
    }
}

#[derive(Default)]
struct Collector {
    path: Path,
    parameters: Vec<Parameter>,
}

impl<B: Backend> ModuleVisitor<B> for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let transposed = self.path.is_linear_weight();
        let mut shape = param.lazy_shape().to_vec();
        if transposed {
            shape.reverse();
        }
        self.parameters.push(Parameter {
            name: self.path.official_name(),
            id: param.id,
            shape,
            transposed,
        });
    }
}

/// `[rows, cols]` to `[cols, rows]`, by blocks that stay in cache.
pub(super) fn transpose(data: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let mut output = vec![0.0; data.len()];
    for row in (0..rows).step_by(BLOCK) {
        for col in (0..cols).step_by(BLOCK) {
            for r in row..(row + BLOCK).min(rows) {
                for c in col..(col + BLOCK).min(cols) {
                    output[c * rows + r] = data[r * cols + c];
                }
            }
        }
    }
    output
}
