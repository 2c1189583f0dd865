//! The set of structural knowledge masking: recorded draws give what the reference made of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use oscar_core::input::{
    Draws, EncodedPair, Example, ExampleSource, LabelNames, MaskedSides, MaskingConfig,
    MaskingStrategy, PaddingConfig, PretrainEncoder, PretrainEncoderConfig, Priors, Purpose,
    RegionHandle, RegionLabels, RegionMask, RegionSource, Relation, SceneGraph, Similarities,
    SourceError, TextB, Tokenizer, WordVectors, overlap,
};
use serde_json::Value;

use crate::check::{Checks, Report};
use crate::host::{HostTensor, Tensors};
use crate::set::{Set, read_json};

/// Draws in the order in which they were recorded.
struct Replay {
    draws: VecDeque<Value>,
    /// A draw of another kind than was recorded.
    wrong: Option<String>,
}

impl Replay {
    fn next(&mut self, kind: &str) -> Value {
        let draw = self.draws.pop_front().unwrap_or_default();
        let found = draw[0].as_str().unwrap_or("none");
        if found != kind && !(kind == "below" && matches!(found, "randint" | "choice")) {
            self.wrong
                .get_or_insert(format!("{kind} was asked, {draw} was recorded"));
        }
        draw
    }
}

impl Draws for Replay {
    fn unit(&mut self) -> f64 {
        self.next("random")[1].as_f64().unwrap_or(0.5)
    }

    fn below(&mut self, count: usize) -> usize {
        let draw = self.next("below");
        let number = |at: usize| draw[at].as_u64().unwrap_or(0) as usize;
        let (all, value) = match draw[0].as_str() {
            Some("randint") => (number(2) - number(1) + 1, number(3) - number(1)),
            _ => (number(1), number(2)),
        };
        if all != count {
            self.wrong
                .get_or_insert(format!("one of {count} was asked, {draw} was recorded"));
        }
        value.min(count.saturating_sub(1))
    }
}

/// The images of the set.
struct Images {
    names: Vec<String>,
    sizes: Vec<[f32; 2]>,
    values: Vec<Vec<f32>>,
    labels: Vec<RegionLabels>,
    class_names: Arc<LabelNames>,
    dim: usize,
}

impl Images {
    fn read(cases: &Value, inputs: &Tensors) -> Result<Self, String> {
        let classes = cases["object_classes"]
            .as_object()
            .ok_or("no object_classes")?;
        let mut images = Self {
            names: classes.keys().cloned().collect(),
            sizes: Vec::new(),
            values: Vec::new(),
            labels: Vec::new(),
            class_names: Arc::default(),
            dim: 0,
        };
        let mut names = LabelNames::default();
        let name = |list: &mut Vec<String>, id: usize, name: &str| {
            list.resize(list.len().max(id + 1), String::new());
            list[id] = name.into();
        };
        for image in images.names.clone() {
            let get = |what: &str| inputs.get(&format!("{image}.{what}"));
            let size = &cases["image_size"][&image];
            let side = |at: usize| size[at].as_f64().unwrap_or(1.0);
            let (width, height) = (side(1), side(0));
            let (features, boxes) = (get("x")?, get("boxes")?);
            images.dim = features.last() + 6;
            let rows = features
                .data
                .chunks(features.last())
                .zip(boxes.data.chunks(4));
            let rows = rows.flat_map(|(features, pixels)| {
                let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|at| pixels[at]);
                let corners = [x1 / width, y1 / height, x2 / width, y2 / height];
                let sides = [(x2 - x1) / width, (y2 - y1) / height];
                [features, &corners, &sides].concat()
            });
            images.values.push(rows.map(|value| value as f32).collect());
            images.sizes.push([width as f32, height as f32]);
            let ids = |what: &str| {
                Ok::<_, String>(
                    get(what)?
                        .data
                        .iter()
                        .map(|id| *id as u16)
                        .collect::<Vec<u16>>(),
                )
            };
            let scores = |what: &str| {
                Ok::<_, String>(
                    get(what)?
                        .data
                        .iter()
                        .map(|score| *score as f32)
                        .collect::<Vec<f32>>(),
                )
            };
            let labels = RegionLabels {
                objects: ids("objects_id")?,
                object_scores: scores("objects_conf")?,
                attributes: ids("attrs_id")?,
                attribute_scores: scores("attrs_conf")?,
            };
            let own = classes[&image].as_array().ok_or("no classes of an image")?;
            for (id, class) in labels.objects.iter().zip(own) {
                name(
                    &mut names.objects,
                    usize::from(*id),
                    class.as_str().unwrap_or(""),
                );
            }
            for id in &labels.attributes {
                name(&mut names.attributes, usize::from(*id), "attribute");
            }
            images.labels.push(labels);
        }
        images.class_names = Arc::new(names);
        Ok(images)
    }
}

