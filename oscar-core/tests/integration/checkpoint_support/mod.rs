//! Files of the fixtures, and files made from them.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::{
    self, CheckpointError, NamedTensor, RandomInit, read_tensors, write_tensors,
};
use oscar_core::config::ModelConfig;
use oscar_core::model::OscarForPretraining;
use tempfile::TempDir;

pub type Tensors = BTreeMap<String, NamedTensor>;
pub type Pretraining = OscarForPretraining<Flex>;

pub fn load(
    path: &Path,
    random: &RandomInit,
) -> Result<(Pretraining, checkpoint::LoadReport), CheckpointError> {
    let model = OscarForPretraining::new(&config("pretrain_ln"), &FlexDevice);
    checkpoint::load(model, path, random)
}

pub fn write(folder: &TempDir, saved: &Tensors) -> PathBuf {
    let path = folder.path().join("model.safetensors");
    write_tensors(&path, &saved.values().cloned().collect::<Vec<_>>()).unwrap();
    path
}

pub fn tensors(path: &Path) -> Tensors {
    read_tensors(path)
        .unwrap()
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor))
        .collect()
}

pub fn bits(tensor: &NamedTensor) -> Vec<u32> {
    tensor.data.iter().map(|value| value.to_bits()).collect()
}

pub fn config(set: &str) -> ModelConfig {
    ModelConfig::from_file(fixture(set).join("config.json")).unwrap()
}

pub fn weights(set: &str) -> PathBuf {
    fixture(set).join("model.safetensors")
}

pub fn fixture(set: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(set)
}
