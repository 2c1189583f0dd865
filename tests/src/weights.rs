//! PyTorch's files of a set against its safetensors file: the same tensors, bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oscar_files::pytorch::{Dict, TorchFile, TorchFormat, TorchTensor};
use safetensors::SafeTensors;

/// A PyTorch file that was compared.
#[derive(Clone, Debug)]
pub struct TorchWeights {
    /// The file.
    pub path: PathBuf,
    /// How it is laid out.
    pub format: TorchFormat,
    /// Tensors compared.
    pub tensors: usize,
    /// Names that share their storage with another.
    pub shared: usize,
    /// What differs; nothing should.
    pub differences: Vec<String>,
}

/// Name, type, shape and bytes of every tensor.
type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

/// What files with a GPT-2 have beside its weights: buffers of the attention, and the tied output matrix.
const GPT2_EXTRA: [&str; 3] = [".attn.bias", ".attn.masked_bias", "gpt.lm_head.weight"];

/// Compares every `.bin` file of `dir` with its `model.safetensors`.
///
/// # Errors
///
/// If a file cannot be read.
pub fn compare_weights(dir: &Path) -> Result<Vec<TorchWeights>, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let expected = read_safetensors(&dir.join("model.safetensors"))?;
    files.iter().map(|path| compare(path, &expected)).collect()
}

fn compare(path: &Path, expected: &Tensors) -> Result<TorchWeights, String> {
    let file = TorchFile::open(path).map_err(|error| error.to_string())?;
    let dict = file.value().as_dict().ok_or("no dictionary")?;
    let mut storages = BTreeMap::<_, usize>::new();
    let mut found = Tensors::new();
    for (name, tensor) in named_tensors(dict)? {
        if GPT2_EXTRA.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let bytes = tensor
            .to_bytes()
            .map_err(|error| format!("{name}: {error}"))?;
        *storages
            .entry(tensor.storage().key().to_string())
            .or_default() += 1;
        let dtype = format!("{:?}", tensor.dtype());
        found.insert(name, (dtype, tensor.shape().to_vec(), bytes.to_vec()));
    }
    let names = expected.keys().chain(found.keys());
    let differences: std::collections::BTreeSet<&String> = names
        .filter(|name| expected.get(*name) != found.get(*name))
        .collect();
    Ok(TorchWeights {
        path: path.into(),
        format: file.format(),
        tensors: found.len(),
        shared: storages.values().filter(|count| **count > 1).sum(),
        differences: differences.into_iter().cloned().collect(),
    })
}

/// The tensors of a dictionary, or of the dictionaries of modules in it, under their full names.
fn named_tensors(dict: &Dict) -> Result<Vec<(String, TorchTensor)>, String> {
    let mut named = Vec::new();
    for (name, value) in dict.iter() {
        let name = name.as_str().ok_or("a key that is no name")?;
        match (value.as_tensor(), value.as_dict()) {
            (Some(tensor), _) => named.push((name.to_string(), tensor.clone())),
            (None, Some(module)) => {
                let inner = named_tensors(module)?.into_iter();
                named.extend(inner.map(|(inner, tensor)| (format!("{name}.{inner}"), tensor)));
            }
            // ROSITA saves the number of the epoch beside its modules.
            (None, None) if name == "epoch" => {}
            (None, None) => return Err(format!("{name} is no tensor")),
        }
    }
    Ok(named)
}

fn read_safetensors(path: &Path) -> Result<Tensors, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| failed(&error))?;
    let tensors = file.iter().map(|(name, view)| {
        let dtype = format!("{:?}", view.dtype());
        (
            name.to_string(),
            (dtype, view.shape().to_vec(), view.data().to_vec()),
        )
    });
    Ok(tensors.collect())
}