impl RegionSource for Images {
    fn region_dim(&self) -> usize {
        self.dim
    }

    fn num_regions(&self, row: usize) -> Result<usize, SourceError> {
        Ok(self.values[row].len() / self.dim)
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        out.copy_from_slice(&self.values[row][..out.len()]);
        Ok(())
    }

    fn image_size(&self, row: usize) -> Option<(u32, u32)> {
        let [width, height] = self.sizes[row].map(|side| side as u32);
        Some((width, height))
    }

    fn labels(&self, row: usize) -> Result<Option<RegionLabels>, SourceError> {
        Ok(Some(self.labels[row].clone()))
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        Some(self.class_names.clone())
    }
}

struct Rows(Vec<Example>);

impl ExampleSource for Rows {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Example, SourceError> {
        Ok(self.0[index].clone())
    }

    fn answer_rows(&self) -> &[u32] {
        &[]
    }
}

fn numbers(value: &Value) -> Vec<usize> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|number| Some(number.as_u64()? as usize))
        .collect()
}

/// The rows of the annotation; texts lose their punctuation, as the reference's do.
fn rows(cases: &Value, images: &Arc<Images>) -> Result<Rows, String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let rows = list(&cases["rows"])
        .into_iter()
        .enumerate()
        .map(|(at, row)| {
            let image = row["img_file"].as_str().unwrap_or("");
            let place = images.names.iter().position(|name| name == image);
            let words = |text: &Value| {
                let text = text.as_str().unwrap_or("");
                text.chars()
                    .filter(|c| c.is_alphanumeric() || c.is_whitespace())
                    .collect::<String>()
            };
            let head = |value: &Value| numbers(value).first().copied().unwrap_or(0);
            let graph = &row["tsg"];
            let graph = SceneGraph {
                lemmas: words(&row["lemmas"])
                    .split_whitespace()
                    .map(String::from)
                    .collect(),
                objects: list(&graph["objs"])
                    .iter()
                    .map(|object| head(&object[0]))
                    .collect(),
                attributes: list(&graph["attrs"])
                    .iter()
                    .map(|said| (head(&said[0]), numbers(&said[1])))
                    .collect(),
                relations: list(&graph["rels"])
                    .iter()
                    .map(|said| Relation {
                        subject: head(&said[0]),
                        predicate: numbers(&said[1]),
                        object: head(&said[2]),
                    })
                    .collect(),
                regions: Vec::new(),
            };
            let regions = RegionHandle::new(images.clone(), place.ok_or("an unknown image")?);
            Ok(Example {
                origin: format!("row {at}"),
                image: image.into(),
                text_a: words(&row["text"]),
                text_b: String::new(),
                text_b_is: TextB::Tags,
                regions: regions.map_err(|error| error.to_string())?,
                graph: Some(graph),
                answers: Vec::new(),
            })
        });
    rows.collect::<Result<_, String>>().map(Rows)
}

fn vectors(cases: &Value, inputs: &Tensors) -> Result<WordVectors, String> {
    let values = inputs.get("vectors")?;
    let words = cases["vector_words"].as_array().ok_or("no vector_words")?;
    let rows = values.data.chunks(values.last());
    let named = words.iter().zip(rows).map(|(word, row)| {
        let row = row.iter().map(|value| *value as f32).collect();
        (word.as_str().unwrap_or("").to_string(), row)
    });
    Ok(WordVectors::new(named.collect::<HashMap<_, _>>()))
}

/// What the examples are made of.
struct Golden {
    encoder: PretrainEncoder,
    images: Arc<Images>,
    rows: Rows,
    vectors: Arc<WordVectors>,
    text: usize,
}

