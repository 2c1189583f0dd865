//! The official files of predictions.

use oscar_core::input::SourceError;
use oscar_task::Predictions;
use serde::Serialize;
use serde_json::{Value, json};

use crate::data::CaptionData;
use crate::generate::Described;

/// `image, [{"caption", "conf"}, ..]` per row: what the official code writes.
pub(crate) fn official(
    data: &CaptionData,
    described: &[Described],
) -> Result<Predictions, SourceError> {
    #[derive(Serialize)]
    struct One<'a> {
        caption: &'a str,
        conf: f64,
    }
    let mut content = Vec::new();
    for (image, described) in data.images().iter().zip(described) {
        let captions: Vec<One<'_>> = described
            .captions
            .iter()
            .map(|(caption, conf)| One {
                caption,
                conf: *conf,
            })
            .collect();
        content.extend_from_slice(image.key.as_bytes());
        content.push(b'\t');
        serde_json::to_writer(&mut content, &captions)?;
        content.push(b'\n');
    }
    Ok(Predictions {
        extension: "tsv",
        content,
    })
}

/// `[{"image_id", "caption"}, ..]`: COCO's format of results; ids that are numbers are written as
/// such, as its server wants them.
pub(crate) fn coco(
    data: &CaptionData,
    described: &[Described],
) -> Result<Predictions, SourceError> {
    let rows = data.images().iter().zip(described);
    let rows: Vec<Value> = rows
        .map(|(image, described)| json!({"image_id": id(&image.key), "caption": best(described)}))
        .collect();
    Ok(Predictions {
        extension: "coco.json",
        content: serde_json::to_vec(&rows)?,
    })
}

/// `[{"image_id", "caption", "id"}, ..]`: what EvalAI takes for NoCaps; `None` unless the images have
/// the numbers that NoCaps' file of images gives them.
pub(crate) fn nocaps(
    data: &CaptionData,
    described: &[Described],
) -> Result<Option<Predictions>, SourceError> {
    let named_otherwise = |image: &crate::Image| image.key != image.regions_key;
    let numbered = |image: &crate::Image| id(&image.key).is_number();
    let images = data.images();
    if !images.iter().all(numbered) || !images.iter().any(named_otherwise) {
        return Ok(None);
    }
    let rows = images.iter().zip(described).enumerate();
    let rows: Vec<Value> = rows
        .map(|(number, (image, described))| {
            json!({"image_id": id(&image.key), "caption": best(described), "id": number})
        })
        .collect();
    Ok(Some(Predictions {
        extension: "nocaps.json",
        content: serde_json::to_vec(&rows)?,
    }))
}

fn best(image: &Described) -> &str {
    image.captions.first().map_or("", |(caption, _)| caption)
}

/// A number if the text is one, written as numbers are.
fn id(key: &str) -> Value {
    match key.parse::<i64>() {
        Ok(number) if number.to_string() == key => json!(number),
        _ => json!(key),
    }
}
