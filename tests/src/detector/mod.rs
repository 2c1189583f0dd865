//! Sets of detectors: from a picture's pixels to its boxes, stage by stage.

mod selected;
mod stages;

use burn::tensor::{Tensor, TensorData};
use oscar_core::ops::Kernels;
use oscar_vision::detector::{
    ColourOrder, Detection, Detector, DetectorConfig, DetectorFiles, Flavour, Prepared,
    SelectionRule, prepare, stack,
};
use serde_json::Value;

use crate::check::{Checks, Report};
use crate::host::{HostTensor, Tensors};
use crate::pictures::{decode, image_of, pixels, planes};
use crate::set::Set;
use selected::{frcnn, vinvl};
use stages::{map_on_host, stages as compare_stages};

/// Compares every stage of every picture, alone and in batches, under every mode of the set.
pub fn check<B: Kernels>(set: &Set, device: &B::Device) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let mut detector = open::<B>(set, device)?;
    let mut prepared = Vec::new();
    for (number, picture) in list(&set.meta, "pictures").iter().enumerate() {
        let rgb = inputs.get(&format!("p{number}.rgb"))?;
        let file = picture["file"].as_str().ok_or("a picture without a file")?;
        let decoded = pixels(&decode(set, file)?);
        checks.exact(&format!("p{number}.rgb"), &decoded, rgb);
        let input = prepare(detector.config(), &image_of(rgb)?)?;
        compare_input(&mut checks, &inputs, number, &input, detector.config());
        compare_stages(
            &mut checks,
            &format!("p{number}"),
            &detector,
            std::slice::from_ref(&input),
        );
        prepared.push(input);
    }
    let Some(modes) = set.meta.get("modes").and_then(Value::as_object) else {
        alone(&mut checks, &detector, &prepared);
        batches(&mut checks, set, &inputs, &detector, &prepared)?;
        return Ok(checks.finish());
    };
    for (mode, options) in modes {
        let rule = rule_of(detector.config(), options, set)?;
        detector = detector
            .with_config(|config| config.selection.rule = rule)
            .map_err(|error| error.to_string())?;
        for (number, input) in prepared.iter().enumerate() {
            let prefix = format!("p{number}");
            let found = detector.detect(std::slice::from_ref(input)).remove(0);
            if !found.box_deltas.is_empty() {
                table(
                    &mut checks,
                    &prefix,
                    "box_deltas",
                    &found.box_deltas,
                    &found,
                );
            }
            let prefix = format!("{prefix}.{mode}");
            vinvl(&mut checks, &prefix, &detector, &found, input);
            // Where boxes are proposals the detector takes their features again.
            let shape = [1, input.size[0] as usize, input.size[1] as usize, 3];
            let pixels = TensorData::new(input.pixels.clone(), shape);
            let res4 = detector
                .network()
                .backbone(Tensor::from_data(pixels, device));
            let pooled = detector.features_of(&map_on_host(&res4, 0), &found.selected.boxes);
            let like = Like {
                prefix: &prefix,
                kind: "",
            };
            like.check(&mut checks, "attr_pooled", &HostTensor::read(pooled));
        }
    }
    Ok(checks.finish())
}

/// The detector of the set, by PyTorch's own file; the converted weights must be the same.
fn open<B: Kernels>(set: &Set, device: &B::Device) -> Result<Detector<B>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", set.name);
    let mut files = DetectorFiles::find(&set.dir).map_err(|error| failed(&error))?;
    let torch = set.dir.join("pytorch_model.bin");
    if torch.is_file() {
        files.weights = torch;
    }
    let detector = Detector::open_files(&files, device).map_err(|error| failed(&error))?;
    let rgb = set.meta["colour_order_fed_to_the_net"] == "RGB";
    let detector = detector.with_config(|config| {
        if rgb {
            config.input.colour_order = ColourOrder::Rgb;
        }
    });
    detector.map_err(|error| failed(&error))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn rule_of(config: &DetectorConfig, options: &Value, set: &Set) -> Result<SelectionRule, String> {
    let settings = crate::set::read_json(&set.dir.join("config.json"))?;
    let nms_threshold = settings["nms"].as_f64().ok_or("no threshold `nms`")?;
    let boxes_are_proposals = options["IGNORE_BOX_REGRESSION"] == true;
    debug_assert_eq!(config.flavour, Flavour::Vinvl);
    match options["NMS_FILTER"].as_u64() {
        Some(0) => Ok(SelectionRule::PerClass {
            nms_threshold,
            boxes_are_proposals,
        }),
        Some(1) => Ok(SelectionRule::BestKeptClass {
            boxes_are_proposals,
        }),
        Some(2) => Ok(SelectionRule::BestClassOfProposals { nms_threshold }),
        other => Err(format!("NMS_FILTER {other:?}")),
    }
}

