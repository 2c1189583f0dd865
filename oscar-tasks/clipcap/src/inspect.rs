//! What a caption attends to: the words before, and the picture.

use burn::tensor::{Int, Tensor, TensorData};
use oscar_core::ops::OscarBackend;
use oscar_task::explain::{Inspected, Region, Segment, Token};

use crate::gpt2::Gpt2Tokenizer;
use crate::model::ClipCap;

/// Where the picture is in itself.
const WHOLE: [f32; 4] = [0.0, 0.0, 1.0, 1.0];

/// A caption `ids` of the picture `key` with this embedding `[1, embedding_dim]`. Its positions are the
/// words and one region, which stands for all vectors of the prefix: attention to them is added up.
pub(crate) fn inspect<B: OscarBackend>(
    model: &ClipCap<B>,
    embedding: Tensor<B, 2>,
    (ids, tokenizer): (&[u32], &Gpt2Tokenizer),
    key: String,
    attention: bool,
) -> Inspected {
    let device = embedding.device();
    let prefix = model.prefix(embedding);
    let length = prefix.dims()[1];
    let vectors = match ids.is_empty() {
        true => prefix,
        false => {
            let shape = [1, ids.len()];
            let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
            let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, shape), &device);
            Tensor::cat(vec![prefix, model.gpt2().embed_words(ids)], 1)
        }
    };
    let found = model.gpt2().inspect(vectors);
    let [_, seq, width] = found.hidden.dims();
    let states: Vec<f32> = found.hidden.clone().into_data().iter::<f32>().collect();
    let states: Vec<&[f32]> = states.chunks_exact(width).collect();
    let mut of_positions: Vec<Vec<f32>> = states[length..]
        .iter()
        .map(|state| state.to_vec())
        .collect();
    of_positions.push(mean(&states[..length]));
    // Of each head, or of their mean.
    let squares = |heads: Tensor<B, 4>| -> Vec<f32> {
        let values: Vec<f32> = heads.into_data().iter::<f32>().collect();
        let squares = values.chunks_exact(seq * seq);
        let squares = squares.map(|square| square.chunks_exact(seq).collect::<Vec<_>>());
        squares.flat_map(|rows| of_layer(&rows, length)).collect()
    };
    let layers = || found.attentions.iter().filter(|_| attention).cloned();
    let tokens = ids.iter().map(|id| Token {
        text: tokenizer.token(*id).unwrap_or_default(),
        segment: Segment::Text,
        masked: None,
    });
    Inspected {
        tokens: tokens.collect(),
        regions: vec![Region {
            image: key,
            relative: Some(WHOLE),
        }],
        attention: layers().map(|heads| squares(heads.mean_dim(1))).collect(),
        attention_by_head: layers().map(squares).collect(),
        states: of_positions,
    }
}

/// Attention between words and region from that between all positions, of which the first `length` are
/// the prefix.
fn of_layer(rows: &[&[f32]], length: usize) -> Vec<f32> {
    let to_positions = |row: &[f32]| {
        let mut own = row[length..].to_vec();
        own.push(row[..length].iter().sum());
        own
    };
    let mut words: Vec<f32> = rows[length..]
        .iter()
        .flat_map(|row| to_positions(row))
        .collect();
    words.extend(to_positions(&mean(&rows[..length])));
    words
}

fn mean(rows: &[&[f32]]) -> Vec<f32> {
    let mut mean = vec![0.0; rows.first().map_or(0, |row| row.len())];
    for row in rows {
        for (sum, value) in mean.iter_mut().zip(*row) {
            *sum += value / rows.len() as f32;
        }
    }
    mean
}
