//! Which files of a repository are needed.

use anyhow::{Result, bail};
use oscar_core::checkpoint::WEIGHT_FILES;
use oscar_files::hub::HubReference;

use super::table::Known;

/// Endings of weights under other names than the usual ones.
const WEIGHT_ENDINGS: [&str; 4] = [".safetensors", ".pth", ".pt", ".bin"];

/// Endings of configurations, vocabularies, lists of names and answer vocabularies.
const TEXT_ENDINGS: [&str; 5] = [".json", ".txt", ".yaml", ".yml", ".pkl"];

/// Arguments of the official training scripts.
const TRAINING_ARGS: &str = "training_args.bin";

/// Files that have such an ending and that nothing here reads.
const UNUSED: [&str; 4] = [
    "README.txt",
    "requirements.txt",
    "modules.json",
    "LICENSE.txt",
];

/// The files of a repository that are needed, weights last, so that where weights are there all is.
///
/// # Errors
/// If it lacks some, or it cannot be told which are the weights.
pub fn wanted(reference: &HubReference, files: &[String]) -> Result<Vec<String>> {
    match Known::of(reference) {
        Some(known) => of_known(reference, known, files),
        None => of_others(reference, files),
    }
}

fn of_known(reference: &HubReference, known: &Known, files: &[String]) -> Result<Vec<String>> {
    let has = |name: &&String| files.contains(name);
    let mut wanted: Vec<String> = known.optional.iter().filter(has).cloned().collect();
    if let Some(missing) = known.files.iter().find(|name| !has(name)) {
        bail!(
            "{reference} has no {missing}, which {} needs; it has {}",
            known.name,
            list(files)
        );
    }
    wanted.extend(known.files.iter().cloned());
    match known.one_of.iter().find(has) {
        Some(found) => wanted.push(found.clone()),
        None if known.one_of.is_empty() => {}
        None => bail!(
            "{reference} has no {}; it has {}",
            known.one_of.join(" or "),
            list(files)
        ),
    }
    Ok(wanted)
}

fn of_others(reference: &HubReference, files: &[String]) -> Result<Vec<String>> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let is_text = |name: &&String| {
        let ends = TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending));
        let ends = ends && !name.ends_with(".index.json") && !UNUSED.contains(&name.as_str());
        !name.contains('/') && (ends || *name == TRAINING_ARGS)
    };
    let mut wanted: Vec<String> = files.iter().filter(is_text).cloned().collect();
    if let Some(usual) = WEIGHT_FILES.iter().find(|name| has(name)) {
        // An index names parts, which are called after it.
        if let Some(stem) = usual.strip_suffix(".index.json") {
            let (stem, ending) = stem.rsplit_once('.').unwrap_or((stem, ""));
            let is_part = |name: &&String| {
                name.starts_with(&format!("{stem}-")) && name.ends_with(&format!(".{ending}"))
            };
            wanted.extend(files.iter().filter(is_part).cloned());
        }
        wanted.push((*usual).into());
        return Ok(wanted);
    }
    let is_weights = |name: &&String| {
        let ends = WEIGHT_ENDINGS.iter().any(|ending| name.ends_with(ending));
        ends && !name.contains('/') && *name != TRAINING_ARGS
    };
    let weights: Vec<&String> = files.iter().filter(is_weights).collect();
    match *weights {
        [weights] => wanted.push(weights.clone()),
        [] => bail!(
            "{reference} has no weights of PyTorch or safetensors; it has {}",
            list(files)
        ),
        _ => bail!(
            "{reference} has several files of weights ({}); download the one that is meant into a \
             directory, and name that",
            weights
                .iter()
                .map(|name| name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
    Ok(wanted)
}

fn list(files: &[String]) -> String {
    match files {
        [] => "no files".into(),
        files => files.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(repository: &str, files: &[&str]) -> Result<Vec<String>> {
        let files: Vec<String> = files.iter().map(|name| (*name).to_string()).collect();
        wanted(&HubReference::main_of(repository)?, &files)
    }

    #[test]
    fn weights_come_last_and_other_frameworks_and_pictures_not_at_all() {
        let found = chosen(
            "someone/captioner",
            &[
                ".gitattributes",
                "README.md",
                "config.json",
                "flax_model.msgpack",
                "model.safetensors",
                "onnx/config.json",
                "pytorch_model.bin",
                "tf_model.h5",
                "training_args.bin",
                "vocab.txt",
            ],
        );
        let expected = [
            "config.json",
            "training_args.bin",
            "vocab.txt",
            "model.safetensors",
        ];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn parts_come_before_their_index() {
        let parts = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        let index = "model.safetensors.index.json";
        let found = chosen("someone/large", &["config.json", parts[0], parts[1], index]);
        assert_eq!(found.unwrap(), ["config.json", parts[0], parts[1], index]);
    }

    #[test]
    fn one_other_file_is_the_weights_and_two_are_refused() {
        let found = chosen("someone/detector", &["labels.json", "detector.pth"]);
        assert_eq!(found.unwrap(), ["labels.json", "detector.pth"]);
        for files in [&["a.pth", "b.pth"][..], &["config.json"], &[]] {
            assert!(chosen("someone/detector", files).is_err(), "{files:?}");
        }
    }

    #[test]
    fn known_weights_need_their_files() {
        let repository = "michelecafagna26/vinvl_vg_x152c4";
        let names = [
            "README.md",
            "VG-SGG-dicts-vgoi6-clipped.json",
            "vinvl_vg_x152c4.pth",
        ];
        assert_eq!(chosen(repository, &names).unwrap(), names[1..]);
        let error = chosen(repository, &names[..2]).unwrap_err().to_string();
        assert!(error.contains("vinvl_vg_x152c4.pth"), "{error}");
    }
}
