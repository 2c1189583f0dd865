//! A set of ROSITA in the words of this project.

use std::collections::BTreeMap;
use std::path::Path;

use oscar_core::config::{Classifier, LossReduction, ModelConfig, RegionProjection};
use serde_json::Value;

use super::names::{Model, ours};
use crate::host::{HostTensor, Tensors};
use crate::set::read_json;

/// What the names of tensors of parameters begin with, and what it is called here.
const OF_PARAMETERS: [(&str, &str); 5] = [
    ("grad.", "grad."),
    ("next_m.", "exp_avg."),
    ("next_v.", "exp_avg_sq."),
    ("exp_avg.", "exp_avg."),
    ("exp_avg_sq.", "exp_avg_sq."),
];

/// Pairs of tensors that are one here, by positions: text, then regions.
const JOINED: [(&str, &str, &str); 3] = [
    ("text_output", "imgfeat_output", "sequence_output"),
    ("text_embedded", "imgfeat_embedded", "embedded"),
    ("proj_text", "proj_imgfeat", "proj_sequence"),
];

fn model(meta: &Value) -> Option<Model> {
    Model::of(meta.get("cls").and_then(Value::as_str)?)
}

/// The name here of an expected tensor.
fn expected_name(model: Model, name: &str) -> String {
    for (theirs, here) in OF_PARAMETERS {
        if let Some(parameter) = name.strip_prefix(theirs) {
            return format!("{here}{}", ours(model, parameter));
        }
    }
    if let Some((step, parameter)) = name
        .strip_prefix("param.")
        .and_then(|rest| rest.split_once('.'))
    {
        return format!("param.{step}.{}", ours(model, parameter));
    }
    let same = match name {
        "pred_mm_qa" if model == Model::Answers => "logits",
        other => other,
    };
    same.into()
}

/// The expected tensors under our names, the rows of a pre-trained matching head in our order.
pub fn expected(meta: &Value, tensors: Tensors) -> Tensors {
    let Some(model) = model(meta) else {
        return tensors;
    };
    let mut renamed = BTreeMap::new();
    for (name, tensor) in tensors.0 {
        let name = expected_name(model, &name);
        let swapped = model == Model::Pretraining && name.contains("cls.seq_relationship.");
        let tensor = match swapped || name == "pred_mm_itm" {
            true if model == Model::Pretraining => swapped_classes(&name, tensor),
            _ => tensor,
        };
        renamed.insert(name, tensor);
    }
    let mut tensors = Tensors(renamed);
    join(&mut tensors);
    // The same as the first hidden state, which is compared.
    tensors.0.remove("embedded");
    tensors
}

/// Classes 0 and 1 the other way round: rows of parameters, columns of predictions.
fn swapped_classes(name: &str, mut tensor: HostTensor) -> HostTensor {
    match name {
        "pred_mm_itm" => tensor.data.chunks_mut(2).for_each(|row| row.swap(0, 1)),
        _ => {
            let half = tensor.data.len() / 2;
            tensor.data.rotate_left(half);
        }
    }
    tensor
}

fn join(tensors: &mut Tensors) {
    for (text, regions, both) in JOINED {
        if let (Some(a), Some(b)) = (tensors.0.get(text), tensors.0.get(regions)) {
            let joined = beside(a, b);
            tensors.0.insert(both.into(), joined);
            tensors.0.remove(text);
            tensors.0.remove(regions);
        }
    }
}

/// `[batch, a, ..]` and `[batch, b, ..]` as `[batch, a + b, ..]`.
fn beside(a: &HostTensor, b: &HostTensor) -> HostTensor {
    let rows = a.shape[0];
    let (of_a, of_b) = (a.data.len() / rows, b.data.len() / rows);
    let rows = a.data.chunks(of_a).zip(b.data.chunks(of_b));
    let mut shape = a.shape.clone();
    shape[1] += b.shape[1];
    HostTensor {
        shape,
        data: rows.flat_map(|(a, b)| [a, b].concat()).collect(),
    }
}

/// The set's description with our names in its table of precisions.
pub fn meta(mut meta: Value) -> Value {
    let Some(model) = model(&meta) else {
        return meta;
    };
    let Some(Value::Object(bounds)) = meta.get("fp32_vs_fp64").cloned() else {
        return meta;
    };
    let mut renamed = serde_json::Map::new();
    for (name, bound) in &bounds {
        renamed.insert(expected_name(model, name), bound.clone());
    }
    for (text, regions, both) in JOINED {
        if let (Some(a), Some(b)) = (bounds.get(text), bounds.get(regions)) {
            let larger = |key: &str| {
                let number = |bound: &Value| bound[key].as_f64().unwrap_or(0.0);
                number(a).max(number(b))
            };
            let bound = serde_json::json!({
                "max_abs_diff": larger("max_abs_diff"),
                "max_abs": larger("max_abs"),
            });
            renamed.insert(both.into(), bound);
        }
    }
    meta["fp32_vs_fp64"] = Value::Object(renamed);
    meta
}

