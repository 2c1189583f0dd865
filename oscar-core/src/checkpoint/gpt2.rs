//! Names of the tensors of GPT-2 in files, as they are in ClipCap.
//!
//! | file | prefix | more tensors |
//! |---|---|---|
//! | HuggingFace's `gpt2` | none: `wte.weight`, `h.0.attn.c_attn.weight` | `h.0.attn.bias`, the causal mask |
//! | saved by `GPT2LMHeadModel` | `transformer.` | `lm_head.weight`, the word embedding again |
//! | ClipCap's | `gpt.transformer.` | the same, and `attn.masked_bias` |

use super::official::Change;
use super::weights::Weight;

const PREFIX: &str = "gpt.transformer.";
const WORDS: &str = "gpt.transformer.wte.weight";
const HEAD: &str = "gpt.lm_head.weight";

/// Buffers of the attention, which follow from the model's sizes.
const BUFFERS: [&str; 2] = [".attn.bias", ".attn.masked_bias"];

/// Gives the weights of a GPT-2 the names that they have in ClipCap, and leaves out what repeats
/// others or is no weight; files of other models stay as they are.
///
/// # Errors
///
/// If the output matrix is not the word embedding: the model ties them.
pub(super) fn rename(weights: &mut Vec<Weight>) -> Result<Vec<Change>, String> {
    let has = |name: &str| weights.iter().any(|weight| weight.name == name);
    let (own, head) = match (has(WORDS), has("transformer.wte.weight"), has("wte.weight")) {
        (true, ..) => (PREFIX, HEAD),
        (_, true, _) => ("transformer.", "lm_head.weight"),
        (.., true) => ("", "lm_head.weight"),
        _ => return Ok(Vec::new()),
    };
    let mut changes = Vec::new();
    if own != PREFIX {
        changes.push(Change::Gpt2);
        for weight in weights.iter_mut() {
            if weight.name == head {
                weight.name = HEAD.into();
            } else if let Some(name) = weight.name.strip_prefix(own) {
                weight.name = format!("{PREFIX}{name}");
            }
        }
    }
    check_tied(weights)?;
    weights.retain(|weight| {
        let buffer =
            weight.name.starts_with(PREFIX) && BUFFERS.iter().any(|end| weight.name.ends_with(end));
        let keep = !buffer && weight.name != HEAD;
        if !keep {
            changes.push(Change::LeftOut(weight.name.clone()));
        }
        keep
    });
    Ok(changes)
}

fn check_tied(weights: &[Weight]) -> Result<(), String> {
    let find = |name: &str| weights.iter().find(|weight| weight.name == name);
    let (Some(words), Some(head)) = (find(WORDS), find(HEAD)) else {
        return Ok(());
    };
    let bytes = |weight: &Weight| {
        let bytes = weight.tensor.to_bytes();
        bytes.map_err(|error| format!("{}: {error}", weight.name))
    };
    match words.tensor.shape() == head.tensor.shape() && bytes(words)? == bytes(head)? {
        true => Ok(()),
        false => Err(
            "its output matrix lm_head.weight is not its word embedding wte.weight, to which GPT-2's \
             is tied; give weights of GPT-2"
                .into(),
        ),
    }
}
