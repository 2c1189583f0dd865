//! The keys of a configuration, and the nearest to a misspelt one.

use anyhow::{Result, bail};
use serde_json::Value as Json;

use super::configuration::Configuration;

/// A JSON tree with every key there is; of a list of tables, with those of one table.
pub fn known_keys<C: Configuration>() -> Json {
    let mut known = serde_json::to_value(C::complete()).unwrap_or_default();
    known["model"]["preset"] = Json::Null;
    known
}

/// Refuses the first key of `layer` that is not in `known`.
pub fn check_keys(known: &Json, layer: &Json, origin: &str) -> Result<()> {
    let Some(unknown) = find_unknown(known, layer, "") else {
        return Ok(());
    };
    let mut keys = Vec::new();
    list_keys(known, "", &mut keys);
    let hint = match meant(&unknown, &keys) {
        Some(key) => format!("; did you mean {key}?"),
        None => match misspelt(&unknown, &keys) {
            Some(key) => format!("; the nearest known key is {key}"),
            None if known.get("task").is_some() => {
                "; `oscar-bin recipes --keys --task TASK` lists the keys".into()
            }
            None => "; `oscar-bin recipes --keys` lists the keys".into(),
        },
    };
    bail!("unknown key {unknown} in {origin}{hint}")
}

/// What others call keys, without `-` and `_`.
const SYNONYMS: &[(&str, &str)] = &[
    ("lr", "optimizer.learning_rate"),
    ("baselr", "optimizer.learning_rate"),
    ("batch", "train.batch_size"),
    ("bs", "train.batch_size"),
    ("trainbatchsize", "train.batch_size"),
    ("pergputrainbatchsize", "train.batch_size"),
    ("perdevicetrainbatchsize", "train.batch_size"),
    ("epoch", "epochs"),
    ("nepochs", "epochs"),
    ("numepochs", "epochs"),
    ("maxepochs", "epochs"),
    ("numtrainepochs", "epochs"),
    ("maxsteps", "train.steps"),
    ("numsteps", "train.steps"),
    ("maxiter", "train.steps"),
    ("iterations", "train.steps"),
    ("t", "train.steps"),
    ("gradientaccumulationsteps", "train.accumulation"),
    ("gradaccum", "train.accumulation"),
    ("accum", "train.accumulation"),
    ("accumulategradbatches", "train.accumulation"),
    ("wd", "optimizer.weight_decay"),
    ("decay", "optimizer.weight_decay"),
    ("eps", "optimizer.epsilon"),
    ("adamepsilon", "optimizer.epsilon"),
    ("warmup", "optimizer.warmup_steps"),
    ("gradclip", "optimizer.max_grad_norm"),
    ("clip", "optimizer.max_grad_norm"),
    ("gradientclipval", "optimizer.max_grad_norm"),
    ("epochs", "train.steps"),
    ("dropout", "model.hidden_dropout_prob"),
    ("dropoutprob", "model.hidden_dropout_prob"),
    ("attentiondropout", "model.attention_probs_dropout_prob"),
    ("hiddendim", "model.hidden_size"),
    ("layers", "model.num_hidden_layers"),
    ("heads", "model.num_attention_heads"),
    ("ffndim", "model.intermediate_size"),
    ("numworkers", "train.workers"),
    ("dtype", "train.precision"),
    ("bf16", "train.precision"),
    ("fp16", "train.precision"),
    ("amp", "train.precision"),
    ("evalsteps", "train.validate_every"),
    ("evalevery", "train.validate_every"),
    ("valevery", "train.validate_every"),
    ("savesteps", "train.save_every"),
    ("savetotallimit", "train.keep_checkpoints"),
    ("loggingsteps", "train.log_every"),
    ("randomseed", "train.seed"),
    ("maxseqlen", "encoder.max_seq_length"),
    ("maxlength", "encoder.max_seq_length"),
    ("maximgseqlength", "encoder.max_regions"),
    ("mlmprobability", "encoder.mask_probability"),
    ("maskprob", "encoder.mask_probability"),
    ("modelnameorpath", "init.checkpoint"),
    ("pretrained", "init.checkpoint"),
    ("checkpoint", "init.checkpoint"),
    ("vocabfile", "data.vocab"),
];

