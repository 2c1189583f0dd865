//! What each head of each layer attends to, as data for other tools.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use oscar_files::{FileError, write_file, write_json};
use oscar_task::explain::{Inspected, Segment};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value as Json, json};

/// Writes the attention of `sequences` to `path`, as its ending says.
///
/// In a safetensors file `attention.N` is that of sequence N, `[layers, heads, positions, positions]`:
/// how much each position (row) attends to each (column). The metadata has `positions`, a JSON list of
/// what the positions are. A JSON file has both.
///
/// # Errors
/// If the ending is neither `.json` nor `.safetensors`, or the file cannot be written.
pub fn write(path: &Path, sequences: &[Inspected]) -> Result<()> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => {
            let sequences: Vec<Json> = sequences.iter().map(document).collect();
            Ok(write_json(path, &json!({ "sequences": sequences }))?)
        }
        Some("safetensors") => write_tensors(path, sequences),
        _ => bail!(
            "{}: attention is written as .json or .safetensors; choose one of these endings",
            path.display()
        ),
    }
}

/// Layers, heads and positions of a sequence.
fn shape(sequence: &Inspected) -> [usize; 3] {
    let positions = sequence.len();
    let layers = &sequence.attention_by_head;
    let heads = layers
        .first()
        .map_or(0, |layer| layer.len() / (positions * positions).max(1));
    [layers.len(), heads, positions]
}

fn write_tensors(path: &Path, sequences: &[Inspected]) -> Result<()> {
    let bytes: Vec<Vec<u8>> = sequences
        .iter()
        .map(|sequence| {
            let values = sequence.attention_by_head.iter().flatten();
            values.flat_map(|value| value.to_le_bytes()).collect()
        })
        .collect();
    let mut views = Vec::with_capacity(sequences.len());
    for (at, (sequence, bytes)) in sequences.iter().zip(&bytes).enumerate() {
        let [layers, heads, positions] = shape(sequence);
        let shape = vec![layers, heads, positions, positions];
        views.push((
            format!("attention.{at}"),
            TensorView::new(Dtype::F32, shape, bytes)?,
        ));
    }
    let positions: Vec<Json> = sequences.iter().map(positions).collect();
    let metadata = HashMap::from([("positions".to_string(), json!(positions).to_string())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| anyhow!(error))?;
    write_file(path, &file).map_err(|error: FileError| anyhow!(error))
}

/// What the positions of a sequence are.
fn positions(sequence: &Inspected) -> Json {
    let tokens = sequence.tokens.iter().map(|token| {
        let segment = match token.segment {
            Segment::Special => "special",
            Segment::Text => "text",
            Segment::Tags => "tags",
        };
        json!({ "token": token.text, "segment": segment })
    });
    let regions = sequence.regions.iter();
    let regions =
        regions.map(|region| json!({ "image": region.image, "relative_box": region.relative }));
    tokens.chain(regions).collect()
}

fn document(sequence: &Inspected) -> Json {
    let [_, heads, count] = shape(sequence);
    let square =
        |values: &[f32]| -> Json { values.chunks_exact(count).map(|row| json!(row)).collect() };
    let layer = |values: &Vec<f32>| -> Json {
        let heads = values.chunks_exact((values.len() / heads.max(1)).max(1));
        heads.map(square).collect()
    };
    let layers: Json = sequence.attention_by_head.iter().map(layer).collect();
    json!({ "positions": positions(sequence), "attention": layers })
}
