//! Sets of retrieval: ranks and recalls of a matrix of scores.

use oscar_task::ranks::{CUTS, caption_ranks, image_ranks, recall};
use serde_json::Value;

use crate::check::{Checks, Report};
use crate::set::{Set, read_json};

/// Compares the ranks and recalls of both ways, which must be equal.
pub fn check(set: &Set) -> Result<Report, String> {
    let expected = read_json(&set.dir.join("expected.json"))?;
    let number = |key: &str| {
        let number = expected[key].as_u64().filter(|number| *number > 0);
        number.map(|n| n as usize).ok_or(format!("no number {key}"))
    };
    let (images, each) = (number("images")?, number("captions_per_image")?);
    let scores: Vec<f32> = expected["similarities"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|score| score.as_f64().map(|score| score as f32))
        .collect();
    let width = images * each;
    if scores.len() != images * width {
        return Err(format!(
            "{} similarities of {images} x {width}",
            scores.len()
        ));
    }
    let i2t = image_ranks(&scores, width, |image, column| column / each == image);
    let owners: Vec<usize> = (0..width).map(|column| column / each).collect();
    let t2i = caption_ranks(&scores, &owners);

    let mut checks = Checks::default();
    for (way, ranks) in [("i2t", &i2t), ("t2i", &t2i)] {
        let name = format!("{way}_ranks");
        checks.exact(&name, &Value::from(ranks.clone()), &expected[&name]);
        for cut in CUTS {
            let name = format!("R@{cut}");
            let found = Value::from(recall(ranks, cut));
            checks.exact(&format!("{way} {name}"), &found, &expected[way][&name]);
        }
    }
    Ok(checks.finish())
}