/// The inputs as our models take them, beside those that the reference takes.
pub fn inputs(meta: &Value, mut tensors: Tensors) -> Tensors {
    if model(meta).is_none() {
        return tensors;
    }
    let prefixes: Vec<String> = tensors
        .0
        .keys()
        .filter_map(|name| name.strip_suffix("text_input_ids"))
        .map(str::to_string)
        .collect();
    for prefix in prefixes {
        let get = |name: &str| tensors.0.get(&format!("{prefix}{name}")).cloned();
        let (Some(ids), Some(text_mask)) = (get("text_input_ids"), get("text_mask")) else {
            continue;
        };
        let mut put = vec![("input_ids", ids)];
        if let (Some(features), Some(boxes)) = (get("imgfeat_input"), get("imgfeat_bbox")) {
            put.push(("img_feats", regions(&features, &boxes)));
        }
        if let Some(image_mask) = get("imgfeat_mask") {
            put.push(("attention_mask", beside(&text_mask, &image_mask)));
        }
        if let Some(labels) = get("qa_label") {
            put.push(("labels", labels));
        }
        for (name, tensor) in put {
            tensors.0.insert(format!("{prefix}{name}"), tensor);
        }
    }
    // The loss is a product with the outputs where the masks are 1.
    for (projection, mask) in [("proj_text", "text_mask"), ("proj_imgfeat", "imgfeat_mask")] {
        if let (Some(values), Some(mask)) = (tensors.0.get(projection), tensors.0.get(mask)) {
            let width = values.last();
            let data = values.data.iter().enumerate();
            let data = data
                .map(|(at, value)| value * mask.data[at / width])
                .collect();
            let shape = values.shape.clone();
            tensors
                .0
                .insert(projection.into(), HostTensor { shape, data });
        }
    }
    join(&mut tensors);
    tensors
}

/// Features and five box values as a store has them: x1, y1, x2, y2, w, h. Only the product of the last
/// two counts, so the reference's area is given as a width, beside a height of 1.
pub fn regions(features: &HostTensor, boxes: &HostTensor) -> HostTensor {
    let (width, mut shape) = (features.last(), features.shape.clone());
    if let Some(last) = shape.last_mut() {
        *last = width + 6;
    }
    let rows = features.data.chunks(width).zip(boxes.data.chunks(5));
    HostTensor {
        shape,
        data: rows
            .flat_map(|(features, values)| [features, values, &[1.0]].concat())
            .collect(),
    }
}

/// The configuration of our model for a set of ROSITA.
pub fn config(meta: &Value, dir: &Path, config: ModelConfig) -> Result<ModelConfig, String> {
    let Some(model) = model(meta) else {
        return Ok(config);
    };
    let reference = &read_json(&dir.join("config.json"))?["reference"];
    let count = |key: &str| reference[key].as_u64().unwrap_or(0) as usize;
    let answers = count("ANSWER_SIZE").max(answers(dir)?);
    let bce = reference["LOSSFUNC_MAPPING"]["mm"]["qa"] == "BCEWithLogitsLoss";
    Ok(ModelConfig {
        img_feature_dim: config.img_feature_dim + 1,
        use_img_layernorm: true,
        region_projection: RegionProjection::Split,
        padding_gets_gradient: true,
        region_head: model == Model::Pretraining,
        num_object_classes: match model {
            Model::Pretraining => count("IMGFEAT_OBJ_CLASSNUM"),
            _ => 0,
        },
        num_attribute_classes: match model {
            Model::Pretraining => count("IMGFEAT_ATTR_CLASSNUM"),
            _ => 0,
        },
        num_answers: match model {
            Model::Pretraining => answers,
            _ => 0,
        },
        num_labels: match model {
            Model::Answers => answers,
            _ => 2,
        },
        classifier: match model {
            Model::Answers => Classifier::Answer,
            _ => Classifier::Linear,
        },
        loss_type: if bce { "bce" } else { "kl" }.into(),
        loss_reduction: LossReduction::Mean,
        ..config
    })
}

/// Answers that the set's model predicts, by the shape of its head; 0 without one.
fn answers(dir: &Path) -> Result<usize, String> {
    let weights = Tensors::from_file(&dir.join("model.safetensors"))?;
    let bias = weights.find("mm_qa_head.dense1.bias");
    Ok(bias.map_or(0, |bias| bias.data.len()))
}