/// The known key that `unknown` is another name of, or the end of.
fn meant<'a>(unknown: &str, keys: &'a [String]) -> Option<&'a str> {
    let name = unknown.rsplit('.').next().unwrap_or(unknown);
    let known = |key: &str| keys.iter().map(String::as_str).find(|known| *known == key);
    let mut same_end = keys
        .iter()
        .filter(|key| key.rsplit('.').next() == Some(name));
    // `steps` is `train.steps`; an end that several keys have names none of them.
    if let (Some(key), None) = (same_end.next(), same_end.next()) {
        return Some(key);
    }
    let plain = name.to_lowercase().replace(['-', '_'], "");
    let synonym = SYNONYMS.iter().find(|(other, _)| *other == plain);
    synonym.and_then(|(_, key)| known(key))
}

/// The known key that `unknown` may be a misspelling of: the names themselves are alike, not only the
/// tables that they are in.
fn misspelt<'a>(unknown: &str, keys: &'a [String]) -> Option<&'a str> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let own = name(unknown);
    let keys = keys.iter().map(String::as_str);
    nearest(
        unknown,
        keys.filter(|key| likeness(&own, &name(key)) >= ALIKE),
    )
}

fn find_unknown(known: &Json, layer: &Json, path: &str) -> Option<String> {
    if let (Some([known]), Json::Array(layer)) = (known.as_array().map(Vec::as_slice), layer) {
        let mut items = layer.iter().enumerate();
        return items.find_map(|(at, item)| find_unknown(known, item, &format!("{path}[{at}]")));
    }
    let layer = layer.as_object()?;
    // A leaf that is no table has no keys to check; a wrong type is reported when it is read.
    let known = known.as_object()?;
    layer.iter().find_map(|(key, value)| {
        let path = join(path, key);
        match known.get(key) {
            None => Some(only_leaf(path, value)),
            Some(known) => find_unknown(known, value, &path),
        }
    })
}

/// The whole key if only one is below the unknown component: `trian.steps`, not `trian`.
fn only_leaf(path: String, value: &Json) -> String {
    match value
        .as_object()
        .map(|table| (table.len(), table.iter().next()))
    {
        Some((1, Some((key, value)))) => only_leaf(join(&path, key), value),
        _ => path,
    }
}

fn list_keys(known: &Json, path: &str, keys: &mut Vec<String>) {
    if let Some([item]) = known.as_array().map(Vec::as_slice) {
        list_keys(item, &format!("{path}[0]"), keys);
    }
    for (key, value) in known.as_object().into_iter().flatten() {
        let path = join(path, key);
        list_keys(value, &path, keys);
        keys.push(path);
    }
}

/// The keys whose value is an empty text.
pub fn empty_keys(values: &Json) -> Vec<String> {
    fn find(value: &Json, path: &str, found: &mut Vec<String>) {
        match value {
            Json::String(text) if text.is_empty() => found.push(path.into()),
            Json::Object(table) => {
                for (key, value) in table {
                    find(value, &join(path, key), found);
                }
            }
            Json::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    find(item, &format!("{path}[{at}]"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    find(values, "", &mut found);
    found
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.into()
    } else {
        format!("{path}.{key}")
    }
}

/// How much of a misspelt word is right.
const ALIKE: f64 = 0.6;

/// The candidate most like `word`.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.max_by(|a, b| likeness(word, a).total_cmp(&likeness(word, b)))
}

/// The candidate most like `word`, if `word` may be a misspelling of it.
pub fn similar<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest(word, candidates).filter(|candidate| likeness(word, candidate) >= ALIKE)
}

fn likeness(word: &str, candidate: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(word, candidate)
}
