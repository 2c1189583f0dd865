//! The pickles of the official preprocessing.

use oscar_clipcap::data::pickle;
use oscar_clipcap::{Gpt2Tokenizer, PADDING};
use oscar_datasets::ImageSource;
use serde_json::Value;

use crate::check::{Checks, Report};
use crate::host::HostTensor;
use crate::set::{Set, read_json};

/// Embeddings, captions and tokens; and that the wrong pairs of the second pickle are put right.
pub fn check(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let expected = read_json(&set.dir.join("expected.json"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(text).collect()
    };
    let open = |name: &str| pickle::open(&set.dir.join(name)).map_err(|error| error.to_string());

    let (embeddings, captions) = open("oscar_split_ViT-B_32_train.pkl")?;
    let rows: Vec<usize> = (0..embeddings.len()).collect();
    let read = |embeddings: &pickle::PickledEmbeddings, rows: &[usize]| {
        let values = rows.iter().flat_map(|row| embeddings.embedding(*row));
        HostTensor {
            shape: vec![rows.len(), embeddings.dim()],
            data: values.map(f64::from).collect(),
        }
    };
    checks.tensor("embeddings", &read(&embeddings, &rows));
    let of_captions: Vec<usize> = captions.iter().map(|caption| caption.row).collect();
    let numbers: Vec<f64> = of_captions.iter().map(|row| *row as f64).collect();
    let wanted = checks.expected.get("caption2embedding")?.data.clone();
    checks.exact_tensor("caption2embedding", &numbers, &wanted);
    let prefix = read(&embeddings, &of_captions);
    checks.tensor("prefix", &prefix);
    let normalized = prefix.data.chunks(prefix.last()).flat_map(|row| {
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.iter().map(move |value| value / length)
    });
    let normalized = HostTensor {
        shape: prefix.shape.clone(),
        data: normalized.collect(),
    };
    checks.tensor("prefix.normalized", &normalized);
    let texts: Vec<String> = captions
        .iter()
        .map(|caption| caption.caption.clone())
        .collect();
    checks.exact("captions", &texts, &list(&expected["captions"]));
    let images: Vec<String> = captions
        .iter()
        .map(|caption| caption.image.clone())
        .collect();
    checks.exact("images", &images, &list(&expected["image_ids"]));
    tokens(set, &texts, &expected, &mut checks)?;

    for split in ["val", "train"] {
        let (embeddings, captions) = open(&format!("conceptual_clip_ViT-B_32_{split}.pkl"))?;
        let rows: Vec<usize> = (0..embeddings.len()).collect();
        let name = format!("conceptual.{split}.embeddings");
        checks.tensor(&name, &read(&embeddings, &rows));
        let found: Vec<usize> = captions.iter().map(|caption| caption.row).collect();
        checks.exact(
            &format!("{split}: each caption has its own row"),
            &found,
            &rows,
        );
        let wanted = expected["conceptual"][split]["captions"].as_array();
        let wanted: Vec<String> = wanted
            .into_iter()
            .flatten()
            .map(|caption| text(&caption["caption"]))
            .collect();
        let texts: Vec<String> = captions
            .into_iter()
            .map(|caption| caption.caption)
            .collect();
        checks.exact(&format!("{split}: captions"), &texts, &wanted);
    }
    Ok(checks.finish())
}

/// Tokens of the captions, cut and filled up as the official data set does; and its first masks, which
/// follow from their lengths.
fn tokens(
    set: &Set,
    texts: &[String],
    expected: &Value,
    checks: &mut Checks,
) -> Result<(), String> {
    let tokenizer = Gpt2Tokenizer::open(&set.dir).map_err(|error| error.to_string())?;
    let number = |key: &str| expected[key].as_u64().unwrap_or(0) as usize;
    let (longest, prefix) = (number("max_seq_len"), number("prefix_length"));
    let (mut tokens, mut mask) = (Vec::new(), Vec::new());
    for text in texts {
        let mut ids = tokenizer.encode(text);
        ids.truncate(longest);
        let real = prefix + ids.len();
        mask.extend((0..prefix + longest).map(|at| f64::from(u8::from(at < real))));
        ids.resize(longest, PADDING);
        tokens.extend(ids.iter().map(|id| f64::from(*id)));
    }
    let wanted = |name: &str| Ok::<_, String>(checks.expected.get(name)?.data.clone());
    let (ids, first) = (wanted("tokens")?, wanted("mask.first_access")?);
    checks.exact_tensor("tokens", &tokens, &ids);
    checks.exact_tensor("mask.first_access", &mask, &first);
    Ok(())
}
