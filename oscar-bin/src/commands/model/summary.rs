//! What `model import` and `model inspect` both print of a file of weights.

use std::io::Write;

use anyhow::Result;
use oscar_core::checkpoint::Inspection;
use oscar_core::config::RegionProjection;

use crate::output::thousands;

/// Prints the format, the model and the sizes of a weights file.
///
/// # Errors
/// If it cannot be written.
pub fn print_summary(out: &mut impl Write, described: &Inspection) -> Result<()> {
    writeln!(
        out,
        "{} file: {}; {} parameters in {} tensors ({})",
        described.format.name(),
        described.model,
        thousands(described.parameters),
        described.tensors.len(),
        types(described)
    )?;
    let sizes = described.sizes;
    if let Some(hidden) = sizes.hidden_size {
        let image = match sizes.img_feature_dim {
            Some(values) => {
                let split = match sizes.region_projection {
                    RegionProjection::Joined => "",
                    RegionProjection::Split => ", features and boxes projected apart,",
                };
                let norm = match sizes.use_img_layernorm {
                    true => " with LayerNorm",
                    false => "",
                };
                format!("regions of {values} values{split}{norm}")
            }
            None => "no image input (a text-only BERT)".into(),
        };
        writeln!(
            out,
            "{} layers of hidden size {hidden}, vocabulary size {}, {image}",
            sizes.num_hidden_layers,
            sizes.vocab_size.unwrap_or_default(),
        )?;
    }
    for names in &described.tied {
        writeln!(out, "tied: {}", names.join(" = "))?;
    }
    for change in &described.changes {
        writeln!(out, "changed: {change}")?;
    }
    Ok(())
}

/// The types of the tensors, `F32` or `F16, F32`.
fn types(described: &Inspection) -> String {
    let types: std::collections::BTreeSet<_> = described
        .tensors
        .iter()
        .map(|tensor| tensor.dtype.as_str())
        .collect();
    types.into_iter().collect::<Vec<_>>().join(", ")
}
