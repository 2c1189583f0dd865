//! Where the weights of a new run start: never at random without a word.

use anyhow::{Result, bail};
use oscar_train::InitConfig;

/// The module name that stands for all of them.
const ALL: &str = "all";
/// Keys of `[model]` that decide the shapes of the backbone's weights.
const SHAPE: [&str; 5] = [
    "preset",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
];

/// Whether settings (`KEY=VALUE`) give the backbone a shape of its own.
pub fn reshapes(sets: &[String]) -> bool {
    let key = |set: &String| {
        let (key, _) = set.split_once('=')?;
        Some(key.trim().strip_prefix("model.")?.to_owned())
    };
    sets.iter()
        .filter_map(key)
        .any(|key| SHAPE.contains(&key.as_str()))
}

/// Checks that a recipe which is meant to start from weights names some, or says that it starts without;
/// logs that the weights are random where they are: as a warning if they are usually not
/// (`is_unusual`). A recipe without `data.train` cannot start either way, which the error says as well.
///
/// # Errors
/// If there are no start weights although the recipe requires some.
pub fn check(recipe: &str, init: &InitConfig, is_unusual: bool, has_data: bool) -> Result<()> {
    if init.checkpoint.is_some() {
        return Ok(());
    }
    let all_random = init.random.iter().any(|module| module == ALL);
    if init.required && !all_random {
        let data = match has_data {
            true => "",
            false => {
                ". data.train is not set either: it names the corpus or the questions to train on"
            }
        };
        bail!(
            "the recipe {recipe} starts from pre-trained weights, and init.checkpoint is not set: name \
             them with --init CHECKPOINT, or start from random weights with --init-random all{data}"
        );
    }
    if !all_random && (is_unusual || !init.random.is_empty()) {
        tracing::warn!(
            "all weights are initialised randomly, since init.checkpoint is not set: name start weights \
             with --init CHECKPOINT, or confirm it with --init-random all"
        );
    } else {
        tracing::info!("all weights are initialised randomly: there is no init.checkpoint");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_of_ones_own_is_known_by_its_keys() {
        let reshapes = |set: &str| super::reshapes(&[set.to_string()]);
        assert!(reshapes("model.preset=tiny") && reshapes(" model.num_hidden_layers = 2"));
        assert!(!reshapes("model.img_feature_dim=14") && !reshapes("train.steps=1"));
    }

    #[test]
    fn random_weights_are_asked_for_where_weights_are_required() {
        let is_allowed = |checkpoint: Option<&str>, random: &[&str], required: bool| {
            let init = InitConfig {
                checkpoint: checkpoint.map(Into::into),
                random: random.iter().map(ToString::to_string).collect(),
                required,
            };
            check("r", &init, true, true).is_ok()
        };
        assert!(!is_allowed(None, &[], true));
        assert!(!is_allowed(None, &["bert.img_embedding"], true));
        assert!(is_allowed(None, &["bert.img_embedding", "all"], true));
        assert!(is_allowed(Some("w"), &[], true));
        assert!(is_allowed(None, &[], false));
    }
}
