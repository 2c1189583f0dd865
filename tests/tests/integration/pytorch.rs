//! PyTorch's files against safetensors: by default those of the fixtures, or those in the folder
//! that `OSCAR_GOLDENS` names.

use std::io::Write;
use std::path::{Path, PathBuf};

use oscar_core::checkpoint;
use oscar_files::pytorch::TorchFormat;
use oscar_tests::{Set, TorchWeights, compare_weights};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn folder() -> PathBuf {
    std::env::var_os("OSCAR_GOLDENS").map_or_else(fixtures, PathBuf::from)
}

fn compared(folder: &Path) -> Vec<TorchWeights> {
    let sets = Set::discover(folder).unwrap();
    let files = sets.iter().map(|set| compare_weights(&set.dir).unwrap());
    files.flatten().collect()
}

#[test]
fn files_of_pytorch_hold_the_same_bits() {
    let files = compared(&folder());
    assert!(!files.is_empty(), "the folder has no file of PyTorch");
    let mut lines = String::new();
    for file in &files {
        let result = match file.differences.as_slice() {
            [] => "all equal, bit for bit".to_string(),
            names => format!("DIFFERENT: {}", names.join(", ")),
        };
        lines.push_str(&format!(
            "{} | {} | {} tensors, {} shared | {result}\n",
            file.path.display(),
            file.format.name(),
            file.tensors,
            file.shared,
        ));
    }
    // Past the capture of the test harness, which hides what passing tests print.
    std::io::stderr()
        .write_all(format!("\n{lines}").as_bytes())
        .expect("standard error is open");
    for file in &files {
        assert!(file.differences.is_empty(), "{}", file.path.display());
        assert!(file.tensors > 0, "{}", file.path.display());
    }
}

#[test]
fn the_fixtures_have_both_formats() {
    let files = compared(&fixtures());
    for format in [TorchFormat::Zip, TorchFormat::Legacy] {
        assert!(files.iter().any(|file| file.format == format), "{format:?}");
    }
}

#[test]
fn a_changed_bit_is_a_difference() {
    let folder = TempDir::new().unwrap();
    for name in ["model.safetensors", "pytorch_model_legacy.bin"] {
        std::fs::copy(
            fixtures().join("pretrain_ln").join(name),
            folder.path().join(name),
        )
        .unwrap();
    }
    let path = folder.path().join("pytorch_model_legacy.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let files = compare_weights(folder.path()).unwrap();
    assert_eq!(files[0].differences.len(), 1, "{files:?}");
}

/// Exports of every set, read again: the same names and bits, and tied names still share.
#[test]
fn exports_hold_the_same_bits() {
    for file in compared(&folder()) {
        // ROSITA's files hold a dictionary per module and change their names; `oscar-core` tests them.
        if file
            .path
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with("rosita_"))
        {
            continue;
        }
        let (original, out) = (&file.path, TempDir::new().unwrap());
        let set = out.path().join("set");
        std::fs::create_dir(&set).unwrap();
        // From PyTorch to safetensors, and from there to PyTorch.
        let safetensors = set.join("model.safetensors");
        checkpoint::export(original, &safetensors).unwrap();
        checkpoint::export(&safetensors, set.join("pytorch_model.bin")).unwrap();
        let back = compare_weights(&set).unwrap();
        assert_eq!(back[0].differences, [""; 0], "{}", original.display());
        assert_eq!(
            (back[0].tensors, back[0].shared),
            (file.tensors, file.shared),
            "{}",
            original.display()
        );
        let beside = original.with_file_name("model.safetensors");
        std::fs::copy(beside, &safetensors).unwrap();
        let back = compare_weights(&set).unwrap();
        assert_eq!(back[0].differences, [""; 0], "{}", original.display());
    }
}
