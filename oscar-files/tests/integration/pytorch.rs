//! Files that PyTorch, NumPy and Python wrote, against what they hold.
//!
//! `pytorch_files/make.py` made them, and `expected.json` beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_files::pytorch::pickle::{self, Limits};
use oscar_files::pytorch::{TorchFile, TorchFormat, Value};
use serde_json::{Map, Value as Json, json};

fn files() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch_files")
}

fn open(name: &str) -> TorchFile {
    TorchFile::open(files().join(name)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_file_holds_what_its_writer_put_there() {
    let expected = fs::read_to_string(files().join("expected.json")).unwrap();
    let expected: Map<String, Json> = serde_json::from_str(&expected).unwrap();
    assert_eq!(expected.len(), 18);
    for (name, expected) in &expected {
        let file = open(name);
        assert_eq!(&plain(file.value()), expected, "{name}");
    }
}

#[test]
fn formats_are_told_apart_by_what_is_in_the_file() {
    for (name, format) in [
        ("tensors.pt", TorchFormat::Zip),
        ("tensors_legacy.pt", TorchFormat::Legacy),
        ("tensors_protocol5_legacy.pt", TorchFormat::Legacy),
        ("structures_0.pkl", TorchFormat::Pickle),
        ("structures_5.pkl", TorchFormat::Pickle),
    ] {
        assert_eq!(open(name).format(), format, "{name}");
    }
}

#[test]
fn views_of_one_storage_share_it() {
    for name in ["tensors.pt", "tensors_legacy.pt"] {
        let file = open(name);
        let tensor = |key: &str| {
            let dict = file.value().as_dict().unwrap();
            dict.get(key).unwrap().as_tensor().unwrap()
        };
        let shared = |a, b| Arc::ptr_eq(tensor(a).storage(), tensor(b).storage());
        assert!(shared("tied", "same") && shared("head", "tail"), "{name}");
        assert!(!shared("head", "column"), "{name}");
        let view = |key| (tensor(key).offset(), tensor(key).shape().to_vec());
        assert_ne!(view("head"), view("tied"), "{name}");
        assert_eq!(tensor("tied").strides(), tensor("same").strides(), "{name}");
        assert_eq!(tensor("transposed").strides(), [1, 6]);
        assert_eq!((tensor("tail").offset(), tensor("tail").len()), (7, 5));
        assert_eq!(tensor("scalar").shape(), [0usize; 0]);
        assert_eq!(tensor("scalar").to_f32().unwrap(), [3.25]);
    }
}

#[test]
fn numbers_are_read_as_types_that_hold_them() {
    let file = open("tensors.pt");
    let tensor = |key: &str| {
        file.value()
            .as_dict()
            .unwrap()
            .get(key)
            .unwrap()
            .as_tensor()
            .unwrap()
    };
    assert_eq!(tensor("bf16").to_f32().unwrap()[0], 1.5);
    assert_eq!(tensor("f16").to_f32().unwrap()[1], 65504.0);
    assert_eq!(tensor("i8").to_f32().unwrap(), [-128.0, 127.0]);
    assert_eq!(tensor("flags").to_f32().unwrap(), [1.0, 0.0, 1.0]);
    for (key, read) in [
        ("i64", tensor("i64").to_f32().map(drop)),
        ("i32", tensor("i32").to_f32().map(drop)),
    ] {
        let error = read.unwrap_err().to_string();
        assert!(error.contains(&key.to_uppercase()), "{error}");
    }
    let none: [f32; 0] = [];
    assert_eq!(tensor("no_rows").to_f32().unwrap(), none);
}

/// Python 2 does not tell text from bytes: what is UTF-8 is text, and an array takes either.
#[test]
fn strings_of_python_2() {
    let parse = |bytes: &[u8]| pickle::parse(bytes.to_vec(), &Limits::default()).unwrap();
    let words =
        parse(b"(dp0\nS'caf\\xc3\\xa9'\np1\nF1.5\nsVr\\u00e9sum\xe9\np2\nI01\nsS'\\xff'\nL7L\ns.");
    let words = words.as_dict().unwrap();
    assert_eq!(words.get("caf\u{e9}").and_then(Value::as_f64), Some(1.5));
    assert_eq!(
        words.get("r\u{e9}sum\u{e9}").and_then(Value::as_bool),
        Some(true)
    );
    let (key, value) = words.iter().nth(2).unwrap();
    assert_eq!(
        (key.as_bytes().unwrap().as_ref(), value.as_i64()),
        (&[0xff][..], Some(7))
    );

    for data in [*b"\x00\x00\x80?\x00\x00\x00@", *b"ABCDABCD"] {
        let mut bytes = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08".to_vec();
        bytes.extend(data);
        bytes.extend(b"tb.");
        let array = parse(&bytes);
        let array = array.as_array().unwrap();
        assert_eq!(array.shape(), [2]);
        assert_eq!(array.to_bytes().unwrap().as_ref(), data);
    }
}

/// A value as `expected.json` shows it.
fn plain(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::BigInt(bytes) => {
            let sign = if bytes.last().unwrap() & 0x80 == 0 {
                0
            } else {
                0xff
            };
            let mut wide = [sign; 16];
            wide[..bytes.len()].copy_from_slice(bytes);
            json!(i128::from_le_bytes(wide).to_string())
        }
        Value::Float(value) if value.is_finite() => json!(value),
        Value::Float(value) => json!(value.to_string()),
        Value::Str(text) => json!(**text),
        Value::Bytes(bytes) => json!({ "hex": hex(bytes) }),
        Value::List(items) | Value::Tuple(items) => items.iter().map(plain).collect(),
        Value::Set(items) => {
            let mut items: Vec<_> = items.iter().map(plain).collect();
            items.sort_by_key(Json::to_string);
            items.into()
        }
        Value::Dict(dict) => entries(dict.iter()),
        Value::Object(object) => entries(object.fields.iter()),
        Value::Tensor(tensor) => json!({
            "dtype": format!("{:?}", tensor.dtype()),
            "shape": tensor.shape(),
            "bytes": hex(&tensor.to_bytes().unwrap()),
        }),
        Value::Array(array) => json!({
            "dtype": format!("{:?}", array.dtype()),
            "shape": array.shape(),
            "bytes": hex(&array.to_bytes().unwrap()),
        }),
        Value::Complex(..) | Value::Class(_) => panic!("not expected: {value:?}"),
    }
}

fn entries<'a>(entries: impl Iterator<Item = (&'a Value, &'a Value)>) -> Json {
    let entries = entries.map(|(key, value)| {
        let key = match key {
            Value::Str(key) => key.to_string(),
            Value::Int(key) => key.to_string(),
            Value::Tuple(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| part.as_str().unwrap()).collect();
                match parts.as_slice() {
                    [only] => format!("('{only}',)"),
                    parts => format!("('{}')", parts.join("', '")),
                }
            }
            other => panic!("a key {other:?}"),
        };
        (key, plain(value))
    });
    Json::Object(entries.collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_missing_file_is_named() {
    let error = TorchFile::open(Path::new("nowhere/model.bin")).unwrap_err();
    assert!(error.to_string().contains("nowhere/model.bin"), "{error}");
}
