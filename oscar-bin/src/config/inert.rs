//! Keys that have no effect beside the others: who sets one is told.

use serde_json::Value as Json;

/// A key, or the table of keys below it; when it has no effect; and why.
type Rule = (&'static str, fn(&Json) -> bool, &'static str);

const RULES: &[Rule] = &[
    ("model.vocab_size", always, "it follows the vocabulary"),
    (
        "model.img_feature_dim",
        has_regions,
        "it follows the regions",
    ),
    (
        "model.num_contrast_classes",
        always,
        "it follows encoder.contrast",
    ),
    (
        "model.tie_weights",
        is_captioning,
        "it follows task.tie_weights",
    ),
    (
        "model.freeze_embedding",
        is_captioning,
        "it follows task.freeze_embedding",
    ),
    (
        "optimizer.clip_at",
        never_clips,
        "optimizer.max_grad_norm is 0",
    ),
    (
        "task.scst",
        |all| is_off(all, "/task/scst/enabled"),
        "task.scst.enabled is false",
    ),
    (
        "task.constraints",
        |all| is_off(all, "/task/constraints/enabled"),
        "task.constraints.enabled is false",
    ),
    (
        "task.generation.length_penalty",
        |all| number(all, "/task/generation/num_beams") == Some(1.0),
        "task.generation.num_beams is 1",
    ),
    (
        "task.drop_worst_after",
        |all| number(all, "/task/drop_worst_ratio") == Some(0.0),
        "task.drop_worst_ratio is 0",
    ),
    ("task.mask_prob", is_rewarded, "task.scst.enabled is true"),
    (
        "task.max_masked_tokens",
        is_rewarded,
        "task.scst.enabled is true",
    ),
    (
        "task.label_smoothing",
        is_rewarded,
        "task.scst.enabled is true",
    ),
    (
        "task.drop_worst_ratio",
        is_rewarded,
        "task.scst.enabled is true",
    ),
    (
        "encoder.contrast",
        |all| lacks_objective(all, "contrastive"),
        "contrastive is not among the objectives",
    ),
    (
        "encoder.contrast.start_step",
        |all| number(all, "/encoder/contrast/polluted") == Some(0.0),
        "encoder.contrast.polluted is 0",
    ),
    (
        "encoder.mask_text_b",
        |all| is_off(all, "/encoder/use_text_b"),
        "encoder.use_text_b is false",
    ),
    (
        "encoder.mask_probability",
        |all| lacks_objective(all, "masked_tokens"),
        "masked_tokens is not among the objectives",
    ),
    (
        "grounding.words",
        |all| number(all, "/grounding/examples") == Some(0.0),
        "grounding.examples is 0",
    ),
    (
        "grounding.rate",
        |all| number(all, "/grounding/examples") == Some(0.0),
        "grounding.examples is 0",
    ),
];

fn always(_: &Json) -> bool {
    true
}

fn has_regions(all: &Json) -> bool {
    let regions = ["/data/train/regions", "/data/mix/0/regions"];
    regions.iter().any(|key| {
        all.pointer(key)
            .and_then(Json::as_str)
            .is_some_and(|path| !path.is_empty())
    })
}

fn is_captioning(all: &Json) -> bool {
    all.pointer("/task/scst").is_some()
}

fn never_clips(all: &Json) -> bool {
    number(all, "/optimizer/max_grad_norm") == Some(0.0)
}

fn is_off(all: &Json, key: &str) -> bool {
    all.pointer(key) == Some(&Json::Bool(false))
}

fn is_rewarded(all: &Json) -> bool {
    all.pointer("/task/scst/enabled") == Some(&Json::Bool(true))
}

/// Whether the recipe lists its objectives, and this is not one of them.
fn lacks_objective(all: &Json, name: &str) -> bool {
    let listed = all.pointer("/objective").and_then(Json::as_array);
    listed.is_some_and(|listed| {
        !listed.is_empty() && listed.iter().all(|objective| objective["name"] != name)
    })
}

fn number(all: &Json, key: &str) -> Option<f64> {
    all.pointer(key)?.as_f64()
}

/// Why `key` has no effect in the resolved configuration `all`, if it has none.
pub fn reason(key: &str, all: &Json) -> Option<&'static str> {
    let of = |rule: &str| {
        key.strip_prefix(rule)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    RULES
        .iter()
        .filter(|(rule, ..)| of(rule))
        // What switches a table on or off always has an effect.
        .filter(|_| !key.ends_with(".enabled"))
        .find(|(_, inert, _)| inert(all))
        .map(|(.., why)| *why)
}
