//! Which parameters of the backbone a weight file lacks, under their official names.

use std::collections::HashSet;

/// Those of the embeddings. What projects regions is missing from every text-only BERT.
const EMBEDDINGS: [&str; 5] = [
    "word_embeddings.weight",
    "position_embeddings.weight",
    "token_type_embeddings.weight",
    "LayerNorm.weight",
    "LayerNorm.bias",
];

/// The modules of a layer, each with a weight and a bias.
const LAYER: [&str; 8] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
];

/// Embeddings and layers of a backbone of `layers` layers that are not among `names`; nothing if the file has
/// no such backbone. The pooler is none of them: models for masked tokens are published without it.
pub(super) fn lacking<'a>(names: impl Iterator<Item = &'a str>, layers: usize) -> Vec<String> {
    let names: HashSet<&str> = names.collect();
    if !names
        .iter()
        .any(|name| name.starts_with("bert.encoder.layer."))
    {
        return Vec::new();
    }
    let embeddings = EMBEDDINGS.map(|name| format!("bert.embeddings.{name}"));
    let of_layers = (0..layers).flat_map(|layer| {
        let module = move |module| format!("bert.encoder.layer.{layer}.{module}");
        LAYER.into_iter().map(module)
    });
    let of_layers =
        of_layers.flat_map(|module| [format!("{module}.weight"), format!("{module}.bias")]);
    embeddings
        .into_iter()
        .chain(of_layers)
        .filter(|name| !names.contains(&**name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backbone_lacks_is_named() {
        let layer = |number: usize| {
            let modules = LAYER.iter();
            modules.flat_map(move |module| {
                ["weight", "bias"]
                    .map(|part| format!("bert.encoder.layer.{number}.{module}.{part}"))
            })
        };
        let embeddings = EMBEDDINGS.iter();
        let embeddings = embeddings.map(|name| format!("bert.embeddings.{name}"));
        let mut names: Vec<String> = embeddings.chain(layer(0)).chain(layer(1)).collect();
        let lacking = |names: &[String]| lacking(names.iter().map(String::as_str), 2);
        assert!(lacking(&names).is_empty());
        let removed = names.remove(7);
        assert_eq!(lacking(&names), [removed]);
        assert!(lacking(&["transformer.wte.weight".into()]).is_empty());
    }
}
