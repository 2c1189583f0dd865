//! Where the weights of a new run start: never at random without a word.

use anyhow::{Result, bail};
use oscar_train::InitConfig;

/// The module name that stands for all of them.
const ALL: &str = "all";

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