impl Golden {
    fn open(set: &Set, cases: &Value) -> Result<Self, String> {
        let inputs = set.inputs()?;
        let images = Arc::new(Images::read(cases, &inputs)?);
        let vectors = Arc::new(vectors(cases, &inputs)?);
        let priors = serde_json::json!({
            "attr_count": cases["attr_count"],
            "rel_count": cases["rel_count"],
        });
        let priors: Priors = serde_json::from_value(priors).map_err(|error| error.to_string())?;
        let sizes = read_json(&set.dir.join("config.json"))?;
        let size = |key: &str| sizes[key].as_u64().unwrap_or(0) as usize;
        let config = PretrainEncoderConfig {
            max_seq_length: size("pad_text"),
            max_regions: size("pad_image"),
            use_text_b: false,
            masking: MaskingConfig {
                sides: MaskedSides::One,
                text: MaskingStrategy::Structure,
                regions: MaskingStrategy::Structure,
                ..MaskingConfig::default()
            },
            ..PretrainEncoderConfig::default()
        };
        let tokenizer = Tokenizer::bert_base_uncased().map_err(|error| error.to_string())?;
        let encoder = PretrainEncoder::new(Arc::new(tokenizer), config, PaddingConfig::default());
        let purpose = Purpose {
            regions: true,
            matching: true,
            all_positions: false,
        };
        Ok(Self {
            encoder: encoder
                .map_err(|error| error.to_string())?
                .with_purpose(purpose)
                .with_knowledge(Arc::new(priors), Some(vectors.clone())),
            rows: rows(cases, &images)?,
            images,
            vectors,
            text: size("pad_text"),
        })
    }

    /// One example, draw by draw.
    fn case(&self, number: usize, case: &Value, checks: &mut Checks) -> Result<(), String> {
        let name = |what: &str| format!("case{number}.{what}");
        let row = case["row"].as_u64().unwrap_or(0) as usize;
        let mut replay = Replay {
            draws: case["draws"]
                .as_array()
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            wrong: None,
        };
        let pair = self.encoder.encode_matched(&self.rows, row, &mut replay);
        let pair = pair.map_err(|error| error.to_string())?;
        checks.exact(&name("draws of another kind"), &replay.wrong, &None);
        checks.exact(&name("draws that are left"), &replay.draws.len(), &0);
        self.text(&pair, &name, checks)?;
        let shown = case["image"].as_str().unwrap_or("");
        let shown = self.images.names.iter().position(|image| image == shown);
        let shown = shown.ok_or("an unknown image")?;
        self.image(&pair, shown, &name, checks)?;
        for side in ["text_mlm_loss_valid", "imgfeat_feat_loss_valid"] {
            // Which side was masked shows in the targets.
            checks.round_off(&name(side));
        }
        let labels = (&self.images.labels[shown], &*self.images.class_names);
        let example = &self.rows.0[row];
        similarities(
            case,
            example,
            labels,
            &self.vectors,
            &name("similarity"),
            checks,
        );
        Ok(())
    }

    fn text(
        &self,
        pair: &EncodedPair,
        name: &dyn Fn(&str) -> String,
        checks: &mut Checks,
    ) -> Result<(), String> {
        let pad = |mut ids: Vec<i64>| {
            ids.resize(self.text, 0);
            ids
        };
        let ids = &pair.sequence.input_ids;
        let present = pad(vec![1; ids.len()]);
        let ids = pad(ids.iter().map(|id| i64::from(*id)).collect());
        let (mut labels, mut targets) = (ids.clone(), vec![0; ids.len()]);
        for token in &pair.masked {
            labels[token.position as usize] = i64::from(token.label);
            targets[token.position as usize] = 1;
        }
        let matched = pair.relation == 0;
        equal(checks, &name("text_input_ids"), &ids)?;
        equal(checks, &name("text_mask"), &present)?;
        equal(checks, &name("text_outside_weight"), &targets)?;
        equal(checks, &name("itm_label"), &[i64::from(matched)])?;
        match matched {
            true => equal(checks, &name("text_mlm_label_ids"), &labels),
            // Nothing predicts them.
            false => {
                checks.round_off(&name("text_mlm_label_ids"));
                Ok(())
            }
        }
    }