/// Size, scales and pixels of the network's input.
fn compare_input(
    checks: &mut Checks,
    inputs: &Tensors,
    number: usize,
    input: &Prepared,
    config: &DetectorConfig,
) {
    let name = format!("p{number}.preprocessed");
    let got = planes(&input.pixels, input.size[0], input.size[1]);
    match (config.flavour, checks.expected.find(&name)) {
        // Pillow's resize is of integers.
        (Flavour::Vinvl, Some(expected)) => {
            let expected = expected.clone();
            checks.exact_tensor(&name, &got.data, &expected.data);
        }
        _ => checks.tensor_like(&name, "preprocessed", &got),
    }
    let [x, y] = input.scales().map(f64::from);
    let size = input.size.map(f64::from).to_vec();
    for (name, got) in [("scales_yx", vec![y, x]), ("net_size", size)] {
        let name = format!("p{number}.{name}");
        if let Some(expected) = inputs.find(&name) {
            checks.exact(&name, &got, &expected.data);
        }
    }
}

/// Names of a picture's tensors, and of their precision.
struct Like<'a> {
    prefix: &'a str,
    kind: &'a str,
}

impl Like<'_> {
    fn check(&self, checks: &mut Checks, name: &str, got: &HostTensor) {
        let (name, like) = (
            format!("{}.{name}", self.prefix),
            format!("{}{name}", self.kind),
        );
        checks.tensor_like(&name, &like, got);
    }
}

/// `values` in equal rows.
fn rows(values: &[f32], rows: usize) -> HostTensor {
    HostTensor {
        shape: vec![rows, values.len() / rows.max(1)],
        data: values.iter().map(|value| f64::from(*value)).collect(),
    }
}

fn vector(values: impl Iterator<Item = f64>) -> HostTensor {
    let data: Vec<f64> = values.collect();
    HostTensor {
        shape: vec![data.len()],
        data,
    }
}

fn table(checks: &mut Checks, prefix: &str, name: &str, values: &[f32], found: &Detection) {
    let got = rows(values, found.proposals.boxes.len());
    checks.tensor_like(&format!("{prefix}.{name}"), name, &got);
}

/// What HuggingFace's detector gives for each picture alone.
fn alone<B: Kernels>(checks: &mut Checks, detector: &Detector<B>, pictures: &[Prepared]) {
    for (number, picture) in pictures.iter().enumerate() {
        let prefix = format!("p{number}");
        let found = detector.detect(std::slice::from_ref(picture)).remove(0);
        let like = Like {
            prefix: &prefix,
            kind: "",
        };
        frcnn(checks, &like, &found, picture);
        // The set has attributes of all proposals.
        let width = found.class_logits.len() / found.proposals.boxes.len().max(1);
        let best = found.class_logits.chunks_exact(width.max(1)).map(|row| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter().position(|value| *value == largest).unwrap_or(0)
        });
        let shape = [
            found.proposals.boxes.len(),
            found.features.len() / found.proposals.boxes.len(),
        ];
        let features = TensorData::new(found.features.clone(), shape);
        let features = Tensor::<B, 2>::from_data(features, detector.network().device());
        let logits = detector
            .network()
            .attribute_logits(features, &best.collect::<Vec<_>>());
        like.check(checks, "attr_logits", &HostTensor::read(logits));
    }
}

/// Padded batches: what is found depends on them.
fn batches<B: Kernels>(
    checks: &mut Checks,
    set: &Set,
    inputs: &Tensors,
    detector: &Detector<B>,
    prepared: &[Prepared],
) -> Result<(), String> {
    for (number, batch) in list(&set.meta, "batches").iter().enumerate() {
        let members = batch.as_array().into_iter().flatten();
        let members: Option<Vec<Prepared>> = members
            .map(|at| prepared.get(at.as_u64()? as usize).cloned())
            .collect();
        let members = members.ok_or("a batch of other pictures")?;
        let (values, [height, width]) = stack(&members, detector.config().input.pad_value);
        let expected = inputs.get(&format!("b{number}.preprocessed"))?;
        let of_picture = values.chunks_exact(height * width * 3);
        let got = of_picture.flat_map(|v| planes(v, height as u32, width as u32).data);
        let got = HostTensor {
            shape: vec![members.len(), 3, height, width],
            data: got.collect(),
        };
        checks.part(
            &format!("b{number}.preprocessed"),
            "p0.preprocessed",
            &got,
            expected,
        );
        let found = compare_stages(checks, &format!("b{number}"), detector, &members);
        for (place, (found, picture)) in found.iter().zip(&members).enumerate() {
            let prefix = format!("b{number}.{place}");
            let like = Like {
                prefix: &prefix,
                kind: "batch.",
            };
            frcnn(checks, &like, found, picture);
        }
    }
    Ok(())
}