    fn image(
        &self,
        pair: &EncodedPair,
        shown: usize,
        name: &dyn Fn(&str) -> String,
        checks: &mut Checks,
    ) -> Result<(), String> {
        let (handle, _) = &pair.sequence.regions[0];
        let (count, width) = (handle.len(), handle.dim() - 6);
        let mut values = vec![0.0; count * handle.dim()];
        handle
            .copy_into(&mut values)
            .map_err(|error| error.to_string())?;
        checks.exact(&name("image"), &values, &self.images.values[shown]);
        let rows = values.chunks(handle.dim());
        let mut features: Vec<Vec<f32>> = rows.clone().map(|row| row[..width].to_vec()).collect();
        let mut predicted = vec![0; count];
        for mask in &pair.regions {
            let at = mask.region as usize;
            predicted[at] = i64::from(mask.predicted);
            match &mask.becomes {
                RegionMask::Zeros => features[at].fill(0.0),
                RegionMask::Other(other) => features[at].clone_from(other),
                RegionMask::Unchanged => {}
            }
        }
        equal(checks, &name("imgfeat_outside_weight"), &predicted)?;
        let known = &self.images.labels[shown];
        let whole = |ids: &[u16]| ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
        equal(checks, &name("imgfeat_obj_label"), &whole(&known.objects))?;
        equal(
            checks,
            &name("imgfeat_attr_label"),
            &whole(&known.attributes),
        )?;
        let tensor = |shape: Vec<usize>, data: Vec<f32>| HostTensor {
            shape,
            data: data.into_iter().map(f64::from).collect(),
        };
        let boxes = rows.flat_map(|row| {
            let at = &row[width..];
            [at[0], at[1], at[2], at[3], at[4] * at[5]]
        });
        for (what, got) in [
            (
                "imgfeat_input",
                tensor(vec![count, width], features.concat()),
            ),
            (
                "imgfeat_obj_weight",
                tensor(vec![count], known.object_scores.clone()),
            ),
            (
                "imgfeat_attr_weight",
                tensor(vec![count], known.attribute_scores.clone()),
            ),
            ("imgfeat_bbox", tensor(vec![count, 5], boxes.collect())),
        ] {
            checks.tensor(&name(what), &got);
        }
        Ok(())
    }
}

/// Compares whole numbers with the expected tensor `name`.
fn equal(checks: &mut Checks, name: &str, got: &[i64]) -> Result<(), String> {
    let expected = checks.expected.get(name)?;
    let expected: Vec<i64> = expected.data.iter().map(|value| *value as i64).collect();
    checks.exact_tensor(name, got, &expected);
    Ok(())
}

/// Every example of the set, and the overlaps of every image's regions.
pub fn check(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let cases = read_json(&set.dir.join("cases.json"))?;
    let golden = Golden::open(set, &cases)?;
    for (at, name) in golden.images.names.iter().enumerate() {
        overlaps(&golden.images, at, &format!("iou.{name}"), &mut checks);
    }
    for (number, case) in cases["cases"].as_array().into_iter().flatten().enumerate() {
        golden.case(number, case, &mut checks)?;
    }
    Ok(checks.finish())
}

fn overlaps(images: &Images, at: usize, name: &str, checks: &mut Checks) {
    let rows: Vec<[f32; 4]> = images.values[at]
        .chunks(images.dim)
        .filter_map(|row| row[images.dim - 6..].first_chunk().copied())
        .collect();
    let pixel = images.sizes[at].map(|side| 1.0 / side);
    let all = rows
        .iter()
        .flat_map(|a| rows.iter().map(|b| f64::from(overlap(*a, *b, pixel))));
    let data: Vec<f64> = all.collect();
    checks.tensor(
        name,
        &HostTensor {
            shape: vec![rows.len(), rows.len()],
            data,
        },
    );
}

fn similarities(
    case: &Value,
    example: &Example,
    (labels, names): (&RegionLabels, &LabelNames),
    vectors: &WordVectors,
    name: &str,
    checks: &mut Checks,
) {
    let Some(graph) = &example.graph else { return };
    let found = Similarities::new(
        graph,
        Some((labels, names)),
        labels.objects.len(),
        Some(vectors),
        0.5,
    );
    let Some(expected) = checks.expected.find(name).cloned() else {
        return;
    };
    let width = expected.last();
    let mut got = HostTensor {
        shape: expected.shape.clone(),
        data: vec![0.0; expected.data.len()],
    };
    for (word, row) in &found.of_words {
        for piece in numbers(&case["words"][*word]) {
            // After [CLS].
            let start = (piece + 1) * width;
            for (at, value) in row.iter().enumerate() {
                got.data[start + at] = f64::from(*value);
            }
        }
    }
    let worst = got
        .data
        .iter()
        .zip(&expected.data)
        .map(|(a, b)| (a - b).abs());
    checks.within_tensor(name, worst.fold(0.0, f64::max), 1e-5);
}
